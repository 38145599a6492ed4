"""
A complete dialer: jobs start by arq, workers call their contacts, and a cancel stops them.

    tables.py      the tables, the names of the statuses, pause and resume
    telephone.py   a telephone that only pretends; put yours in its place
    worker.py      claims, dials, settles, retries, expires, finishes; run as many as you like
    starts.py      the deferred starts: arq's worker, and how to schedule one
"""

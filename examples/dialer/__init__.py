"""
A complete dialer: jobs start by arq, workers call their contacts, and a cancel stops them.

    tables.py      the tables, the names of the statuses, pause and resume
    telephone.py   a telephone that only pretends; put yours in its place
    worker.py      claims, dials, settles, retries, expires, finishes; run as many as you like
    starts.py      the deferred starts: arq's worker, and how to schedule one

To run it, with a database `dialer`:

    batch-cancel schema --reference | psql dialer
    psql dialer --file examples/dialer/tables.sql
    python -m examples.dialer.worker
    arq examples.dialer.starts.WorkerSettings

    export BATCH_CANCEL_STORE=postgresql://localhost/dialer
    export BATCH_CANCEL_SCHEDULER=arq+redis://localhost
    batch-cancel reconcile --loop 60 --schema examples.dialer.tables:schema
    batch-cancel cancel JOB_ID --schema examples.dialer.tables:schema

A job is a row of `batch_jobs`, `pending` at first, with rows of `batch_contacts`. Its start is
scheduled by `starts.schedule`, with a pool of arq's `create_pool`, its id and a time.
"""

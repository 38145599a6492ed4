"""
How fast the library is, beside a floor and its peers: `make bench`.

Rule 1: a figure is compared with a floor or a peer of the same run, on the same server; what is
        compared takes turns (`rounds.py`).
Rule 2: a floor is what a person would write by hand for the same promise (`floors.sql`).
Rule 3: each bar has a "must" and an "aim" (`bars.py`); the aim is reported as it is, met or not.
Rule 4: Postgres waits for its disk (fsync), and millions of other contacts are in its tables.
"""

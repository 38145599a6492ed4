"""
The store of SQLAlchemy on three nodes of Galera.

Apart from the other tests: each process that runs some of them starts a cluster of its own.
"""

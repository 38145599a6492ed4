"""
Adapters with one bug each, planted by hand, and the test of the kit that must reject each.

The test was named before it was run. What only a real database shows is planted on Postgres; what
only a file shows, on SQLite; the rest in the memory store, whose rows are plain values.
"""

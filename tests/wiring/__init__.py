"""
The wiring campaign: every setting of a library, crossed with every event of a start's life.

    make wiring                          all libraries, the table
    python -m tests.wiring arq rq        some of them

A combination is a setting, an event at which a cancel comes, and a second cancel, by the same or
by another operation. The library's real client schedules, its real worker runs what is left, and
the verdict comes from how often it ran.
"""

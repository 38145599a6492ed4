"""
Whether a database is fit for the library: what it is asked, and what its answers mean.

Rule 1: nothing is changed: the transaction is a read-only one, which reads the catalogs and some
        rows, and has the library's own statements planned, never run.
Rule 2: every sentence says what is missing and how to mend it.
Rule 3: what a cancel refuses is missing, never slow. What a cancel does not need is not asked for;
        what the workers' steps need besides is told apart from it.
Rule 4: an index serves a statement if it begins with what the statement looks for, and Postgres
        plans to read it: a sequential scan that is left where those are ruled out says that it
        can't, be it for the index's collation or for a condition that Postgres does not prove.
Rule 5: what is read of the adopter's rows is bounded in number and in time, and what can't be read
        is no finding.
"""

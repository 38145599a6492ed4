"""
Whether a database is fit for the library: the questions, and the meaning of the answers.

Rule 1: the doctor changes nothing: its transaction is read-only. It reads the catalogs and some
        rows, and has the library's statements planned, never run.
Rule 2: every sentence says what is missing and how to repair it.
Rule 3: what makes a cancel fail is missing, never slow. What only the workers' steps need is
        listed separately; what neither needs is not checked.
Rule 4: an index serves a statement if it begins with the columns of the condition, and Postgres
        plans to use it. If Postgres still plans a sequential scan with those disabled, it can't
        use the index, for its collation or for a condition that it cannot prove.
Rule 5: reads of the adopter's rows are bounded in number and time, and a failed read is no
        finding.
"""

-- The table of SqlStartGate, which decides between a cancel and a start where no Redis does.
CREATE TABLE IF NOT EXISTS batch_start_gates (
    deferred_id  text        NOT NULL PRIMARY KEY,
    state        text        NOT NULL
        CHECK (state IN ('armed', 'barred', 'cancelled', 'started')),
    operation_id text,                  -- cancelled or barred: the operation that did it
    forget_at    timestamptz NOT NULL   -- when the row may be deleted
);

-- Finding old rows must not read all of them.
CREATE INDEX IF NOT EXISTS batch_start_gates_by_age ON batch_start_gates (forget_at);

-- What batch_cancel needs in your database: one table of its own, nothing in yours.
-- A row is the audit entry of a cancellation, the answer to a retry of the same operation, and the
-- note that the removal of a deferred start is still owed.
CREATE TABLE IF NOT EXISTS batch_cancellations (
    organization_id    text        NOT NULL,  -- '' for jobs of no organization
    batch_job_id       text        NOT NULL,
    operation_id       text        NOT NULL,
    previous_status    text        NOT NULL
        CHECK (previous_status IN ('scheduled', 'pending', 'running')),
    contacts_cancelled bigint      NOT NULL CHECK (contacts_cancelled >= 0),
    actor              text,
    reason             text,
    cancelled_at       timestamptz NOT NULL,
    deferred_id        text,
    removal            text        NOT NULL
        CHECK (removal IN ('removed', 'absent', 'pending', 'not_applicable')),
    is_announced       boolean     NOT NULL,  -- false while an on_cancelled hook is still owed
    taken_at           timestamptz NOT NULL,  -- when somebody last set out to finish what is owed
    PRIMARY KEY (organization_id, batch_job_id)
);

-- Finding what is still owed must not read the whole history.
CREATE INDEX IF NOT EXISTS batch_cancellations_owing
    ON batch_cancellations (taken_at) WHERE removal = 'pending' OR NOT is_announced;

-- What batch_cancel needs in your database: two tables of its own; yours are not changed. A row of
-- the first is the audit entry of a cancellation, the answer to a retry of the same operation, and
-- the note that the removal of a deferred start is still pending.
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
    is_announced       boolean     NOT NULL,  -- false while an on_cancelled hook is still pending
    taken_at           timestamptz NOT NULL,  -- when the record was last taken or claimed
    is_swept           boolean     NOT NULL DEFAULT true,  -- false while contacts are cancelled
    PRIMARY KEY (organization_id, batch_job_id)
);

-- For a table from before there were sweeps. Without this column a very large job is cancelled in
-- one transaction, as every other job is.
ALTER TABLE batch_cancellations ADD COLUMN IF NOT EXISTS is_swept boolean NOT NULL DEFAULT true;

-- Finding pending records must not read the whole history.
CREATE INDEX IF NOT EXISTS batch_cancellations_owing
    ON batch_cancellations (taken_at) WHERE removal = 'pending' OR NOT is_announced;

CREATE INDEX IF NOT EXISTS batch_cancellations_sweeping
    ON batch_cancellations (taken_at) WHERE NOT is_swept;

-- A page of an organization's history must not read all of it.
CREATE INDEX IF NOT EXISTS batch_cancellations_by_time
    ON batch_cancellations (organization_id, cancelled_at);

-- Forgetting the oldest records must not read all of them.
CREATE INDEX IF NOT EXISTS batch_cancellations_by_age ON batch_cancellations (cancelled_at);

-- If a cancelled job is set back to a live status and cancelled again, its record is copied here
-- before it is replaced. Without this table, or the rights to INSERT and SELECT, it is lost.
CREATE TABLE IF NOT EXISTS batch_cancellations_earlier (
    organization_id    text        NOT NULL,
    batch_job_id       text        NOT NULL,
    operation_id       text        NOT NULL,
    previous_status    text        NOT NULL,
    contacts_cancelled bigint      NOT NULL,
    actor              text,
    reason             text,
    cancelled_at       timestamptz NOT NULL,
    deferred_id        text,
    removal            text        NOT NULL,
    is_announced       boolean     NOT NULL,
    PRIMARY KEY (organization_id, cancelled_at, batch_job_id, operation_id)
);

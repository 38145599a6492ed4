-- The tables of one file: jobs, contacts, cancellations, and deferred starts.
--
-- Every statement must do nothing when its table is there already: several processes may open a
-- fresh file at once. Times are UTC in ISO 8601 with microseconds, always 32 characters, so that
-- their order as text is their order in time.

-- UNIQUE takes every NULL for a different value, so jobs of no organization need an index of
-- their own. A lookup by `organization_id IS ?` uses the first one for both.
CREATE TABLE IF NOT EXISTS batch_jobs (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    organization_id TEXT,
    status TEXT,
    scheduled_job_id TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    UNIQUE (organization_id, id)
);
CREATE UNIQUE INDEX IF NOT EXISTS batch_jobs_of_no_organization
    ON batch_jobs (id) WHERE organization_id IS NULL;

-- WITHOUT ROWID keeps the contacts of a job side by side, so that a cancel reads them in one
-- sweep. An index of the open contacts would make it slower: the measurements are in
-- `SqliteStore`.
CREATE TABLE IF NOT EXISTS batch_contacts (
    job_number INTEGER NOT NULL REFERENCES batch_jobs (number),
    id TEXT NOT NULL,
    status TEXT,
    next_attempt_at TEXT,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (job_number, id)
) WITHOUT ROWID;

-- One row a cancelled job: audit entry, answer to a retry, and note of a removal still owed. It
-- names its job by organization and id, and outlives the job's row.
CREATE TABLE IF NOT EXISTS batch_cancellations (
    batch_job_id TEXT NOT NULL,
    organization_id TEXT,
    operation_id TEXT NOT NULL,
    previous_status TEXT NOT NULL,
    contacts_cancelled INTEGER NOT NULL,
    actor TEXT,
    reason TEXT,
    cancelled_at TEXT NOT NULL,
    deferred_id TEXT,
    removal TEXT NOT NULL,
    is_announced INTEGER NOT NULL,
    taken_at TEXT NOT NULL,
    UNIQUE (organization_id, batch_job_id)
);
CREATE UNIQUE INDEX IF NOT EXISTS batch_cancellations_of_no_organization
    ON batch_cancellations (batch_job_id) WHERE organization_id IS NULL;
CREATE INDEX IF NOT EXISTS batch_cancellations_owing
    ON batch_cancellations (taken_at) WHERE removal = 'pending' OR NOT is_announced;

-- `at` is set while a start waits or is handed out, and only then: the index holds no others.
CREATE TABLE IF NOT EXISTS batch_deferred_starts (
    deferred_id TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    at TEXT,
    payload BLOB NOT NULL,
    token TEXT,
    operation_id TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS batch_deferred_starts_by_time
    ON batch_deferred_starts (at) WHERE at IS NOT NULL;

-- Example tables for jobs and contacts, with the names that PostgresSchema() expects. Use them to
-- try the library; map your own names with PostgresSchema(...).
CREATE TABLE IF NOT EXISTS batch_jobs (
    id               text        PRIMARY KEY,
    organization_id  text,
    status           text        NOT NULL,
    scheduled_job_id text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS batch_contacts (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    batch_job_id    text        NOT NULL REFERENCES batch_jobs (id),
    status          text        NOT NULL DEFAULT 'pending',
    next_attempt_at timestamptz,
    updated_at      timestamptz NOT NULL DEFAULT now()
);

-- One partial index serves the dialer's claim and the cancel, and stays as small as the work left.
CREATE INDEX IF NOT EXISTS batch_contacts_open
    ON batch_contacts (batch_job_id, next_attempt_at, id)
    WHERE status IN ('pending', 'queued', 'no_answer', 'busy', 'timeout');

-- Whether a job has live calls, which it must not have when it is completed. As many entries as
-- there are calls; only finish_job needs it.
CREATE INDEX IF NOT EXISTS batch_contacts_dialing
    ON batch_contacts (batch_job_id) WHERE status = 'dialing';

-- What brings the tables of release 0.1 to their current shape. Cancels go on meanwhile: an index
-- is built CONCURRENTLY, so each statement must run by itself, outside of a transaction, as psql
-- runs it. A statement does nothing if its index or table is there already. If building an index
-- was interrupted, drop it first: it is there, and is not valid.

-- Without this column a very large job is cancelled in one transaction, as every other job is.
-- Adding it takes an instant, but waits for the transactions on the table, and cancels wait behind
-- it: so it waits briefly, and again.
DO $batch_cancel$
BEGIN
    SET LOCAL lock_timeout = '100ms';
    LOOP
        BEGIN
            ALTER TABLE batch_cancellations
                ADD COLUMN IF NOT EXISTS is_swept boolean NOT NULL DEFAULT true;
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pg_sleep(0.4);
        END;
    END LOOP;
END
$batch_cancel$;

CREATE INDEX CONCURRENTLY IF NOT EXISTS batch_cancellations_sweeping
    ON batch_cancellations (taken_at) WHERE NOT is_swept;

-- A page of an organization's history must not read all of it.
CREATE INDEX CONCURRENTLY IF NOT EXISTS batch_cancellations_by_time
    ON batch_cancellations (organization_id, cancelled_at);

-- Forgetting the oldest records must not read all of them.
CREATE INDEX CONCURRENTLY IF NOT EXISTS batch_cancellations_by_age
    ON batch_cancellations (cancelled_at);

-- The user of your application needs INSERT and SELECT on it. From then on the record of a job
-- that is cancelled again is kept here.
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

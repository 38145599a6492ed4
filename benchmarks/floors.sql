-- What a person would write by hand, without the library.

-- name: bare_update
-- The contacts alone, without a lock of the job and without a record: not safe, and the least that
-- any cancel does.
UPDATE batch_contacts
SET status = 'cancelled', updated_at = clock_timestamp()
WHERE batch_job_id = {job}
  AND status IN ('pending', 'queued', 'no_answer', 'busy', 'timeout')

-- name: bare_update_of_many
-- The same for many jobs.
UPDATE batch_contacts
SET status = 'cancelled', updated_at = clock_timestamp()
WHERE batch_job_id = ANY ({jobs})
  AND status IN ('pending', 'queued', 'no_answer', 'busy', 'timeout')

-- name: with_record
-- What a safe cancel that keeps a record must send, in one string. It decides nothing, and the
-- record has no number of contacts: that would need an answer in between.
BEGIN;
SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
SET LOCAL lock_timeout = 5000;
SET LOCAL statement_timeout = 60000;
SET LOCAL idle_in_transaction_session_timeout = 60000;
SELECT id, organization_id, status, scheduled_job_id, clock_timestamp()
FROM batch_jobs
WHERE id = {job} AND organization_id IS NULL
FOR NO KEY UPDATE;
{bare_update};
WITH record AS (
    INSERT INTO batch_cancellations (
        organization_id, batch_job_id, operation_id, previous_status, contacts_cancelled,
        cancelled_at, removal, is_announced, taken_at
    ) VALUES (
        '', {job}, {operation}, 'running', 0, clock_timestamp(), 'not_applicable', true,
        clock_timestamp()
    )
)
UPDATE batch_jobs
SET status = 'cancelled', updated_at = clock_timestamp()
WHERE id = {job} AND organization_id IS NULL;
COMMIT

-- name: claim
-- A worker's claim of one contact, by the same rules as ours.
UPDATE batch_contacts
SET status = 'dialing', updated_at = clock_timestamp()
WHERE id = (
    SELECT id
    FROM batch_contacts
    WHERE batch_job_id = %(job)s
      AND status IN ('pending', 'queued', 'no_answer', 'busy', 'timeout')
      AND (next_attempt_at IS NULL OR next_attempt_at <= statement_timestamp())
      AND EXISTS (SELECT FROM batch_jobs WHERE id = %(job)s AND status = 'running')
    ORDER BY next_attempt_at NULLS FIRST
    LIMIT 1
    FOR NO KEY UPDATE SKIP LOCKED
)
RETURNING id

-- name: settle
-- The final outcome of a call.
UPDATE batch_contacts
SET status = 'completed', updated_at = clock_timestamp()
WHERE batch_job_id = %(job)s AND id = %(contact)s AND status = 'dialing'

-- Every statement that the adapter sends, by name, with what it must guarantee.
-- Names in braces are identifiers of the adopter's schema, quoted by psycopg.sql.

-- name: lock_job
-- Locks this organization's job and no other row, so that a stranger can't even wait for it. The
-- status is the newest committed one. The clock is read after the wait for the lock, outside of the
-- query that waits.
WITH locked AS MATERIALIZED (
    SELECT {job_id}::text, {organization_id}::text, {job_status}::text, {deferred_id}::text
    FROM {jobs}
    WHERE {job_id} = %(batch_job_id)s AND {organization_id} IS NOT DISTINCT FROM %(organization_id)s
    FOR NO KEY UPDATE
)
SELECT locked.*, clock_timestamp() FROM locked

-- name: read_cancellation
-- A statement of its own, after the lock: joined to the lock it would read from before the wait.
SELECT operation_id, previous_status, contacts_cancelled, actor, reason, cancelled_at, deferred_id,
       removal, is_announced
FROM {cancellations}
WHERE organization_id = %(organization_id)s AND batch_job_id = %(batch_job_id)s

-- name: cancel_contacts
-- Only the statuses given, as constants so that a partial index on them serves; every other row
-- stays as it is. A statement of its own, after the lock: contacts that came in before it are seen.
UPDATE {contacts}
SET {contact_status} = 'cancelled'{touch_contact}
WHERE {contact_job_id} = %(batch_job_id)s AND {contact_status} IN ({statuses})

-- name: mark_cancelled
-- The job and its record in one statement. A record that is there already belongs to a job that
-- somebody brought back to life; stopping it again matters more than that. The ids have parameters
-- of their own in each half: in the record they are text, in your table what you made them.
WITH record AS (
    INSERT INTO {cancellations} (
        organization_id, batch_job_id, operation_id, previous_status, contacts_cancelled, actor,
        reason, cancelled_at, deferred_id, removal, is_announced, taken_at
    ) VALUES (
        %(record_organization_id)s, %(record_batch_job_id)s, %(operation_id)s,
        %(previous_status)s, %(contacts_cancelled)s, %(actor)s, %(reason)s, %(cancelled_at)s,
        %(deferred_id)s, %(removal)s, %(is_announced)s, %(cancelled_at)s
    )
    ON CONFLICT (organization_id, batch_job_id) DO UPDATE SET
        operation_id = excluded.operation_id,
        previous_status = excluded.previous_status,
        contacts_cancelled = excluded.contacts_cancelled,
        actor = excluded.actor,
        reason = excluded.reason,
        cancelled_at = excluded.cancelled_at,
        deferred_id = excluded.deferred_id,
        removal = excluded.removal,
        is_announced = excluded.is_announced,
        taken_at = excluded.taken_at
)
UPDATE {jobs}
SET {job_status} = 'cancelled'{touch_job}
WHERE {job_id} = %(batch_job_id)s AND {organization_id} IS NOT DISTINCT FROM %(organization_id)s

-- name: settle_cancellation
-- Only for the operation that owes it, and never backwards: what is settled stays as it is.
UPDATE {cancellations}
SET removal = CASE removal WHEN 'pending' THEN %(removal)s ELSE removal END,
    is_announced = is_announced OR %(is_announced)s
WHERE organization_id = %(record_organization_id)s AND batch_job_id = %(batch_job_id)s
  AND operation_id = %(operation_id)s

-- name: take_owing
-- Gives each cancellation to one caller at a time: rows that another is just taking are passed over,
-- and those taken within the lease are not due.
WITH owing AS (
    SELECT organization_id, batch_job_id
    FROM {cancellations}
    WHERE (removal = 'pending' OR NOT is_announced)
      AND (removal = 'pending' OR %(announcements)s)
      AND taken_at <= clock_timestamp() - %(lease)s
    ORDER BY taken_at
    LIMIT %(limit)s
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE {cancellations} AS taken
SET taken_at = clock_timestamp()
FROM owing
WHERE taken.organization_id = owing.organization_id AND taken.batch_job_id = owing.batch_job_id
RETURNING taken.batch_job_id, taken.organization_id, taken.operation_id, taken.previous_status,
          taken.contacts_cancelled, taken.actor, taken.reason, taken.cancelled_at,
          taken.deferred_id, taken.removal, taken.is_announced

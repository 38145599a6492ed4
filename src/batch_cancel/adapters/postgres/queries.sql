-- Every statement that the adapter sends, by name, with what it must guarantee.
-- Names in braces are identifiers of the adopter's schema, quoted by psycopg.sql, and its spellings
-- of statuses. `existing_job` and `existing_contact` are what it says of rows that count.

-- name: lock_job
-- Locks this organization's job and no other row, so that a stranger can't even wait for it. The
-- status is the newest committed one. The clock is read after the wait for the lock, outside of the
-- query that waits.
WITH locked AS MATERIALIZED (
    SELECT {job_id}::text, {organization_id}::text, {job_status}::text, {deferred_id}::text
    FROM {jobs}
    WHERE {job_id} = %(batch_job_id)s AND {organization_id} IS NOT DISTINCT FROM %(organization_id)s
      {existing_job}
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
SET {contact_status} = {contact_cancelled}{touch_contact}
WHERE {contact_job_id} = %(batch_job_id)s AND {contact_status} IN ({statuses}){existing_contact}

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
SET {job_status} = {job_cancelled}{touch_job}
WHERE {job_id} = %(batch_job_id)s AND {organization_id} IS NOT DISTINCT FROM %(organization_id)s
  {existing_job}

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

-- name: look
-- One statement, so that all of it is of one moment. It locks no row. The limit bounds what is read
-- of the contacts as well: those of the cancelled jobs in the answer alone.
WITH removals AS (
    SELECT batch_job_id, organization_id, operation_id, previous_status, contacts_cancelled, actor,
           reason, cancelled_at, deferred_id, removal, is_announced
    FROM {cancellations}
    WHERE removal = 'pending'
    ORDER BY cancelled_at
    LIMIT %(limit)s
), scheduled AS (
    SELECT {job_id}::text AS job_id, {organization_id}::text AS organization_id,
           {deferred_id}::text AS deferred_id
    FROM {jobs}
    WHERE {job_status} = {job_scheduled}{existing_job}
    ORDER BY {oldest_first}
    LIMIT %(limit)s
), cancelled AS (
    SELECT {job_id} AS id, {organization_id}::text AS organization_id,
           {deferred_id}::text AS deferred_id
    FROM {jobs}
    WHERE {job_status} = {job_cancelled}{existing_job}
    ORDER BY {newest_first}
    LIMIT %(limit)s
)
SELECT 'removal', batch_job_id, organization_id, 0::bigint, operation_id, previous_status,
       contacts_cancelled, actor, reason, cancelled_at, deferred_id, removal, is_announced
FROM removals
UNION ALL
SELECT 'scheduled', job_id, organization_id, 0, NULL, NULL, NULL, NULL, NULL, NULL, deferred_id,
       NULL, NULL
FROM scheduled
UNION ALL
SELECT 'cancelled', cancelled.id::text, cancelled.organization_id, (
           SELECT count(*) FROM {contacts} AS contact
           WHERE contact.{contact_job_id} = cancelled.id
             AND contact.{contact_status} IN ({statuses}){existing_contact}
       ), NULL, NULL, NULL, NULL, NULL, NULL, cancelled.deferred_id, NULL, NULL
FROM cancelled

-- name: start_job
-- Compare and set: whoever waited for a cancel sees the status that it left.
UPDATE {jobs}
SET {job_status} = {job_running}{touch_job}
WHERE {job_id} = %(batch_job_id)s AND {organization_id} IS NOT DISTINCT FROM %(organization_id)s
  {existing_job}
  AND {job_status} IN ({statuses})

-- name: claim_contacts
-- Does not lock the job, so that no number of workers keeps a cancel waiting. It may read the job
-- from before a cancel, but no contact: a row that a cancel has in hand is passed over, and a row
-- that it has changed meanwhile is looked at again and fails the test of its status. Two ranges of
-- the index, because one that held both would read every contact that is not due yet; the outer
-- limit tells the planner how few they are.
WITH fresh AS (
    SELECT {contact_id} AS id
    FROM {contacts}
    WHERE {contact_job_id} = %(batch_job_id)s
      AND {contact_status} IN ({statuses}){existing_contact}
      AND {next_attempt_at} IS NULL
      AND EXISTS ({running_job})
    ORDER BY {next_attempt_at}, {contact_id}
    LIMIT %(limit)s
    FOR NO KEY UPDATE SKIP LOCKED
), due AS (
    SELECT {contact_id} AS id
    FROM {contacts}
    WHERE {contact_job_id} = %(batch_job_id)s
      AND {contact_status} IN ({statuses}){existing_contact}
      AND {next_attempt_at} <= statement_timestamp()
      AND EXISTS ({running_job})
    ORDER BY {next_attempt_at}, {contact_id}
    LIMIT %(limit)s - (SELECT count(*) FROM fresh)
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE {contacts} AS contact
SET {contact_status} = {contact_dialing}{touch_contact}
FROM (SELECT id FROM fresh UNION ALL SELECT id FROM due LIMIT %(limit)s) AS claimed
WHERE contact.{contact_id} = claimed.id
RETURNING contact.{contact_id}::text

-- name: claim_contacts_without_times
-- The same where contacts have no time of their next attempt. The order is no order, see
-- nothing_left; by id, the planner might walk the primary key of all jobs' contacts.
WITH fresh AS (
    SELECT {contact_id} AS id
    FROM {contacts}
    WHERE {contact_job_id} >= %(batch_job_id)s AND {contact_job_id} <= %(batch_job_id)s
      AND {contact_status} IN ({statuses}){existing_contact}
      AND EXISTS ({running_job})
    ORDER BY {contact_job_id}
    LIMIT %(limit)s
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE {contacts} AS contact
SET {contact_status} = {contact_dialing}{touch_contact}
FROM fresh
WHERE contact.{contact_id} = fresh.id
RETURNING contact.{contact_id}::text

-- name: running_job
-- A part of the claims.
SELECT FROM {jobs}
WHERE {job_id} = %(batch_job_id)s AND {organization_id} IS NOT DISTINCT FROM %(organization_id)s
  {existing_job}
  AND {job_status} = {job_running}

-- name: settle_contact
-- Only a contact with a live call: one that somebody else has settled or taken back stays so.
UPDATE {contacts}
SET {contact_status} = {status}{settle_next_attempt_at}{touch_contact}
WHERE {contact_id} = %(contact_id)s AND {contact_job_id} = %(batch_job_id)s
  AND {contact_status} = {contact_dialing}{existing_contact}
  AND EXISTS (
    SELECT FROM {jobs}
    WHERE {job_id} = %(batch_job_id)s
      AND {organization_id} IS NOT DISTINCT FROM %(organization_id)s{existing_job}
  )

-- name: lock_finished_job
-- Locks the job if nothing seems left to do, and else nothing, however often workers ask. The wait
-- for the lock may be for somebody who adds a contact: finish_job looks again, in a statement of its
-- own, because this one would go on with what it saw before the wait.
SELECT FROM {jobs}
WHERE {job_id} = %(batch_job_id)s AND {organization_id} IS NOT DISTINCT FROM %(organization_id)s
  {existing_job}
  AND {job_status} = {job_running}
  AND {nothing_left}
FOR NO KEY UPDATE

-- name: finish_job
-- Under the lock, where nobody adds contacts.
UPDATE {jobs}
SET {job_status} = {job_completed}{touch_job}
WHERE {job_id} = %(batch_job_id)s AND {organization_id} IS NOT DISTINCT FROM %(organization_id)s
  {existing_job}
  AND {job_status} = {job_running}
  AND {nothing_left}

-- name: nothing_left
-- A part of the two above. A range of one job, in its order: for a plain EXISTS the planner would
-- read the whole table, because it believes that one of many is soon found, and none is there. Only
-- an index on the job gives this order.
(
    SELECT true
    FROM {contacts}
    WHERE {contact_job_id} >= %(batch_job_id)s AND {contact_job_id} <= %(batch_job_id)s
      AND {contact_status} IN ({waiting}){existing_contact}
    ORDER BY {contact_job_id}
    LIMIT 1
) IS NULL
AND (
    SELECT true
    FROM {contacts}
    WHERE {contact_job_id} >= %(batch_job_id)s AND {contact_job_id} <= %(batch_job_id)s
      AND {contact_status} IN ({calling}){existing_contact}
    ORDER BY {contact_job_id}
    LIMIT 1
) IS NULL

-- name: read_status
-- One row by its key, without a lock.
SELECT {job_status}::text
FROM {jobs}
WHERE {job_id} = %(batch_job_id)s AND {organization_id} IS NOT DISTINCT FROM %(organization_id)s
  {existing_job}

-- name: append_contacts
-- Under the job's lock. Columns and values are the caller's, except for the job and the status.
INSERT INTO {contacts} ({columns}) VALUES {rows}

-- The statements that sweep the contacts of a very large job after it, by name, as in queries.sql.
-- They need the column is_swept in our own table.

-- name: cancel_contacts_unless_many
-- As cancel_contacts, but changes none if there are more. They are counted only up to the limit,
-- once, before the first is changed.
{cancel_contacts} AND {are_few}

-- name: are_few
-- In the statements that change none if there are more.
(
    SELECT true
    FROM {contacts}
    WHERE {its_contacts} AND {contact_status} IN ({statuses}){existing_contact}
    OFFSET %(above)s
    LIMIT 1
) IS NULL

-- name: are_left
-- Why nothing was changed: if there is one, there are too many, which are not counted again, or a
-- trigger keeps them, which try_contact shows.
SELECT {first_contact} IS NOT NULL

-- name: are_many
-- Why nothing was changed of many jobs. Otherwise there are none, or a trigger keeps them, which the
-- outcome shows.
SELECT NOT {are_few}

-- name: lock_sweep
-- The record of the same cancellation, locked until the count of the chunk is in it: of two that
-- sweep the same job one waits, and then reads what the other has counted.
SELECT operation_id, previous_status, contacts_cancelled, actor, reason, cancelled_at, deferred_id,
       removal, is_announced, is_swept, taken_at, {is_undone}
FROM {cancellations}
WHERE organization_id = %(record_organization_id)s AND batch_job_id = %(record_batch_job_id)s
  AND operation_id = %(operation_id)s AND cancelled_at = %(cancelled_at)s
FOR NO KEY UPDATE

-- name: sweep_contacts
-- What was picked is not trusted: a contact may have been claimed meanwhile, so its status is tested
-- again when it is written. It waits for locked contacts, which may become open again. How many were
-- picked shows whether it was the last chunk.
WITH picked (id) AS MATERIALIZED (
    SELECT {contact_id}
    FROM {contacts}
    WHERE {its_contacts_in_order}
      AND {contact_status} IN ({statuses}){existing_contact}
    ORDER BY {contact_job_id}
    LIMIT %(limit)s
), written AS (
    UPDATE {contacts}
    SET {contact_status} = {contact_cancelled}{touch_contact}
    WHERE {contact_id} = ANY (ARRAY(SELECT id FROM picked)) AND {is_open}
      AND EXISTS (SELECT FROM {jobs} WHERE {this_job} AND {job_status} IN ({cancelled}))
    RETURNING {contact_status} = {contact_cancelled} AS is_so
)
SELECT (SELECT count(*) FROM picked), count(*), count(*) FILTER (WHERE is_so) FROM written

-- name: try_contact
-- Before a very large job is marked, and rolled back: whether one of its contacts can be cancelled at
-- all. One that a worker has locked is not waited for.
WITH picked (id) AS MATERIALIZED (
    SELECT {contact_id}
    FROM {contacts}
    WHERE {its_contacts_in_order}
      AND {contact_status} IN ({statuses}){existing_contact}
    ORDER BY {contact_job_id}
    LIMIT 1
    FOR NO KEY UPDATE SKIP LOCKED
), written AS (
    UPDATE {contacts}
    SET {contact_status} = {contact_cancelled}{touch_contact}
    WHERE {its_contact} AND {contact_id} = ANY (ARRAY(SELECT id FROM picked))
      AND {contact_status} IN ({statuses}){existing_contact}
    RETURNING {contact_status} = {contact_cancelled} AS is_so
)
SELECT (SELECT count(*) FROM picked) = count(*) FILTER (WHERE is_so) FROM written

-- name: note_sweep
-- The count of the chunk, in its transaction; the record is locked.
UPDATE {cancellations}
SET contacts_cancelled = %(contacts_cancelled)s, is_swept = %(is_swept)s
WHERE organization_id = %(record_organization_id)s AND batch_job_id = %(record_batch_job_id)s
  AND operation_id = %(operation_id)s AND cancelled_at = %(cancelled_at)s

-- name: outcome_of_sweep
-- For demand_outcome: whether the record is as written, and whether open contacts are left.
SELECT
    true,
    EXISTS (
        SELECT 1
        FROM {cancellations}
        WHERE organization_id = %(record_organization_id)s
          AND batch_job_id = %(record_batch_job_id)s
          AND operation_id = %(operation_id)s AND contacts_cancelled = %(contacts_cancelled)s
          AND is_swept = %(is_swept)s
    ),
    {first_contact} IS NOT NULL

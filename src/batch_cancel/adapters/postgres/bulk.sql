-- The statements about many jobs of one organization, by name, as in queries.sql. `batch_job_ids` and
-- `keys` are arrays without a type, so that they are read as those of a column, and its index serves.

-- name: these_jobs
-- In nearly every statement.
{job_id} = ANY (%(batch_job_ids)s)
AND (
    {organization_id} = %(organization_id)s
    OR ({organization_id} IS NULL AND %(organization_id)s IS NULL)
){existing_job}

-- name: find_jobs
-- The ids of the jobs of a filter, a page of them, by id; nothing is locked.
SELECT {job_id}::text, {organization_id}::text
FROM {jobs}
WHERE (
    {organization_id} = %(organization_id)s
    OR ({organization_id} IS NULL AND %(organization_id)s IS NULL)
) AND {job_status} IN ({statuses}){existing_job}{bounds}
ORDER BY {job_id}
LIMIT %(limit)s

-- name: lock_jobs
-- As lock_job, for many. The rows are locked in the order of their ids, so that two such statements
-- never wait for each other. Each row has the positions of the ids that it was asked for by: more
-- than one, where the column reads several texts as one value.
WITH locked AS MATERIALIZED (
    SELECT {job_id} AS id, {job_key}::text AS reference, {organization_id}::text AS organization_id,
           {job_status}::text AS status, {deferred_id}::text AS deferred_id
    FROM {jobs}
    WHERE {these_jobs}
    ORDER BY {job_id}
    FOR NO KEY UPDATE
)
SELECT array_to_string(array_positions(%(batch_job_ids)s, id), ','), reference, id::text,
       organization_id, status, deferred_id,
       (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
FROM locked

-- name: read_no_job
-- Fails if one of the ids is none that the column can hold.
SELECT FROM {jobs} WHERE {these_jobs} LIMIT 0

-- name: read_cancellations
-- As read_cancellation, for many, after their locks.
SELECT batch_job_id, organization_id, operation_id, previous_status, contacts_cancelled, actor,
       reason, cancelled_at, deferred_id, removal, is_announced, {is_swept}
FROM {cancellations}
WHERE organization_id = %(record_organization_id)s AND batch_job_id = ANY (%(batch_job_ids)s)

-- name: contacts_of_many
-- In the statement below.
{contact_job_id} = ANY (%(keys)s){of_its_organization}

-- name: cancel_contacts_of_many
-- As cancel_contacts, for many locked jobs, by the values by which contacts refer to them.
UPDATE {contacts}
SET {contact_status} = {contact_cancelled}{touch_contact}
WHERE {contacts_of_many}
  AND {contact_status} IN ({statuses}){existing_contact}{unless_many}
RETURNING {contact_job_id} AS reference, {contact_id} AS id,
          {contact_status} = {contact_cancelled} AS is_so

-- name: cancel_contacts_of_jobs
-- Counts for each job, by its position, the rows written, and of these the ones that are cancelled.
WITH written AS ({cancel_contacts_of_many}), counted AS (
    SELECT reference, count(*) AS written, count(*) FILTER (WHERE is_so) AS cancelled
    FROM written
    GROUP BY reference
)
SELECT array_position(%(keys)s, reference)::bigint, written, cancelled FROM counted

-- name: list_cancelled_contacts_of_jobs
-- The same where a trigger may write the row again later: names the rows, for `as_written`.
WITH written AS ({cancel_contacts_of_many})
SELECT array_position(%(keys)s, reference)::bigint, id::text, is_so FROM written

-- name: keep_earlier_of_jobs
-- As keep_earlier, for many. Records are locked in the order in which their progress is noted.
INSERT INTO {earlier} (
    organization_id, batch_job_id, operation_id, previous_status, contacts_cancelled, actor, reason,
    cancelled_at, deferred_id, removal, is_announced
)
SELECT
    organization_id, batch_job_id, operation_id, previous_status, contacts_cancelled, actor, reason,
    cancelled_at, deferred_id, removal, is_announced
FROM {cancellations}
WHERE organization_id = %(record_organization_id)s AND batch_job_id = ANY (%(batch_job_ids)s)
ORDER BY batch_job_id COLLATE "C"
FOR NO KEY UPDATE
ON CONFLICT DO NOTHING

-- name: records_given
-- In the statements below: the records of many cancellations, which are one parameter.
json_to_recordset(%(records)s::json) AS given (
    organization_id text, batch_job_id text, operation_id text, previous_status text,
    contacts_cancelled bigint, actor text, reason text, cancelled_at timestamptz,
    deferred_id text, removal text, is_announced boolean
)

-- name: note_many_without_waiting
-- As note_without_waiting, before mark_cancellations_done: only if no hook of any of them is pending.
SELECT pg_catalog.set_config('synchronous_commit', 'off', true)
FROM {records_given}
JOIN {cancellations} AS kept USING (organization_id, batch_job_id, operation_id, cancelled_at)
HAVING bool_and(kept.is_announced)

-- name: mark_cancellations_done
-- As mark_cancellation_done, for many, each of another job. They are locked in the order of their
-- ids, so that two that note the same records never wait for each other.
WITH noted AS MATERIALIZED (
    SELECT kept.organization_id, kept.batch_job_id, given.removal, given.is_announced
    FROM {records_given}
    JOIN {cancellations} AS kept USING (organization_id, batch_job_id, operation_id, cancelled_at)
    ORDER BY kept.organization_id COLLATE "C", kept.batch_job_id COLLATE "C"
    FOR NO KEY UPDATE OF kept
)
UPDATE {cancellations} AS kept
SET removal = CASE kept.removal WHEN 'pending' THEN noted.removal ELSE kept.removal END,
    is_announced = kept.is_announced OR noted.is_announced
FROM noted
WHERE kept.organization_id = noted.organization_id AND kept.batch_job_id = noted.batch_job_id

-- name: mark_jobs_cancelled
-- As mark_cancelled, for many.
WITH record AS (
    INSERT INTO {cancellations} (
        organization_id, batch_job_id, operation_id, previous_status, contacts_cancelled, actor,
        reason, cancelled_at, deferred_id, removal, is_announced, taken_at
    )
    SELECT
        organization_id, batch_job_id, operation_id, previous_status, contacts_cancelled, actor,
        reason, cancelled_at, deferred_id, removal, is_announced, cancelled_at
    FROM {records_given}
    ORDER BY batch_job_id COLLATE "C"
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
        taken_at = excluded.taken_at{set_is_swept}
)
UPDATE {jobs}
SET {job_status} = {job_cancelled}{touch_job}
WHERE {these_jobs}

-- name: outcome_of_jobs
-- As outcome, for many. Contacts are looked for job by job, see first_contact; the values by which
-- they refer to their jobs get the type of their column from an empty list of it.
SELECT
    (
        SELECT count(*) = %(number)s AND coalesce(bool_and({job_status} = {job_cancelled}), false)
        FROM {jobs}
        WHERE {these_jobs}
    ),
    (
        SELECT count(*) = %(number)s
        FROM {records_given}
        JOIN {cancellations} AS kept
          ON kept.organization_id = given.organization_id
         AND kept.batch_job_id = given.batch_job_id
        WHERE kept.operation_id = given.operation_id
          AND kept.contacts_cancelled = given.contacts_cancelled
          AND kept.deferred_id IS NOT DISTINCT FROM given.deferred_id
          AND kept.removal = given.removal
    ),
    EXISTS (
        SELECT 1
        FROM unnest(
            array_cat(%(keys)s, (SELECT array_agg({contact_job_id}) FROM {contacts} WHERE false))
        ) AS its (reference)
        WHERE {first_contact}
    )

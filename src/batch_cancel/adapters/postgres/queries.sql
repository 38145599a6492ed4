-- Every statement that the adapter sends, by name, with what it must guarantee.
-- Names in braces are identifiers of the adopter's schema, quoted by psycopg.sql, and its names of
-- statuses. `existing_job` and `existing_contact` are its conditions on rows that count.
-- `this_job` names a job, `its_contact` together with an id a contact.

-- name: this_job
-- In nearly every statement. NULL is an organization like any other. Not IS NOT DISTINCT FROM,
-- which no index serves: Postgres plans with the parameter's value, and drops the half that can't
-- be true.
{job_id} = %(batch_job_id)s
AND (
    {organization_id} = %(organization_id)s
    OR ({organization_id} IS NULL AND %(organization_id)s IS NULL)
){existing_job}

-- name: its_key
-- A fragment: the value by which contacts refer to their job, if that is not the id that callers
-- know. More than one job of this id is an error.
(SELECT {job_key} FROM {jobs} WHERE {this_job})

-- name: its_contact
-- In every statement that reads or writes contacts: they are this job's, by its key, and by its
-- organization if contacts have one. `of` qualifies the columns.
{of}{contact_job_id} = {its_key}{of_its_organization}

-- name: of_its_organization
-- In the fragment above.
AND (
    {of}{contact_organization_id} = %(its_organization)s
    OR ({of}{contact_organization_id} IS NULL AND %(its_organization)s IS NULL)
)

-- name: its_contacts_in_order
-- A fragment for statements with a limit: as its_contact, but a range of one job, to be ordered by
-- job. Otherwise the planner reads the whole table, or the contacts of all jobs by an index on the
-- status, because it expects to find some of many rows soon, although there may be none. Only an
-- index on the job gives this order.
{contact_job_id} >= {its_key} AND {contact_job_id} <= {its_key}{of_its_organization}

-- name: its_contact_in
-- A fragment beside a contact's id: it is this job's, and in one of the statuses.
{its_contact} AND {contact_status} IN ({statuses}){existing_contact}

-- name: its_contact_in_by_id
-- The same for a table with a unique index on the id alone. CASE keeps the planner from every other
-- index: if it expects few contacts of the job, it would read all of them to find one.
CASE WHEN {its_contact} THEN {contact_status} IN ({statuses}){existing_contact} END

-- name: first_contact
-- A fragment: whether a contact of this job is in some statuses; NULL if none is.
(
    SELECT true
    FROM {contacts}
    WHERE {its_contacts_in_order}
      AND {contact_status} IN ({statuses}){existing_contact}
    ORDER BY {contact_job_id}
    LIMIT 1
)

-- name: lock_job
-- Locks this organization's job and no other row, so that another organization can't even wait for
-- it. The status is the newest committed one. The clock is read after the wait for the lock,
-- outside of the query that waits; in microseconds, because the answer is read as text.
WITH locked AS MATERIALIZED (
    SELECT {job_id}::text, {organization_id}::text, {job_status}::text, {deferred_id}::text
    FROM {jobs}
    WHERE {this_job}
    FOR NO KEY UPDATE
)
SELECT locked.*, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM locked

-- name: read_cancellation
-- A statement of its own, after the lock: joined to the lock it would read from before the wait.
SELECT operation_id, previous_status, contacts_cancelled, actor, reason, cancelled_at, deferred_id,
       removal, is_announced, {is_swept}
FROM {cancellations}
WHERE organization_id = %(organization_id)s AND batch_job_id = %(batch_job_id)s

-- name: cancel_contacts
-- Only the statuses given, as constants so that a partial index on them serves; every other row
-- stays as it is. A statement of its own, after the lock: contacts that came in before it are seen.
UPDATE {contacts}
SET {contact_status} = {contact_cancelled}{touch_contact}
WHERE {its_contact} AND {contact_status} IN ({statuses}){existing_contact}

-- name: count_cancelled_contacts
-- The same where a trigger may keep a row as it was: counts the rows written, and of these the ones
-- that are cancelled.
WITH written AS ({cancel_contacts} RETURNING {contact_status} = {contact_cancelled} AS is_so)
SELECT count(*), count(*) FILTER (WHERE is_so) FROM written

-- name: list_cancelled_contacts
-- The same where a trigger may write the row again later: names the rows, for `as_written`.
{cancel_contacts} RETURNING {contact_id}::text, {contact_status} = {contact_cancelled}

-- name: demand_as_written
-- `as_written` as a statement that fails if they are not. No cast but one that fails takes a text.
SELECT (CASE WHEN ({as_written}) THEN '1' ELSE {not_written} END)::integer

-- name: as_written
-- Whether all contacts of these ids, which this transaction has written, are in one of the statuses.
-- The ids are an array without a type, so that it is read as one of the column's.
SELECT count(*) = %(number)s AND coalesce(bool_and({contact_status} IN ({statuses})), true)
FROM {contacts}
WHERE {its_contact} AND {contact_id} = ANY (%(contact_ids)s){existing_contact}

-- name: keep_earlier
-- Before mark_cancelled, if the table for it exists: the record that will be replaced is copied to the
-- history. It is locked, so that what another transaction writes to it before is copied, too.
INSERT INTO {earlier} (
    organization_id, batch_job_id, operation_id, previous_status, contacts_cancelled, actor, reason,
    cancelled_at, deferred_id, removal, is_announced
)
SELECT
    organization_id, batch_job_id, operation_id, previous_status, contacts_cancelled, actor, reason,
    cancelled_at, deferred_id, removal, is_announced
FROM {cancellations}
WHERE organization_id = %(record_organization_id)s AND batch_job_id = %(record_batch_job_id)s
FOR NO KEY UPDATE
ON CONFLICT DO NOTHING

-- name: mark_cancelled
-- The job and its record in one statement. An existing record belongs to an earlier cancellation
-- of a job whose status was set back; it is replaced. The ids have their own parameters in each
-- half: in the record they are text, in your table they have your type.
WITH record AS (
    INSERT INTO {cancellations} (
        organization_id, batch_job_id, operation_id, previous_status, contacts_cancelled, actor,
        reason, cancelled_at, deferred_id, removal, is_announced, taken_at{is_swept_too}
    ) VALUES (
        %(record_organization_id)s, %(record_batch_job_id)s, %(operation_id)s,
        %(previous_status)s, %(contacts_cancelled)s, %(actor)s, %(reason)s, %(cancelled_at)s,
        %(deferred_id)s, %(removal)s, %(is_announced)s, %(cancelled_at)s{is_swept_value}
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
        taken_at = excluded.taken_at{set_is_swept}
)
UPDATE {jobs}
SET {job_status} = {job_cancelled}{touch_job}
WHERE {this_job}

-- name: outcome
-- The outcome, read by a statement of its own, after all triggers and rules have run, deferred
-- ones included. Whether the job, and no other of its name, is cancelled; whether the record is
-- this cancellation's; whether open contacts are left.
SELECT
    (
        SELECT count(*) = 1 AND coalesce(bool_and({job_status} = {job_cancelled}), false)
        FROM {jobs}
        WHERE {this_job}
    ),
    EXISTS (
        SELECT 1
        FROM {cancellations}
        WHERE organization_id = %(record_organization_id)s
          AND batch_job_id = %(record_batch_job_id)s
          AND operation_id = %(operation_id)s AND contacts_cancelled = %(contacts_cancelled)s
          AND deferred_id IS NOT DISTINCT FROM %(deferred_id)s AND removal = %(removal)s{is_swept_so}
    ),
    {first_contact} IS NOT NULL

-- name: demand_outcome
-- `outcome` as a statement that fails, with a text of ours in its error, if it is not as intended:
-- it is sent in one string with COMMIT, which is not executed then.
SELECT (
    CASE
        WHEN NOT is_cancelled THEN {not_cancelled}
        WHEN is_left THEN {contacts_left}
        WHEN NOT is_recorded THEN {not_recorded}
        ELSE '1'
    END
)::integer
FROM ({outcome}) AS outcome (is_cancelled, is_recorded, is_left)

-- name: find_cancellation
-- Without a lock. With `taken_at`, and whether the job exists and is not cancelled: a trigger that
-- runs at the caller's commit, after all our statements, may have set it back.
SELECT operation_id, previous_status, contacts_cancelled, actor, reason, cancelled_at, deferred_id,
       removal, is_announced, {is_swept}, taken_at, {is_undone}
FROM {cancellations}
WHERE organization_id = %(record_organization_id)s AND batch_job_id = %(record_batch_job_id)s

-- name: is_undone
-- In the statement above, and in claim_cancellation.
EXISTS (SELECT 1 FROM {jobs} WHERE {this_job} AND ({job_status} IN ({cancelled})) IS NOT TRUE)

-- name: claim_cancellation
-- Of two claims with the same `taken_at` one succeeds: the one that waited for the lock checks the
-- row again.
UPDATE {cancellations}
SET taken_at = greatest(clock_timestamp(), taken_at + interval '1 microsecond')
WHERE organization_id = %(record_organization_id)s AND batch_job_id = %(record_batch_job_id)s
  AND operation_id = %(operation_id)s AND cancelled_at = %(cancelled_at)s
  AND taken_at = %(taken_at)s
RETURNING operation_id, previous_status, contacts_cancelled, actor, reason, cancelled_at,
          deferred_id, removal, is_announced, {is_swept}, taken_at, {is_undone}

-- name: note_without_waiting
-- Before mark_cancellation_done, in a transaction of our own: its commit need not wait for the disk if
-- no hook is pending. If a crash loses the note, reconcile removes the start again, and notes it.
-- Nothing sets `is_announced` back, so that no lock is needed.
SELECT pg_catalog.set_config('synchronous_commit', 'off', true)
FROM {cancellations}
WHERE organization_id = %(record_organization_id)s AND batch_job_id = %(record_batch_job_id)s
  AND operation_id = %(operation_id)s AND cancelled_at = %(cancelled_at)s AND is_announced

-- name: mark_cancellation_done
-- Only for the same cancellation, and never undoing progress. The time distinguishes two
-- cancellations of a job by one operation.
UPDATE {cancellations}
SET removal = CASE removal WHEN 'pending' THEN %(removal)s ELSE removal END,
    is_announced = is_announced OR %(is_announced)s
WHERE organization_id = %(record_organization_id)s AND batch_job_id = %(record_batch_job_id)s
  AND operation_id = %(operation_id)s AND cancelled_at = %(cancelled_at)s

-- name: take_pending
-- Returns each cancellation to one caller at a time: rows that another caller has locked are
-- skipped, and those taken within the lease are not due. The order is given twice, because an
-- UPDATE returns its rows in any order.
WITH pending AS (
    SELECT organization_id, batch_job_id, taken_at
    FROM {cancellations}
    WHERE (removal = 'pending' OR NOT is_announced{or_not_swept})
      AND (removal = 'pending' OR %(announcements)s{or_not_swept})
      AND taken_at <= clock_timestamp() - %(lease)s
    ORDER BY taken_at
    LIMIT %(limit)s
    FOR NO KEY UPDATE SKIP LOCKED
), done AS (
    UPDATE {cancellations} AS taken
    SET taken_at = greatest(clock_timestamp(), taken.taken_at + interval '1 microsecond')
    FROM pending
    WHERE taken.organization_id = pending.organization_id
      AND taken.batch_job_id = pending.batch_job_id
    RETURNING taken.*, pending.taken_at AS taken_before
)
SELECT batch_job_id, organization_id, operation_id, previous_status, contacts_cancelled, actor,
       reason, cancelled_at, deferred_id, removal, is_announced, {is_swept}, taken_at
FROM done
ORDER BY taken_before

-- name: find_undone
-- Which of these jobs exist and are not cancelled. The ids are an array without a type, so that it
-- is read as one of the column's, and its index serves.
SELECT {job_id}::text, {organization_id}::text
FROM {jobs}
WHERE {job_id} = ANY (%(batch_job_ids)s) AND ({job_status} IN ({cancelled})) IS NOT TRUE{existing_job}

-- name: page
-- The records of this organization alone, the newest first, without a lock. Records of the same time
-- are ordered by their ids, so that the next page begins where this one ends. A bound that is not
-- given is infinity; the planner sees the values of the parameters.
SELECT batch_job_id, organization_id, operation_id, previous_status, contacts_cancelled, actor,
       reason, cancelled_at, deferred_id, removal, is_announced, is_swept
FROM ({records}) AS records
ORDER BY cancelled_at DESC, batch_job_id DESC, operation_id DESC
LIMIT %(limit)s

-- name: records_of_the_page
-- For `page`: the records of one table, our own or the one with the earlier records.
(
    SELECT batch_job_id, organization_id, operation_id, previous_status, contacts_cancelled, actor,
           reason, cancelled_at, deferred_id, removal, is_announced, {is_swept} AS is_swept
    FROM {of_records}
    WHERE organization_id = %(organization_id)s
      AND cancelled_at >= coalesce(%(since)s::timestamptz, '-infinity')
      AND cancelled_at < coalesce(%(until)s::timestamptz, 'infinity')
      AND (cancelled_at, batch_job_id, operation_id) < (
          coalesce(%(after_at)s::timestamptz, 'infinity'), %(after_job)s::text,
          %(after_operation)s::text
      )
    ORDER BY cancelled_at DESC, batch_job_id DESC, operation_id DESC
    LIMIT %(limit)s
)

-- name: forget
-- Only records with nothing pending, and older than the retry window; the oldest first. The rows are
-- locked when they are picked, so that none gets something pending, or is replaced, before it is
-- deleted. A row that another transaction has locked is left for the next run.
WITH old AS (
    SELECT organization_id, batch_job_id
    FROM {cancellations}
    WHERE cancelled_at < %(before)s AND cancelled_at < statement_timestamp() - %(retry_window)s
      AND removal <> 'pending' AND is_announced{and_swept}
    ORDER BY cancelled_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
DELETE FROM {cancellations} AS gone
USING old
WHERE gone.organization_id = old.organization_id AND gone.batch_job_id = old.batch_job_id

-- name: forget_earlier
-- The same for the records that were replaced, which have nothing pending.
DELETE FROM {earlier}
WHERE (organization_id, cancelled_at, batch_job_id, operation_id) IN (
    SELECT organization_id, cancelled_at, batch_job_id, operation_id
    FROM {earlier}
    WHERE cancelled_at < %(before)s AND cancelled_at < statement_timestamp() - %(retry_window)s
    ORDER BY cancelled_at
    LIMIT %(limit)s
)

-- name: look
-- One statement, so that all of it is of one moment. It locks no row. The limit bounds what is read
-- of the contacts as well: those of the cancelled jobs in the answer alone.
WITH removals AS (
    SELECT batch_job_id, organization_id, operation_id, previous_status, contacts_cancelled, actor,
           reason, cancelled_at, deferred_id, removal, is_announced, {is_swept} AS is_swept
    FROM {cancellations}
    WHERE removal = 'pending'
    ORDER BY cancelled_at
    LIMIT %(limit)s
), scheduled AS (
    SELECT {job_id}::text AS job_id, {organization_id}::text AS organization_id,
           {deferred_id}::text AS deferred_id
    FROM {jobs}
    WHERE {job_status} IN ({scheduled}){existing_job}
    ORDER BY {oldest_first}
    LIMIT %(limit)s
), cancelled AS (
    SELECT {job_id}::text AS job_id, {job_key} AS key, {organization_id} AS organization,
           {deferred_id}::text AS deferred_id
    FROM {jobs}
    WHERE {job_status} IN ({cancelled}){existing_job}
    ORDER BY {newest_first}
    LIMIT %(limit)s
)
SELECT 'removal', batch_job_id, organization_id, 0::bigint, operation_id, previous_status,
       contacts_cancelled, actor, reason, cancelled_at, deferred_id, removal, is_announced, is_swept
FROM removals
UNION ALL
SELECT 'scheduled', job_id, organization_id, 0, NULL, NULL, NULL, NULL, NULL, NULL, deferred_id,
       NULL, NULL, NULL
FROM scheduled
UNION ALL
SELECT 'cancelled', cancelled.job_id, cancelled.organization::text, (
           SELECT count(*) FROM {contacts} AS contact
           WHERE contact.{contact_job_id} = cancelled.key{of_the_cancelled_organization}
             AND contact.{contact_status} IN ({statuses}){existing_aliased_contact}
       ), NULL, NULL, NULL, NULL, NULL, NULL, cancelled.deferred_id, NULL, NULL,
       NULL
FROM cancelled
{unswept}
{overdue}

-- name: unswept
-- In the statement above: the cancellations with contacts still to be swept.
UNION ALL
SELECT * FROM (
    SELECT 'sweep', batch_job_id, organization_id, 0::bigint, operation_id, previous_status,
           contacts_cancelled, actor, reason, cancelled_at, deferred_id, removal, is_announced,
           is_swept
    FROM {cancellations}
    WHERE NOT is_swept
    ORDER BY cancelled_at
    LIMIT %(limit)s
) AS unswept

-- name: overview
-- One statement, so that the job and its contacts are of one moment. It locks no row, and waits for
-- none. The number of jobs of this name is in each row.
WITH job AS (
    SELECT {job_id}::text, {organization_id}::text, {job_status}::text, {deferred_id}::text,
           (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, count(*) OVER () AS jobs
    FROM {jobs}
    WHERE {this_job}
)
SELECT job.*, contact.status, contact.number
FROM job
LEFT JOIN (
    SELECT {contact_status}::text AS status, count(*) AS number
    FROM {contacts}
    WHERE {its_contact}{existing_contact}
    GROUP BY {contact_status}::text
) AS contact ON true

-- name: overdue
-- In the statement above: the jobs with calls that have been live for too long.
UNION ALL
SELECT * FROM (
    SELECT 'overdue', job.{job_id}::text, {aliased_organization_id}::text, count(*), NULL, NULL,
           NULL::bigint, NULL, NULL, NULL::timestamptz, NULL, NULL, NULL::boolean,
           NULL::boolean
    FROM {contacts} AS contact
    JOIN {jobs} AS job
      ON job.{job_key} = contact.{contact_job_id}{of_the_same_organization}{existing_aliased_job}
    WHERE contact.{contact_status} IN ({dialing}){existing_aliased_contact}
      AND {aliased_dialing_since} < statement_timestamp() - %(older_than)s
    GROUP BY job.{job_key}, job.{job_id}, {aliased_organization_id}
    ORDER BY count(*) DESC
    LIMIT %(limit)s
) AS overdue

-- name: start_job
-- Compare and set: after a wait for a cancel it sees the new status, and after a wait for a
-- rescheduling the new deferred start.
UPDATE {jobs}
SET {job_status} = {job_running}{touch_job}
WHERE {this_job} AND {job_status} IN ({statuses})
    AND (
        %(deferred_id)s::text IS NULL
        OR {deferred_id}::text COLLATE "C" = %(deferred_id)s::text
    )

-- name: is_startable
-- The condition of the statement above, read without a lock.
SELECT EXISTS (
    SELECT FROM {jobs}
    WHERE {this_job} AND {job_status} IN ({statuses})
        AND (
            %(deferred_id)s::text IS NULL
            OR {deferred_id}::text COLLATE "C" = %(deferred_id)s::text
        )
)

-- name: claim_contacts
-- Does not lock the job, so that workers never block a cancel. It may read the job as before a
-- cancel, but no contact: a row that a cancel has locked is skipped, and a row that it has changed
-- meanwhile is read again and fails the test of its status. Two ranges of the index, because a
-- single one would read every contact that is not due yet; the outer limit shows the planner how
-- few rows there are.
WITH fresh AS (
    SELECT {contact_id} AS id
    FROM {contacts}
    WHERE {its_contact} AND {contact_status} IN ({statuses}){existing_contact}
      AND {next_attempt_at} IS NULL
      AND EXISTS ({running_job})
    ORDER BY {next_attempt_at}, {contact_id}
    LIMIT %(limit)s
    FOR NO KEY UPDATE SKIP LOCKED
), due AS (
    SELECT {contact_id} AS id
    FROM {contacts}
    WHERE {its_contact} AND {contact_status} IN ({statuses}){existing_contact}
      AND {next_attempt_at} <= statement_timestamp()
      AND EXISTS ({running_job})
    ORDER BY {next_attempt_at}, {contact_id}
    LIMIT %(limit)s - (SELECT count(*) FROM fresh)
    FOR NO KEY UPDATE SKIP LOCKED
), picked AS (
    SELECT id FROM fresh UNION ALL SELECT id FROM due LIMIT %(limit)s
), {claim_the_picked}

-- name: claim_contacts_without_times
-- The same for contacts without a time of their next attempt. They are not ordered by id, for which
-- the planner might read the contacts of all jobs by their primary key.
WITH picked (id) AS (
    SELECT {contact_id}
    FROM {contacts}
    WHERE {its_contacts_in_order}
      AND {contact_status} IN ({statuses}){existing_contact}
      AND EXISTS ({running_job})
    ORDER BY {contact_job_id}
    LIMIT %(limit)s
    FOR NO KEY UPDATE SKIP LOCKED
), {claim_the_picked}

-- name: claim_the_picked
-- The rest of the claims. The picked rows are locked, so each is written, unless a trigger or a
-- policy prevents it: then NULL or false says so. Each row has the columns of its own contact.
claimed AS (
    UPDATE {contacts} AS contact
    SET {contact_status} = {contact_dialing}{touch_contact}{begin_call}
    FROM picked
    WHERE {its_aliased_contact} AND contact.{contact_id} = picked.id
    RETURNING contact.{contact_id} AS id, contact.{contact_status} = {contact_dialing} AS is_so{written}
)
SELECT picked.id::text, {is_claimed}{read} FROM picked LEFT JOIN claimed ON claimed.id = picked.id

-- name: is_claimed
-- In the statement above.
claimed.is_so

-- name: demand_claimed
-- The same in one string with COMMIT: a contact that is not claimed is an error.
(CASE WHEN claimed.is_so THEN '1' ELSE {not_written} END)::bigint

-- name: returned
-- In the claims: one of the adopter's columns as it is after the claim, under a name of ours.
contact.{column} AS {alias}

-- name: running_job
-- In the claims.
SELECT 1 FROM {jobs} WHERE {this_job} AND {job_status} IN ({running})

-- name: settle_contact
-- Only a contact with a live call; one that was settled or expired meanwhile stays so.
UPDATE {contacts}
SET {contact_status} = {status}{settle_next_attempt_at}{touch_contact}
WHERE {contact_id} = %(contact_id)s AND {is_live}
  AND EXISTS (SELECT 1 FROM {jobs} WHERE {this_job})

-- name: demand_one_row
-- A step in one string with COMMIT: how many rows it has written; more than one are an error.
WITH written AS ({step} RETURNING 1)
SELECT (
    CASE
        WHEN count(*) > 1 THEN 'batch_cancel: several rows were written'
        ELSE count(*)::text
    END
)::bigint
FROM written

-- name: read_contact
-- What settle_contact left, where a trigger may have written something else.
SELECT {contact_status} IN ({dialing}), {contact_status} = {status}
FROM {contacts}
WHERE {its_contact} AND {contact_id} = %(contact_id)s{existing_contact}

-- name: read_left
-- The same after a settle that found none: whether there is one after all. After one that found it a
-- trigger may have taken the job away.
{read_contact} AND EXISTS (SELECT 1 FROM {jobs} WHERE {this_job})

-- name: expire_contacts
-- Only live calls, and only those that have been live for longer. Under the job's lock, by which
-- the status to be written was decided.
UPDATE {contacts}
SET {contact_status} = {status}{settle_next_attempt_at}{touch_contact}
WHERE {is_expired}

-- name: list_expired_contacts
-- The same where a trigger may keep a row as it was, or write it once more later.
{expire_contacts} RETURNING {contact_id}::text, {contact_status} = {status}

-- name: expired_contact_left
-- Whether one of them is left, because a trigger, a rule or a policy kept it.
SELECT EXISTS (SELECT 1 FROM {contacts} WHERE {is_expired})

-- name: is_expired
-- In the three statements above. The time is that of the transaction, and so the same for all.
{its_contact} AND {contact_status} IN ({dialing}){existing_contact}
AND {dialing_since} < transaction_timestamp() - %(older_than)s

-- name: lock_finished_job
-- Locks the job if no contact seems unfinished, and otherwise no row, however often workers ask.
-- The lock may have been held by a transaction that adds a contact: finish_job checks again, in a
-- statement of its own, because this one keeps its snapshot from before the wait.
SELECT 1 FROM {jobs}
WHERE {this_job} AND {job_status} IN ({running}) AND {nothing_left}
FOR NO KEY UPDATE

-- name: finish_job
-- Under the lock, so that no contact is added meanwhile.
UPDATE {jobs}
SET {job_status} = {job_completed}{touch_job}
WHERE {this_job} AND {job_status} IN ({running}) AND {nothing_left}

-- name: nothing_left
-- In the two statements above, and in the next. Two conditions, because each has an index of its own.
{first_waiting} IS NULL AND {first_calling} IS NULL

-- name: has_contacts
-- Without a lock. No contact of a job that this organization does not have.
SELECT EXISTS (SELECT FROM {jobs} WHERE {this_job}) AND NOT ({nothing_left})

-- name: read_status
-- One row by its key, without a lock, and its key as the columns show it.
SELECT {job_status}::text, {job_id}::text, {organization_id}::text
FROM {jobs}
WHERE {this_job}

-- name: read_key
-- The value by which contacts refer to the locked job.
SELECT {job_key}::text FROM {jobs} WHERE {this_job}

-- name: append_contacts
-- Under the job's lock. Columns and values are the caller's, except for the job, its organization
-- and the status.
INSERT INTO {contacts} ({columns}) VALUES {rows}

-- name: copy_contacts
-- The same for many contacts, whose rows follow.
COPY {contacts} ({columns}) FROM STDIN

-- What the store and the scheduler ask, each statement under its name. All of them run inside a
-- transaction that began with BEGIN IMMEDIATE, unless they say that they only look.
--
-- Every table of ours is named with its schema, `main`: a caller's connection may have a temporary
-- table of the same name, which would be found first.

-- name: is_set_up
-- True once tables.sql was carried out; its last object counts, since it is one transaction.
SELECT count(*) FROM main.sqlite_master WHERE name = 'batch_cancellations_earlier_by_time';

-- name: was_set_up
-- True of a file that a version before the history has made, as well.
SELECT count(*) FROM main.sqlite_master WHERE name = 'batch_deferred_starts_by_time';

-- name: has_earlier
-- Whether the file keeps records that are replaced.
SELECT count(*) FROM main.sqlite_master WHERE name = 'batch_cancellations_earlier';

-- name: look_at_columns
-- Only looks.
SELECT t.name, c.name
FROM main.sqlite_master AS t
JOIN pragma_table_info(t.name) AS c
WHERE t.type = 'table';

-- name: look_at_triggers
-- Only looks. There is none of ours.
SELECT name, lower(tbl_name) FROM main.sqlite_master
WHERE
    type = 'trigger'
    AND lower(tbl_name) IN ('batch_jobs', 'batch_contacts', 'batch_cancellations')
ORDER BY tbl_name, name;

-- name: take_write_lock
-- Must wait for the write lock and change nothing: a SELECT would take a read lock only, and
-- then see what was committed before the wait.
DELETE FROM main.batch_jobs WHERE 0;

-- name: read_job
-- Must find a job of this organization only; IS, because NULL is a value here.
SELECT
    job.status,
    job.scheduled_job_id,
    cancellation.operation_id,
    cancellation.previous_status,
    cancellation.contacts_cancelled,
    cancellation.actor,
    cancellation.reason,
    cancellation.cancelled_at,
    cancellation.deferred_id,
    cancellation.removal,
    cancellation.is_announced
FROM main.batch_jobs AS job
LEFT JOIN main.batch_cancellations AS cancellation
    ON cancellation.batch_job_id = job.id AND cancellation.organization_id IS job.organization_id
WHERE job.id = ? AND job.organization_id IS ?;

-- name: mark_job_cancelled
UPDATE main.batch_jobs SET status = ?, updated_at = ? WHERE id = ? AND organization_id IS ?;

-- name: keep_cancellation
-- Must succeed if a record is left from an earlier cancellation of the job: a stale record must
-- never make a job impossible to cancel.
INSERT OR REPLACE INTO main.batch_cancellations (
    batch_job_id, organization_id, operation_id, previous_status, contacts_cancelled,
    actor, reason, cancelled_at, deferred_id, removal,
    is_announced, taken_at
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: keep_earlier
-- Must come before keep_cancellation: a record from an earlier life of the job goes to the history
-- as it is.
INSERT INTO main.batch_cancellations_earlier (
    batch_job_id, organization_id, operation_id, previous_status, contacts_cancelled,
    actor, reason, cancelled_at, deferred_id, removal,
    is_announced
)
SELECT
    batch_job_id, organization_id, operation_id, previous_status, contacts_cancelled,
    actor, reason, cancelled_at, deferred_id, removal,
    is_announced
FROM main.batch_cancellations
WHERE batch_job_id = ? AND organization_id IS ?;

-- name: cancel_contacts
-- Must touch no row but those in the statuses that it is given; one mark for each of them is put
-- in place of `:statuses`.
UPDATE main.batch_contacts SET status = ?, updated_at = ?
WHERE
    job_number = (SELECT number FROM main.batch_jobs WHERE id = ? AND organization_id IS ?)
    AND status IN (:statuses);

-- name: has_triggers
-- Only looks: whether any trigger, a temporary one included, sees what is written here.
SELECT
    EXISTS (
        SELECT 1 FROM main.sqlite_master
        WHERE
            type = 'trigger'
            AND lower(tbl_name) IN ('batch_jobs', 'batch_contacts', 'batch_cancellations')
    )
    OR EXISTS (
        SELECT 1 FROM temp.sqlite_master
        WHERE
            type = 'trigger'
            AND lower(tbl_name) IN ('batch_jobs', 'batch_contacts', 'batch_cancellations')
    );

-- name: count_contacts_in
-- Only looks: how many contacts of the job are in the statuses that it is given.
SELECT count(*) FROM main.batch_contacts
WHERE
    job_number = (SELECT number FROM main.batch_jobs WHERE id = ? AND organization_id IS ?)
    AND status IN (:statuses);

-- name: count_contacts
-- Only looks: how many of the contacts of these ids have this status. All ids come in one
-- parameter, as JSON.
SELECT count(*) FROM main.batch_contacts
WHERE
    job_number = (SELECT number FROM main.batch_jobs WHERE id = ? AND organization_id IS ?)
    AND id IN (SELECT value FROM json_each(?)) AND status = ?;

-- name: start_job
-- Must set a job running in the statuses that it is given alone, and of the deferred start alone.
UPDATE main.batch_jobs SET status = ?, updated_at = ?
WHERE
    id = ? AND organization_id IS ? AND (? IS NULL OR scheduled_job_id = ?)
    AND status IN (:statuses);

-- name: is_startable
-- Must be the condition of the statement above.
SELECT count(*) FROM main.batch_jobs
WHERE
    id = ? AND organization_id IS ? AND (? IS NULL OR scheduled_job_id = ?)
    AND status IN (:statuses);

-- name: read_due_contacts
-- Must return contacts of a running job only, those without a time first.
SELECT contact.id
FROM main.batch_contacts AS contact
JOIN main.batch_jobs AS job ON job.number = contact.job_number
WHERE
    job.id = ? AND job.organization_id IS ? AND job.status = ?
    AND (contact.next_attempt_at IS NULL OR contact.next_attempt_at <= ?)
    AND contact.status IN (:statuses)
ORDER BY contact.next_attempt_at, contact.id LIMIT ?;

-- name: claim_contact
-- Must leave alone a contact that is no longer open: a trigger of the contact claimed before it may
-- have changed it.
UPDATE main.batch_contacts SET status = ?, updated_at = ?
WHERE
    job_number = (SELECT number FROM main.batch_jobs WHERE id = ? AND organization_id IS ?)
    AND id = ? AND status IN (:statuses);

-- name: look_at_columns_of_contacts
-- Only looks. Whether a value can be put in a column: not if it is generated.
SELECT name, hidden = 0 FROM pragma_table_xinfo('batch_contacts', 'main');

-- name: read_contacts
-- Only looks. All ids come in one parameter, as JSON; `:columns` is replaced by names in quotes.
-- They are qualified: SQLite takes an unknown name in quotes for a text.
SELECT contact.id:columns
FROM main.batch_contacts AS contact
WHERE
    contact.job_number = (
        SELECT number FROM main.batch_jobs WHERE id = ? AND organization_id IS ?
    )
    AND contact.id IN (SELECT value FROM json_each(?));

-- name: has_contacts
-- Only looks: whether there is such a job with a contact in the statuses that it is given.
SELECT EXISTS (
    SELECT 1 FROM main.batch_contacts
    WHERE
        job_number = (SELECT number FROM main.batch_jobs WHERE id = ? AND organization_id IS ?)
        AND status IN (:statuses)
);

-- name: settle_contact
-- Must leave alone a contact that has no live call.
UPDATE main.batch_contacts SET status = ?, next_attempt_at = ?, updated_at = ?
WHERE
    job_number = (SELECT number FROM main.batch_jobs WHERE id = ? AND organization_id IS ?)
    AND id = ? AND status = ?;

-- name: read_overdue_contacts
-- Must leave out a contact whose call is younger. A time in another form than ours is compared as
-- the time that it is, and one that is none is never overdue.
SELECT id FROM main.batch_contacts
WHERE
    job_number = (SELECT number FROM main.batch_jobs WHERE id = ? AND organization_id IS ?)
    AND status = ? AND julianday(updated_at) < julianday(?);

-- name: expire_contacts
-- All ids come in one parameter, as JSON.
UPDATE main.batch_contacts SET status = ?, next_attempt_at = ?, updated_at = ?
WHERE
    job_number = (SELECT number FROM main.batch_jobs WHERE id = ? AND organization_id IS ?)
    AND id IN (SELECT value FROM json_each(?)) AND status = ?;

-- name: append_contact
-- Must fail where the job has a contact of this id: an ended one would be dialled again. `:columns`
-- and `:marks` are the adopter's own columns of the table, in quotes, and their values.
INSERT INTO main.batch_contacts (job_number, id, status, next_attempt_at, updated_at:columns)
SELECT number, ?, ?, ?, ?:marks FROM main.batch_jobs WHERE id = ? AND organization_id IS ?;

-- name: finish_job
-- Must not complete a job while a contact is in one of the statuses that it is given.
UPDATE main.batch_jobs SET status = ?, updated_at = ?
WHERE
    id = ? AND organization_id IS ? AND status = ?
    AND NOT EXISTS (
        SELECT 1 FROM main.batch_contacts
        WHERE job_number = batch_jobs.number AND status IN (:statuses)
    );

-- name: read_status
SELECT status FROM main.batch_jobs WHERE id = ? AND organization_id IS ?;

-- name: mark_cancellation_done
-- Only for the same cancellation, and never undoing progress. The time distinguishes two
-- cancellations of a job by one operation.
UPDATE main.batch_cancellations
SET
    removal = CASE removal WHEN 'pending' THEN ? ELSE removal END,
    is_announced = is_announced OR ?
WHERE batch_job_id = ? AND organization_id IS ? AND operation_id = ? AND cancelled_at = ?;

-- name: find_cancellation
-- With `taken_at`, and whether its job exists and has another status than cancelled.
SELECT
    operation_id, previous_status, contacts_cancelled, actor, reason,
    cancelled_at, deferred_id, removal, is_announced, taken_at,
    EXISTS (
        SELECT 1 FROM main.batch_jobs AS job
        WHERE
            job.id = batch_job_id AND job.organization_id IS batch_cancellations.organization_id
            AND job.status IS NOT 'cancelled'
    )
FROM main.batch_cancellations WHERE batch_job_id = ? AND organization_id IS ?;

-- name: claim_cancellation
-- Of two claims with the same `taken_at`, only one may succeed.
UPDATE main.batch_cancellations SET taken_at = ?
WHERE
    batch_job_id = ? AND organization_id IS ? AND operation_id = ? AND cancelled_at = ?
    AND taken_at = ?;

-- name: read_pending
-- Must return those untouched for longest first, so that one that keeps failing does not starve
-- the rest.
SELECT
    batch_job_id, organization_id
FROM main.batch_cancellations
WHERE (removal = 'pending' OR NOT is_announced) AND (removal = 'pending' OR ?) AND taken_at <= ?
ORDER BY taken_at LIMIT ?;

-- name: take_cancellation
UPDATE main.batch_cancellations SET taken_at = ? WHERE batch_job_id = ? AND organization_id IS ?;

-- name: page
-- Reads this organization's records, replaced ones included, the newest first. Records of the same
-- time are ordered by their ids, so that the next page begins where this one ends.
SELECT
    batch_job_id, organization_id, operation_id, previous_status, contacts_cancelled, actor, reason,
    cancelled_at, deferred_id, removal, is_announced
FROM main.batch_cancellations
WHERE
    organization_id IS ?1 AND cancelled_at >= ?2 AND cancelled_at < ?3 AND cancelled_at <= ?4
    AND (cancelled_at, batch_job_id, operation_id) < (?4, ?5, ?6)
UNION ALL
SELECT
    batch_job_id, organization_id, operation_id, previous_status, contacts_cancelled, actor, reason,
    cancelled_at, deferred_id, removal, is_announced
FROM main.batch_cancellations_earlier
WHERE
    organization_id IS ?1 AND cancelled_at >= ?2 AND cancelled_at < ?3 AND cancelled_at <= ?4
    AND (cancelled_at, batch_job_id, operation_id) < (?4, ?5, ?6)
ORDER BY cancelled_at DESC, batch_job_id DESC, operation_id DESC LIMIT ?7;

-- name: page_without_earlier
-- The same for a file that a version without the history created.
SELECT
    batch_job_id, organization_id, operation_id, previous_status, contacts_cancelled, actor, reason,
    cancelled_at, deferred_id, removal, is_announced
FROM main.batch_cancellations
WHERE
    organization_id IS ?1 AND cancelled_at >= ?2 AND cancelled_at < ?3 AND cancelled_at <= ?4
    AND (cancelled_at, batch_job_id, operation_id) < (?4, ?5, ?6)
ORDER BY cancelled_at DESC, batch_job_id DESC, operation_id DESC LIMIT ?7;

-- name: forget
-- Must leave records with something pending, however old they are.
DELETE FROM main.batch_cancellations
WHERE
    rowid IN (
        SELECT rowid FROM main.batch_cancellations
        WHERE cancelled_at < ? AND removal <> 'pending' AND is_announced
        ORDER BY cancelled_at LIMIT ?
    );

-- name: forget_earlier
-- A record that was replaced has nothing pending.
DELETE FROM main.batch_cancellations_earlier
WHERE
    rowid IN (
        SELECT rowid FROM main.batch_cancellations_earlier
        WHERE cancelled_at < ?
        ORDER BY cancelled_at LIMIT ?
    );

-- name: count_contacts_by_status
-- Reads all contacts of the job.
SELECT status, count(*) FROM main.batch_contacts
WHERE job_number = (SELECT number FROM main.batch_jobs WHERE id = ? AND organization_id IS ?)
GROUP BY status;

-- name: look_at_removals
-- The oldest first.
SELECT
    batch_job_id, organization_id, operation_id, previous_status, contacts_cancelled, actor, reason,
    cancelled_at, deferred_id, removal, is_announced
FROM main.batch_cancellations WHERE removal = 'pending' ORDER BY cancelled_at LIMIT ?;

-- name: look_at_scheduled
-- The longest untouched first.
SELECT id, organization_id, scheduled_job_id FROM main.batch_jobs
WHERE status = ? ORDER BY updated_at, number LIMIT ?;

-- name: look_at_cancelled
-- The last changed first; only their contacts are read.
SELECT
    job.id,
    job.organization_id,
    job.scheduled_job_id,
    (
        SELECT count(*) FROM main.batch_contacts AS contact
        WHERE contact.job_number = job.number AND contact.status IN (:statuses)
    )
FROM main.batch_jobs AS job
WHERE job.status = ? ORDER BY job.updated_at DESC, job.number DESC LIMIT ?;

-- name: look_at_overdue
-- Those with most of them first.
SELECT job.id, job.organization_id, count(*)
FROM main.batch_contacts AS contact
JOIN main.batch_jobs AS job ON job.number = contact.job_number
WHERE contact.status = ? AND julianday(contact.updated_at) < julianday(?)
GROUP BY job.number ORDER BY count(*) DESC, job.number LIMIT ?;

-- name: add_job
INSERT INTO main.batch_jobs (
    id, organization_id, status, scheduled_job_id, created_at, updated_at
)
VALUES (?, ?, ?, ?, ?, ?);

-- name: find_job_number
SELECT number FROM main.batch_jobs WHERE id = ? AND organization_id IS ?;

-- name: put_contact
INSERT INTO main.batch_contacts (job_number, id, status, updated_at) VALUES (?, ?, ?, ?)
ON CONFLICT (job_number, id)
DO UPDATE SET status = excluded.status, updated_at = excluded.updated_at;

-- name: look_at_contacts
-- Only looks.
SELECT contact.id, contact.status
FROM main.batch_contacts AS contact
JOIN main.batch_jobs AS job ON job.number = contact.job_number
WHERE job.id = ? AND job.organization_id IS ?;

-- name: read_deferred
SELECT state, at, payload, token, operation_id
FROM main.batch_deferred_starts WHERE deferred_id = ?;

-- name: write_deferred
INSERT OR REPLACE INTO main.batch_deferred_starts (
    deferred_id, state, at, payload, token, operation_id
)
VALUES (?, ?, ?, ?, ?, ?);

-- name: read_deferred_until
-- Must return the earliest first: a small claim gets the most urgent.
SELECT deferred_id, state, at, payload, token, operation_id
FROM main.batch_deferred_starts WHERE at <= ? ORDER BY at LIMIT ?;

-- name: look_at_waiting
-- Only looks.
SELECT deferred_id FROM main.batch_deferred_starts WHERE state = ?;

-- name: look_at_waiting_among
-- Only looks; all that is asked for comes in one parameter, as JSON, however many there are.
SELECT deferred_id FROM main.batch_deferred_starts
WHERE deferred_id IN (SELECT value FROM json_each(?)) AND state = ?;

-- name: find_jobs
-- Only looks: a page of the jobs of this organization in some statuses, created within bounds, by
-- id.
SELECT id FROM main.batch_jobs
WHERE
    organization_id IS ? AND created_at >= ? AND created_at < ? AND id > ?
    AND status IN (:statuses)
ORDER BY id LIMIT ?;

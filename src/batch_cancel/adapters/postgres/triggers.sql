-- Optional triggers that repair writes of workers that do not ask before they act: a status set
-- without a check of the job, a contact added to a cancelled job. With them a cancelled job stays
-- cancelled and none of its contacts waits for a call, whoever writes. The names and the statuses
-- are those of your PostgresSchema. May be run again; DROP TRIGGER removes them.
--
-- Repairs are silent: the writer still gets "1 row". A transaction that writes some contacts first
-- and then makes another one of the same job wait for a call, takes its locks in the opposite
-- order of a cancel: if both meet, Postgres ends one of them (40P01), and the cancel is retried.

-- A job that has ended keeps its status. Its other columns may change.
CREATE OR REPLACE FUNCTION {keep_job_status}() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.{job_status} := OLD.{job_status};
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER batch_cancel_keep_job_status
BEFORE UPDATE ON {jobs} FOR EACH ROW
WHEN (
    OLD.{job_status} IN ({ended_jobs}){old_job_counts}
    AND NEW.{job_status} IS DISTINCT FROM OLD.{job_status}
)
EXECUTE FUNCTION {keep_job_status}();

-- A contact of a cancelled job that would begin to wait for a call, or to be on one, becomes
-- cancelled; one that has ended stays as it ended. The job is read under its lock: without it, a
-- cancel that does not see this contact yet could follow. The function must stay VOLATILE, as it
-- is by default, to see what was committed while it waited.
CREATE OR REPLACE FUNCTION {keep_contact_cancelled}() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    is_cancelled boolean;
BEGIN
    SELECT job.{job_status} IN ({cancelled_jobs}) INTO is_cancelled
    FROM {jobs} AS job
    WHERE job.{job_key} = NEW.{contact_job_id}{of_its_organization}{job_counts}
    FOR NO KEY UPDATE;
    IF is_cancelled THEN
        NEW.{contact_status} := {contact_cancelled};
        IF TG_OP = 'UPDATE' AND OLD.{contact_status} IN ({ended_contacts}) THEN
            NEW.{contact_status} := OLD.{contact_status};
        END IF;
    END IF;
    RETURN NEW;
END
$$;

-- The function finds your tables by the search_path of now, and a temporary table after them.
DO $$
BEGIN
    EXECUTE 'ALTER FUNCTION ' || {named_keep_contact_cancelled} || '() SET search_path TO '
        || concat_ws(', ', nullif(current_setting('search_path'), ''), 'pg_temp');
END
$$;

CREATE OR REPLACE TRIGGER batch_cancel_keep_contact_cancelled_insert
BEFORE INSERT ON {contacts} FOR EACH ROW
WHEN (NEW.{contact_status} IN ({live_contacts}){new_contact_counts})
EXECUTE FUNCTION {keep_contact_cancelled}();

-- Only where a contact begins to wait, or is dialled without having waited. A cancel, a claim and
-- most ends of calls pass without a look at the job.
CREATE OR REPLACE TRIGGER batch_cancel_keep_contact_cancelled_update
BEFORE UPDATE ON {contacts} FOR EACH ROW
WHEN (
    (
        NEW.{contact_status} IN ({open_contacts}){new_contact_counts}
        AND (OLD.{contact_status} IN ({open_contacts}){old_contact_counts}) IS NOT TRUE
    )
    OR (
        NEW.{contact_status} IN ({dialing_contacts}){new_contact_counts}
        AND (OLD.{contact_status} IN ({live_contacts}){old_contact_counts}) IS NOT TRUE
    )
    OR (
        NEW.{contact_status} IN ({open_contacts}){new_contact_counts}
        AND (NEW.{contact_job_id} IS DISTINCT FROM OLD.{contact_job_id}{changes_organization})
    )
)
EXECUTE FUNCTION {keep_contact_cancelled}();

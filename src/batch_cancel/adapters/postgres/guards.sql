-- Optional triggers that repair what writers do who do not ask before they act: a status set without
-- a look at the job, a contact added to a job that is cancelled. With them a cancelled job stays
-- cancelled and none of its contacts waits for a call, whoever writes. Change the names if yours
-- differ. May be run again; DROP TRIGGER takes them away.
--
-- What is repaired is repaired silently: the writer is told "1 row". A transaction that writes some
-- contacts first and then makes another one of the same job wait for a call, takes its locks in the
-- other order than a cancel: should both meet, Postgres ends one of them (40P01), and the cancel is
-- tried again.

-- A job that has ended keeps its status. Its other columns may change.
CREATE OR REPLACE FUNCTION batch_cancel_keep_job_status() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.status := OLD.status;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER batch_cancel_keep_job_status
BEFORE UPDATE ON batch_jobs FOR EACH ROW
WHEN (
    OLD.status IN ('completed', 'failed', 'cancelled')
    AND NEW.status IS DISTINCT FROM OLD.status
)
EXECUTE FUNCTION batch_cancel_keep_job_status();

-- A contact of a cancelled job that would begin to wait for a call, or to be on one, becomes
-- cancelled; one that has ended stays as it ended. The job is read under its lock: read without,
-- it could be cancelled right after, by somebody who does not see this contact yet. The function
-- must stay VOLATILE, as it is by default, to see what was committed while it waited.
CREATE OR REPLACE FUNCTION batch_cancel_keep_contact_cancelled() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    job_status text;
BEGIN
    SELECT status INTO job_status
    FROM batch_jobs WHERE id = NEW.batch_job_id
    FOR NO KEY UPDATE;
    IF job_status = 'cancelled' THEN
        NEW.status := 'cancelled';
        IF TG_OP = 'UPDATE' AND OLD.status IN (
            'completed', 'failed', 'blocked', 'invalid_number', 'carrier_error'
        ) THEN
            NEW.status := OLD.status;
        END IF;
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER batch_cancel_keep_contact_cancelled_insert
BEFORE INSERT ON batch_contacts FOR EACH ROW
WHEN (NEW.status IN ('pending', 'queued', 'no_answer', 'busy', 'timeout', 'dialing'))
EXECUTE FUNCTION batch_cancel_keep_contact_cancelled();

-- Only where a contact begins to wait, or is dialled without having waited. A cancel, a claim and
-- most ends of calls pass without a look at the job.
CREATE OR REPLACE TRIGGER batch_cancel_keep_contact_cancelled_update
BEFORE UPDATE ON batch_contacts FOR EACH ROW
WHEN (
    (
        NEW.status IN ('pending', 'queued', 'no_answer', 'busy', 'timeout')
        AND (OLD.status IN ('pending', 'queued', 'no_answer', 'busy', 'timeout')) IS NOT TRUE
    )
    OR (
        NEW.status = 'dialing'
        AND (OLD.status IN ('pending', 'queued', 'no_answer', 'busy', 'timeout', 'dialing'))
            IS NOT TRUE
    )
    OR (
        NEW.status IN ('pending', 'queued', 'no_answer', 'busy', 'timeout')
        AND NEW.batch_job_id IS DISTINCT FROM OLD.batch_job_id
    )
)
EXECUTE FUNCTION batch_cancel_keep_contact_cancelled();

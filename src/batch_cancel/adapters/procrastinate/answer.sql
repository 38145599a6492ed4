-- Guarantees: the answer of this operation; no row if it has not cancelled the job.
SELECT (args ->> 'batch_cancel_answer')::boolean
FROM procrastinate_jobs
WHERE id = %(job_id)s AND status = 'cancelled'
    AND args ->> 'batch_cancel_operation' = %(operation_id)s

-- Guarantees: the job will not run, if no worker had taken it; the answer is whether it had never
-- run. Its arguments, which are not needed any more, remember the operation. No row: it was not
-- waiting.
UPDATE procrastinate_jobs
SET status = 'cancelled',
    args = args || jsonb_build_object(
        'batch_cancel_operation', %(operation_id)s::text, 'batch_cancel_answer', attempts = 0
    )
WHERE id = %(job_id)s AND status = 'todo'
RETURNING attempts = 0

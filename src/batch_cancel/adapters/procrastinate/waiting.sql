-- Guarantees: those of the jobs that wait, for their time or for their retry; nothing is changed.
SELECT id::text FROM procrastinate_jobs WHERE id = ANY(%(ids)s::bigint[]) AND status = 'todo'

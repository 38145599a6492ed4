-- Guarantees: whether Procrastinate's table is seen; whether the connection may change it; which of the
-- columns that the other statements name are missing; how many of the two statuses are.
SELECT
    to_regclass('procrastinate_jobs') IS NOT NULL,
    coalesce(
        has_table_privilege(to_regclass('procrastinate_jobs'), 'SELECT')
        AND has_column_privilege(to_regclass('procrastinate_jobs'), 'status', 'UPDATE')
        AND has_column_privilege(to_regclass('procrastinate_jobs'), 'args', 'UPDATE'),
        false
    ),
    ARRAY(
        SELECT name || ' ' || type
        FROM (VALUES ('id', 'int8'), ('status', 'procrastinate_job_status'), ('args', 'jsonb'),
            ('attempts', 'int4')) AS expected (name, type)
        WHERE NOT EXISTS (
            SELECT FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
            WHERE attrelid = to_regclass('procrastinate_jobs') AND attname = name
                AND typname = type AND NOT attisdropped
        )
    ),
    (
        SELECT count(*) FROM pg_enum
        WHERE enumtypid = to_regtype('procrastinate_job_status')
            AND enumlabel IN ('todo', 'cancelled')
    ),
    pg_is_in_recovery()

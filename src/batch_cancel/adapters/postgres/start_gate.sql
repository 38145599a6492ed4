-- The statements of the start gate in SQL; what they are together, adapters/sql_gate.py says.

-- name: now
-- Guarantees: the server's clock, in microseconds.
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint

-- name: change
-- Guarantees: the row is changed if and only if it is in one of the states, also if it comes into or
-- out of them while the statement waits for it.
UPDATE {gates}
SET state = %(state)s,
    operation_id = coalesce(%(operation_id)s, operation_id),
    forget_at = greatest(forget_at, %(forget_at)s)
WHERE deferred_id = %(deferred_id)s AND state = ANY(%(states)s)

-- name: add
-- Guarantees: a new row, unless there is one or another transaction adds it first.
INSERT INTO {gates} (deferred_id, state, operation_id, forget_at)
VALUES (%(deferred_id)s, %(state)s, %(operation_id)s, %(forget_at)s)
ON CONFLICT (deferred_id) DO NOTHING

-- name: read
-- Guarantees: the row as it is committed now.
SELECT state, operation_id FROM {gates} WHERE deferred_id = %(deferred_id)s

-- name: armed
-- Guarantees: those that are armed; nothing is changed.
SELECT deferred_id FROM {gates} WHERE deferred_id = ANY(%(deferred_ids)s) AND state = 'armed'

-- name: forget
-- Guarantees: no wait for another transaction, and no row that is not old.
WITH old AS MATERIALIZED (
    SELECT deferred_id FROM {gates} WHERE forget_at < %(before)s
    ORDER BY forget_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
DELETE FROM {gates} WHERE deferred_id IN (SELECT deferred_id FROM old)

-- name: check
-- Guarantees: whether the table is seen; which of its columns are missing; whether an id is unique in
-- it; which privileges are missing; whether the server refuses writes. Nothing is changed.
SELECT
    to_regclass({named}) IS NOT NULL,
    ARRAY(
        SELECT name || ' ' || type
        FROM (VALUES ('deferred_id', 'text'), ('state', 'text'), ('operation_id', 'text'),
            ('forget_at', 'timestamptz')) AS expected (name, type)
        WHERE NOT EXISTS (
            SELECT FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
            WHERE attrelid = to_regclass({named}) AND attname = name AND typname = type
                AND NOT attisdropped
        )
    ),
    EXISTS (
        SELECT FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
        WHERE indrelid = to_regclass({named}) AND indisunique AND indisvalid AND indpred IS NULL
            AND indnkeyatts = 1 AND attname = 'deferred_id'
    ),
    ARRAY(
        SELECT privilege FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
        WHERE NOT has_table_privilege(to_regclass({named}), privilege)
    ),
    current_setting('transaction_read_only')::boolean

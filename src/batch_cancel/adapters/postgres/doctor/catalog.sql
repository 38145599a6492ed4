-- The statements of `check`, by name; they only read. Most read Postgres' catalogs, which every
-- role may read: there, the adopter's names are parameters. Names are returned as SQL, in quotes
-- where Postgres needs them, except those used as keys.

-- name: server
SELECT pg_catalog.current_setting('server_version_num')::int,
       pg_catalog.current_setting('transaction_read_only') = 'on'

-- name: names
-- How the adopter's names are typed.
SELECT name, pg_catalog.quote_ident(name) FROM unnest(%(names)s::text[]) AS wanted (name)

-- name: tables
-- The tables that are wanted: which one a statement would find, and where else one of that name is;
-- what its rows are in; whether row-level security applies to the user that connects, for which
-- privileges a policy shows this role any rows, and which policies apply to it.
SELECT wanted.field, found.oid::bigint, pg_catalog.quote_ident(found.nspname), found.relkind::text, found.may_enter, (
           SELECT array_agg(pg_catalog.quote_ident(n.nspname) ORDER BY n.nspname)
           FROM pg_catalog.pg_class AS c
           JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
           WHERE c.relname = wanted.name AND c.relkind IN ('r', 'p', 'v', 'f')
       ), (
           SELECT array_agg(n.nspname || '.' || c.relname)
           FROM pg_catalog.pg_class AS c
           JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
           WHERE c.oid = found.oid
              OR c.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(found.oid))
       ), CASE WHEN found.is_secured THEN pg_catalog.quote_ident(current_user) END, (
           SELECT array_agg(privilege)
           FROM (VALUES ('SELECT', 'r'), ('INSERT', 'a'), ('UPDATE', 'w')) AS v (privilege, cmd)
           WHERE EXISTS (
               SELECT FROM pg_catalog.pg_policy AS p
               WHERE p.polrelid = found.oid AND p.polpermissive AND p.polcmd::text IN ('*', v.cmd)
                 AND EXISTS (
                   SELECT FROM unnest(p.polroles) AS role
                   WHERE role = 0 OR pg_catalog.pg_has_role(role, 'USAGE')
               )
           )
       ), (
           SELECT array_agg(pg_catalog.quote_ident(p.polname) ORDER BY p.polname)
           FROM pg_catalog.pg_policy AS p
           WHERE p.polrelid = found.oid AND EXISTS (
               SELECT FROM unnest(p.polroles) AS role
               WHERE role = 0 OR pg_catalog.pg_has_role(role, 'USAGE')
           )
       )
FROM unnest(%(fields)s::text[], %(schemas)s::text[], %(names)s::text[])
     AS wanted (field, schema, name)
LEFT JOIN LATERAL (
    SELECT c.oid, n.nspname::text AS nspname, c.relkind,
           pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS may_enter,
           pg_catalog.row_security_active(c.oid) AS is_secured
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relname = wanted.name AND c.relkind IN ('r', 'p', 'v', 'f')
      AND CASE WHEN wanted.schema IS NULL THEN pg_catalog.pg_table_is_visible(c.oid)
               ELSE n.nspname = wanted.schema END
) AS found ON true

-- name: columns
-- What may be done with each column, and its type, or what a domain is made of; an enum's labels;
-- whether it is a domain.
SELECT a.attrelid::bigint, a.attname::text,
       pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT'),
       pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'INSERT'),
       pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'UPDATE'),
       -- Without its length, `character` would be one character.
       CASE base.type WHEN 'pg_catalog.bpchar'::pg_catalog.regtype THEN 'bpchar'
                      ELSE pg_catalog.format_type(base.type, NULL) END, (
           SELECT array_agg(e.enumlabel::text)
           FROM pg_catalog.pg_enum AS e
           WHERE e.enumtypid = base.type
       ), t.typtype = 'd'
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
CROSS JOIN LATERAL (SELECT coalesce(nullif(t.typbasetype, 0), t.oid) AS type) AS base
WHERE a.attrelid = ANY (%(tables)s::bigint[]::oid[]) AND a.attnum > 0 AND NOT a.attisdropped

-- name: indexes
-- The indexes, whether they are in use, their columns in order, the condition of a partial one, and
-- whether they have their rows in ascending order.
-- A column in another collation than its own is none: no comparison of ours finds it there.
SELECT i.indrelid::bigint, i.indexrelid::regclass::text, i.indisvalid, i.indisunique,
       pg_catalog.pg_get_expr(i.indpred, i.indrelid), (
           SELECT array_agg(coalesce(a.attname::text, '') ORDER BY k.ordinal)
           FROM unnest(i.indkey::int2[], i.indcollation::oid[])
                WITH ORDINALITY AS k (attnum, collated, ordinal)
           LEFT JOIN pg_catalog.pg_attribute AS a
                  ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                 AND a.attcollation = k.collated
           WHERE k.ordinal <= i.indnkeyatts
       ),
       am.amname NOT IN ('brin', 'gin', 'gist', 'hash', 'spgist') AND 0 = ALL (i.indoption::int2[])
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_am AS am ON am.oid = c.relam
WHERE i.indrelid = ANY (%(tables)s::bigint[]::oid[])

-- name: constraints
-- The check constraints on one column alone, and those of the domain that a column is of.
SELECT c.conrelid::bigint, pg_catalog.quote_ident(c.conname), a.attname::text,
       pg_catalog.pg_get_expr(c.conbin, c.conrelid), NULL::text
FROM pg_catalog.pg_constraint AS c
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
WHERE c.conrelid = ANY (%(tables)s::bigint[]::oid[]) AND c.contype = 'c'
  AND pg_catalog.cardinality(c.conkey) = 1
UNION ALL
SELECT a.attrelid::bigint, pg_catalog.quote_ident(c.conname), a.attname::text,
       pg_catalog.pg_get_expr(c.conbin, 0), pg_catalog.format_type(a.atttypid, NULL)
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_constraint AS c ON c.contypid = a.atttypid AND c.contype = 'c'
WHERE a.attrelid = ANY (%(tables)s::bigint[]::oid[]) AND a.attnum > 0 AND NOT a.attisdropped

-- name: condition
-- Whether a condition on some columns, as in the catalog, holds for all of some statuses. Postgres
-- itself decides, by its own rules for the columns' own types.
SELECT bool_and(({condition}) IS NOT FALSE), bool_and(({condition}) IS TRUE)
FROM (SELECT {columns} FROM unnest(%(statuses)s::text[]) AS given (status)) AS rows

-- name: no_scans
-- For the rest of the transaction: a small table, too, is read by an index wherever one can be.
SELECT pg_catalog.set_config('enable_seqscan', 'off', true)

-- name: plan
-- What stands before a statement of ours. It is planned, and never run.
EXPLAIN (FORMAT JSON, VERBOSE)

-- name: not_for_long
-- For the rest of the transaction: a look at some rows takes a second at most.
SELECT pg_catalog.set_config('statement_timeout', '1000', true),
       pg_catalog.set_config('lock_timeout', '1000', true)

-- name: unmapped
-- How many of some rows that count are in an unmapped status, and the most frequent ones. The
-- first rows that come, whether they count or not, so that no more are ever read.
WITH looked_at AS MATERIALIZED (
    SELECT {status}::text AS status, (true{existing}) IS TRUE AS counts
    FROM {table}
    LIMIT %(rows_max)s
), unmapped AS (
    SELECT status, count(*) AS number
    FROM looked_at
    WHERE counts AND (status = ANY (%(known)s::text[])) IS NOT TRUE
    GROUP BY status
)
SELECT (SELECT count(*) FROM looked_at WHERE counts), sum(number) OVER ()::bigint, status, number
FROM unmapped
ORDER BY number DESC, status
LIMIT %(unmapped_max)s

-- name: strayed
-- How many of some contacts that count are of another organization than their job. Each job is
-- looked up by its key, so that no more jobs than contacts are read.
WITH looked_at AS MATERIALIZED (
    SELECT {contact_job_id} AS job, {contact_organization_id} AS organization,
           (true{existing_contact}) IS TRUE AS counts
    FROM {contacts}
    LIMIT %(rows_max)s
)
SELECT count(*), count(*) FILTER (
    WHERE looked_at.organization{kind} IS DISTINCT FROM its.organization{kind}
)
FROM looked_at
CROSS JOIN LATERAL (
    SELECT {organization_id} AS organization
    FROM {jobs}
    WHERE {job_key} = looked_at.job{existing_job}
    LIMIT 1
) AS its
WHERE looked_at.counts

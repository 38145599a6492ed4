-- What the catalogs of Postgres say of three tables, as one JSON text. Everybody may read them.
-- In braces stand the oids of the tables. `below` are a table and all that its rows come from:
-- partitions, inheritors, and the tables of a view.
WITH RECURSIVE given (ordinal, oid) AS (
    VALUES ('jobs', {jobs}::oid), ('contacts', {contacts}::oid),
           ('cancellations', {cancellations}::oid)
), below (ordinal, oid) AS (
    SELECT ordinal, oid FROM given
    UNION
    SELECT below.ordinal, next.oid
    FROM below
    CROSS JOIN LATERAL (
        SELECT i.inhrelid AS oid FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = below.oid
        UNION ALL
        SELECT d.refobjid
        FROM pg_catalog.pg_rewrite AS r
        JOIN pg_catalog.pg_class AS v ON v.oid = r.ev_class AND v.relkind IN ('v', 'm')
        JOIN pg_catalog.pg_depend AS d
          ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid
         AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
        WHERE r.ev_class = below.oid AND d.refobjid <> below.oid
    ) AS next
), found AS (
    SELECT given.ordinal, c.oid, c.relname, c.relkind, c.relpersistence, c.relnamespace
    FROM given
    JOIN pg_catalog.pg_class AS c ON c.oid = given.oid
), facts AS (
    SELECT found.ordinal, pg_catalog.json_build_object(
        'name', found.relname,
        'is_view', found.relkind IN ('v', 'm'),
        'is_foreign', EXISTS (
            SELECT 1
            FROM below
            JOIN pg_catalog.pg_class AS c ON c.oid = below.oid
            WHERE below.ordinal = found.ordinal AND c.relkind = 'f'
        ),
        'hides_another', found.relpersistence = 't' AND EXISTS (
            SELECT 1
            FROM pg_catalog.pg_class AS c
            JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
            WHERE c.relname = found.relname AND c.oid <> found.oid
              AND n.nspname = ANY (pg_catalog.current_schemas(false))
        ),
        'not_null', (
            SELECT pg_catalog.json_agg(a.attname)
            FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid = found.oid AND a.attnotnull AND a.attnum > 0
        ),
        -- What the columns' own `=` compares: the type below any domains, where integers are one
        -- and so are texts, and the collation where equal texts may differ.
        'kinds', (
            SELECT pg_catalog.json_object_agg(a.attname, CASE
                WHEN NOT coalesce(l.collisdeterministic, true)
                    THEN base.name || ' collate ' || pg_catalog.quote_ident(l.collname)
                WHEN base.name IN ('text', 'character varying') THEN 'text'
                WHEN base.name IN ('smallint', 'integer', 'bigint') THEN 'integer'
                ELSE base.name
            END)
            FROM pg_catalog.pg_attribute AS a
            CROSS JOIN LATERAL (
                WITH RECURSIVE under (oid, next) AS (
                    SELECT t.oid, t.typbasetype FROM pg_catalog.pg_type AS t WHERE t.oid = a.atttypid
                    UNION ALL
                    SELECT t.oid, t.typbasetype
                    FROM under
                    JOIN pg_catalog.pg_type AS t ON t.oid = under.next
                )
                SELECT pg_catalog.format_type(under.oid, NULL) AS name
                FROM under
                WHERE under.next = 0
            ) AS base
            LEFT JOIN pg_catalog.pg_collation AS l ON l.oid = a.attcollation
            WHERE a.attrelid = found.oid AND a.attnum > 0 AND NOT a.attisdropped
        ),
        -- An index counts if it finds equal what the columns' own `=` finds equal: by the type's
        -- own operator class, and by the column's collation where equal texts may differ.
        'unique', (
            SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
                'columns', (
                    SELECT pg_catalog.json_agg(a.attname)
                    FROM pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, ordinal)
                    JOIN pg_catalog.pg_attribute AS a
                      ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                    WHERE k.ordinal <= i.indnkeyatts
                ),
                'nulls_distinct', NOT coalesce(
                    (pg_catalog.to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false
                )
            ))
            FROM pg_catalog.pg_index AS i
            WHERE i.indrelid = found.oid AND i.indisunique AND i.indisvalid AND i.indisready
              AND i.indpred IS NULL AND i.indexprs IS NULL
              AND (found.relkind = 'p' OR NOT EXISTS (
                  SELECT 1 FROM pg_catalog.pg_inherits AS h WHERE h.inhparent = found.oid
              ))
              AND NOT EXISTS (
                  SELECT 1
                  FROM unnest(
                      i.indkey::int2[], i.indclass::oid[], i.indcollation::oid[]
                  ) WITH ORDINALITY AS k (attnum, class, collated, ordinal)
                  JOIN pg_catalog.pg_attribute AS a
                    ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                  JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
                  JOIN pg_catalog.pg_opclass AS o ON o.oid = k.class
                  LEFT JOIN pg_catalog.pg_collation AS l ON l.oid = a.attcollation
                  WHERE k.ordinal <= i.indnkeyatts
                    AND (
                      (NOT coalesce(l.collisdeterministic, true)
                          AND k.collated <> a.attcollation)
                      OR (
                          o.opcintype <> coalesce(nullif(t.typbasetype, 0), t.oid)
                          AND EXISTS (
                              SELECT 1
                              FROM pg_catalog.pg_opclass AS own
                              WHERE own.opcdefault AND own.opcmethod = o.opcmethod
                                AND own.opcintype = coalesce(nullif(t.typbasetype, 0), t.oid)
                          )
                      )
                  )
              )
        ),
        'partitioned_by', (
            -- Postgres notes that each column of the key, expressions too, keeps its table.
            SELECT pg_catalog.json_agg(DISTINCT a.attname)
            FROM below
            JOIN pg_catalog.pg_partitioned_table AS p ON p.partrelid = below.oid
            JOIN pg_catalog.pg_depend AS d
              ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
             AND d.refclassid = d.classid AND d.objid = p.partrelid AND d.refobjid = d.objid
             AND d.objsubid > 0 AND d.refobjsubid = 0 AND d.deptype = 'i'
            JOIN pg_catalog.pg_attribute AS a
              ON a.attrelid = p.partrelid AND a.attnum = d.objsubid
            WHERE below.ordinal = found.ordinal
        ),
        'has_triggers', EXISTS (
            SELECT 1
            FROM below
            JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = below.oid
            WHERE below.ordinal = found.ordinal AND NOT t.tgisinternal AND t.tgenabled <> 'D'
        ) OR EXISTS (
            SELECT 1
            FROM below
            JOIN pg_catalog.pg_rewrite AS r ON r.ev_class = below.oid
            WHERE below.ordinal = found.ordinal AND r.ev_type <> '1'
        ) OR EXISTS (
            SELECT 1
            FROM below
            JOIN pg_catalog.pg_class AS c ON c.oid = below.oid
            WHERE below.ordinal = found.ordinal AND c.relrowsecurity
        ),
        -- What writes a row otherwise than RETURNING shows it: whatever runs after the row is
        -- written, and whatever writes in its place.
        'is_rewritten', EXISTS (
            SELECT 1
            FROM below
            JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = below.oid
            WHERE below.ordinal = found.ordinal AND NOT t.tgisinternal AND t.tgenabled <> 'D'
              AND (t.tgtype & 3) <> 3
        ) OR EXISTS (
            SELECT 1
            FROM below
            JOIN pg_catalog.pg_rewrite AS r ON r.ev_class = below.oid
            WHERE below.ordinal = found.ordinal AND r.ev_type <> '1'
        ),
        -- Who else writes when a row is added or changed. Ours are known, and so are those of a
        -- partitioned table in its partitions.
        'writers', (
            SELECT pg_catalog.json_agg(it.writer ORDER BY it.writer::text)
            FROM (
                SELECT pg_catalog.json_build_array(
                    'trigger', pg_catalog.quote_ident(t.tgname), below.oid::pg_catalog.regclass::text,
                    CASE WHEN t.tgtype & 64 > 0 THEN 'INSTEAD OF'
                         WHEN t.tgtype & 2 > 0 THEN 'BEFORE' ELSE 'AFTER' END,
                    t.tgtype & 1 > 0, t.tgtype & 4 > 0, t.tgtype & 16 > 0
                ) AS writer
                FROM below
                JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = below.oid
                WHERE below.ordinal = found.ordinal AND NOT t.tgisinternal AND t.tgparentid = 0
                  AND t.tgenabled IN ('O', 'A') AND t.tgtype & 20 > 0
                  AND NOT pg_catalog.starts_with(t.tgname, 'batch_cancel_keep_')
                UNION ALL
                SELECT pg_catalog.json_build_array(
                    'rule', pg_catalog.quote_ident(r.rulename), below.oid::pg_catalog.regclass::text,
                    CASE WHEN r.is_instead THEN 'DO INSTEAD' ELSE 'DO ALSO' END,
                    true, r.ev_type = '3', r.ev_type = '2'
                )
                FROM below
                JOIN pg_catalog.pg_rewrite AS r ON r.ev_class = below.oid
                WHERE below.ordinal = found.ordinal AND r.ev_type IN ('2', '3')
                  AND r.ev_enabled IN ('O', 'A')
            ) AS it
        ),
        'deferrable', (
            SELECT pg_catalog.json_agg(
                pg_catalog.json_build_array(n.nspname, t.tgname, t.tginitdeferred)
            )
            FROM below
            JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = below.oid
            JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
            JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
            WHERE below.ordinal = found.ordinal AND NOT t.tgisinternal AND t.tgenabled <> 'D'
              AND t.tgdeferrable
        )
    ) AS known
    FROM found
)
SELECT pg_catalog.json_build_object(
    'encoding', pg_catalog.current_setting('server_encoding'),
    'extensions', (
        SELECT pg_catalog.json_agg(e.extname)
        FROM pg_catalog.pg_extension AS e
        WHERE e.extname IN ('bdr', 'pglogical', 'spock')
    ),
    -- pglogical is one of several primaries if it both applies another's writes and sends its own.
    'applies_and_sends', EXISTS (
        SELECT 1 FROM pg_catalog.pg_replication_origin AS o
        WHERE pg_catalog.starts_with(o.roname, 'pgl_')
    ) AND EXISTS (
        SELECT 1 FROM pg_catalog.pg_replication_slots AS s WHERE s.plugin = 'pglogical_output'
    ),
    -- What this transaction itself changes in the tables, it may still roll back. All such changes
    -- take one of these locks.
    'is_changing', EXISTS (
        SELECT 1
        FROM pg_catalog.pg_locks AS l
        WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation'
          AND l.relation IN (SELECT below.oid FROM below)
          AND l.mode IN (
              'ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
              'AccessExclusiveLock'
          )
    ),
    'tables', (SELECT pg_catalog.json_object_agg(facts.ordinal, facts.known) FROM facts)
)::text

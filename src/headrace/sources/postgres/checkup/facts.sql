-- What `read.py` asks a server. Rows come as JSON where columns differ between versions: a column that a version does
-- not have is a key that is not there.

-- name: server
SELECT current_setting('server_version_num')::int AS version,
       current_setting('server_version') AS release,
       current_database()::text AS database,
       current_user::text AS user,
       pg_is_in_recovery() AS standby,
       r.rolsuper AS superuser,
       r.rolreplication AS replication,
       has_database_privilege(current_database(), 'CREATE') AS may_create,
       (SELECT count(*) FROM pg_replication_slots) AS slots_used,
       (SELECT count(*) FROM pg_stat_replication) AS senders_used
FROM pg_roles r
WHERE r.rolname = current_user

-- name: settings
SELECT name::text, current_setting(name) FROM pg_settings WHERE name = ANY(%(names)s)

-- name: provider_roles
SELECT rolname::text, pg_has_role(current_user, oid, 'MEMBER') FROM pg_roles WHERE rolname = ANY(%(names)s)

-- name: wal
SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END
        - '0/0'::pg_lsn)::bigint

-- name: clock
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint

-- name: slot
SELECT to_jsonb(s) FROM pg_replication_slots s WHERE slot_name = %(slot)s

-- name: slots
SELECT to_jsonb(s) FROM pg_replication_slots s
WHERE slot_type = 'logical' AND database = current_database() AND plugin = 'pgoutput'
ORDER BY slot_name

-- name: publication
SELECT to_jsonb(p) || jsonb_build_object(
           'owner', pg_get_userbyid(p.pubowner), 'owned', pg_has_role(current_user, p.pubowner, 'USAGE'))
FROM pg_publication p
WHERE pubname = %(publication)s

-- name: published
SELECT to_jsonb(t) FROM pg_publication_tables t WHERE pubname = %(publication)s

-- name: table_oid
-- A name is meant as it is written, or else in lower case. Schemas of the search path that our user may not use count
-- too: it must be told so.
SELECT c.oid
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN (
    SELECT current_schemas(false)::text[] || array(
        SELECT CASE WHEN s = '"$user"' THEN current_user::text ELSE btrim(s, '"') END
        FROM regexp_split_to_table(current_setting('search_path'), '\s*,\s*') WITH ORDINALITY AS p (s, i) ORDER BY i
    ) AS schemas
) path
WHERE c.relname::text IN (%(relation)s::text, lower(%(relation)s::text))
  AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND CASE WHEN %(schema)s::text IS NULL THEN n.nspname = ANY (path.schemas) ELSE n.nspname = %(schema)s::text END
ORDER BY c.relname = %(relation)s::text DESC, array_position(path.schemas, n.nspname::text)
LIMIT 1

-- name: table
SELECT n.nspname::text AS schema,
       c.relname::text AS name,
       c.relkind::text AS kind,
       c.relpersistence::text AS persistence,
       c.relreplident::text AS identity,
       pg_get_userbyid(c.relowner)::text AS owner,
       pg_has_role(current_user, c.relowner, 'USAGE') AS owned,
       has_table_privilege(c.oid, 'SELECT') AS may_select,
       has_schema_privilege(n.oid, 'USAGE') AS may_use_schema,
       row_security_active(c.oid) AS filtered,
       c.relispartition AS is_partition
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = %(oid)s

-- name: columns
-- The type below a domain is what its values look like; domains may stand on domains.
SELECT a.attname::text AS name,
       format_type(a.atttypid, a.atttypmod) AS type,
       t.typname::text AS base,
       t.typtype::text AS kind,
       t.typcategory::text AS category,
       a.attnotnull AS not_null,
       a.attgenerated::text AS generated,
       t.oid < 16384 AS built_in
FROM pg_attribute a
CROSS JOIN LATERAL (
    WITH RECURSIVE below AS (
        SELECT oid, typname, typtype, typcategory, typbasetype FROM pg_type WHERE oid = a.atttypid
        UNION ALL
        SELECT u.oid, u.typname, u.typtype, u.typcategory, u.typbasetype
        FROM below b JOIN pg_type u ON u.oid = b.typbasetype
        WHERE b.typtype = 'd'
    )
    SELECT oid, typname, typtype, typcategory FROM below WHERE typtype <> 'd'
) t
WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum

-- name: indexes
SELECT c.relname::text AS name,
       k.columns,
       i.indisprimary AS primary,
       i.indisreplident AS chosen,
       i.indimmediate AND i.indisvalid AND i.indpred IS NULL AND k.all_not_null AS identifies
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
CROSS JOIN LATERAL (
    SELECT array_agg(a.attname::text ORDER BY n.position) AS columns, bool_and(a.attnotnull) AS all_not_null
    FROM unnest(i.indkey) WITH ORDINALITY AS n (attnum, position)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = n.attnum
    WHERE n.position <= i.indnkeyatts
) k
WHERE i.indrelid = %(oid)s AND i.indisunique AND i.indexprs IS NULL AND k.columns IS NOT NULL
ORDER BY i.indisprimary DESC, cardinality(k.columns), c.relname

-- name: partitions
SELECT c.oid::regclass::text AS name,
       c.relreplident::text AS identity,
       has_table_privilege(c.oid, 'SELECT') AS may_select,
       CASE c.relreplident
           WHEN 'f' THEN array(
               SELECT a.attname::text FROM pg_attribute a
               WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
           ELSE array(
               SELECT a.attname::text
               FROM pg_index i
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
               WHERE i.indrelid = c.oid
                 AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END)
       END AS identity_columns
FROM pg_partition_tree(%(oid)s::oid::regclass) p
JOIN pg_class c ON c.oid = p.relid
WHERE p.isleaf
ORDER BY 1

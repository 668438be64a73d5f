#!/usr/bin/env bash
# Measures the cost of each index of the ledger's table for an append, on a throw-away PostgreSQL with its durability
# on.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1:-} == --help ]]; then
    cat <<'HELP'
Usage: scripts/bench-ledger-indexes.sh
Appends the same entries to copies of audit_logs, in turn: one with every index, one with the primary key alone, and
one for each index without it. Prints time and write-ahead log per entry, and the share of each index. Takes about a
minute. SQL writes the rows in batches of 1000, like the group-commit writer; hashing and the network are not measured.
EPR_BENCH_ENTRIES (200000) is the number of entries for each copy. EPR_BENCH_MIX is what they are: decisions (the
default; three quarters decisions of checks, the others entries of other services) or grants (of assignments).
HELP
    exit 0
fi
source scripts/need.sh
source scripts/postgres.sh
need_postgres
trap stop_postgres EXIT
start_postgres
sql() { psql "$EPR_TEST_POSTGRES_URL/postgres" --quiet --no-psqlrc --set ON_ERROR_STOP=1 "$@"; }

sql -c "ALTER SYSTEM SET max_wal_size = '20GB'" -c "SELECT pg_reload_conf()" >/dev/null
for migration in migrations/postgres/*.sql; do
    [[ $(head -1 "$migration") == '-- no-transaction' ]] && transaction=() || transaction=(--single-transaction)
    sql "${transaction[@]}" --command "SET client_min_messages = warning" --file "$migration" >/dev/null
done
sql --set rounds=$((${EPR_BENCH_ENTRIES:-200000} / 1000)) --set mix="${EPR_BENCH_MIX:-decisions}" <<'SQL'
-- The indexes, and the copies: name, the index that the copy lacks.
CREATE TABLE copies (name text PRIMARY KEY, lacks text, seconds double precision NOT NULL DEFAULT 0,
    wal numeric NOT NULL DEFAULT 0);
INSERT INTO copies (name, lacks)
SELECT 'without_' || indexname, indexname FROM pg_indexes
WHERE tablename = 'audit_logs' AND indexname <> 'audit_logs_pkey'
UNION ALL VALUES ('with_all', NULL), ('with_none', '*');
DO $$
DECLARE copy record; one record;
BEGIN
    FOR copy IN SELECT * FROM copies LOOP
        EXECUTE format('CREATE TABLE %I (LIKE audit_logs INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', copy.name);
        EXECUTE format('ALTER TABLE %I ADD PRIMARY KEY (sequence)', copy.name);
        FOR one IN
            SELECT * FROM pg_indexes WHERE tablename = 'audit_logs' AND indexname <> 'audit_logs_pkey'
        LOOP
            IF copy.lacks IS NULL OR copy.lacks NOT IN (one.indexname, '*') THEN
                EXECUTE replace(replace(one.indexdef, 'public.audit_logs', quote_ident(copy.name)),
                    ' INDEX ' || one.indexname, ' INDEX ');
            END IF;
        END LOOP;
    END LOOP;
END $$;
-- Of decisions, a quarter are entries of other services, which have an event id.
CREATE PROCEDURE append(rounds integer, mix text) LANGUAGE plpgsql AS $$
DECLARE copy record; begun timestamptz; lsn pg_lsn;
BEGIN
    FOR round IN 0 .. rounds - 1 LOOP
        CREATE TEMP TABLE batch AS
        SELECT round * 1000 + n AS sequence, repeat('a', 64) AS previous_hash,
            md5(n::text) || md5(round::text) AS entry_hash, 1 AS hash_version,
            CASE WHEN foreign_entry THEN gen_random_uuid() END AS event_id,
            CASE WHEN foreign_entry THEN 'document_vault' ELSE 'entity_permissions_core' END AS source,
            CASE WHEN foreign_entry THEN 'document.downloaded' WHEN mix = 'grants' THEN 'role_assignment.create'
                ELSE 'authorization.evaluate' END AS action,
            CAST(md5((random() * 100000)::integer::text) AS uuid) AS actor_id, 'user' AS actor_type,
            CAST(md5('e' || (random() * 100000)::integer) AS uuid) AS entity_id, 'spv' AS entity_type,
            gen_random_uuid()::text AS correlation_id,
            CASE mix WHEN 'grants' THEN json_build_object('assignment_id', gen_random_uuid(),
                'principal_id', CAST(md5((random() * 100000)::integer::text) AS uuid), 'principal_type', 'user',
                'role_id', gen_random_uuid())
            ELSE json_build_object('action', 'document:download', 'authorized', true,
                'assignment_id', gen_random_uuid(), 'role_id', gen_random_uuid()) END AS details,
            timestamptz '2026-01-01' + (round * 1000 + n) * interval '10 milliseconds' AS occurred_at
        FROM generate_series(1, 1000) n CROSS JOIN LATERAL (SELECT mix <> 'grants' AND n % 4 = 0 AS foreign_entry) f;
        COMMIT;
        FOR copy IN SELECT * FROM copies ORDER BY random() LOOP
            begun := clock_timestamp();
            lsn := pg_current_wal_insert_lsn();
            EXECUTE format('INSERT INTO %I SELECT * FROM batch', copy.name);
            COMMIT;
            UPDATE copies SET seconds = seconds + extract(epoch FROM clock_timestamp() - begun),
                wal = wal + (pg_current_wal_insert_lsn() - lsn) WHERE name = copy.name;
            COMMIT;
        END LOOP;
        DROP TABLE batch;
        COMMIT;
    END LOOP;
END $$;
CHECKPOINT;
CALL append(:rounds, :'mix');
\echo 'index (which the copy lacks)      us/entry   wal/entry   time it takes   log it takes   size'
\pset tuples_only on
\pset format unaligned
\pset fieldsep ' '
SELECT rpad(CASE c.lacks WHEN '*' THEN 'all but the primary key' ELSE coalesce(c.lacks, '(none)') END, 32),
    lpad(round((c.seconds * 1000 / :rounds)::numeric, 1)::text, 9), lpad(round(c.wal / 1000 / :rounds)::text, 11),
    lpad(round((100 * (1 - c.seconds / every.seconds))::numeric) || ' %', 15),
    lpad(round(100 * (1 - c.wal / every.wal)) || ' %', 14),
    lpad(pg_size_pretty(pg_indexes_size('with_all') - pg_indexes_size(CAST(c.name AS regclass))), 9)
FROM copies c, copies every WHERE every.name = 'with_all' ORDER BY c.lacks NULLS FIRST;
SQL

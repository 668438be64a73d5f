-- The ledger refuses rows that its head was not moved to, and knows which entry last changed what decisions depend on.

-- The newest entry that changed what decisions depend on. A decision read at one value of it is recorded only while it has
-- that value. A table of its own and not a column of audit_chain_head: every check reads it, and a row that every append
-- updates leaves many dead versions behind while some snapshot is open.
CREATE TABLE registry_head (
    id smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    sequence bigint NOT NULL,
    entry_hash text NOT NULL
);

-- Once for each INSERT, after it and in its transaction. Rows are accepted only when they end where the head is: a writer that
-- does not move the head (an older implementation that is still running, a person with a SQL shell) cannot leave a row
-- beyond it, which would refuse every later append. An ordinary trigger, not ALWAYS: a restore and a replication apply
-- bring rows and head separately. With the rights of the owner: whoever may append need not be allowed to do more.
CREATE FUNCTION audit_logs_appended() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    lowest bigint;
    highest bigint;
    number bigint;
    decisive bigint;
BEGIN
    SELECT min(a.sequence), max(a.sequence), count(*), max(a.sequence) FILTER (
        WHERE a.source = 'entity_permissions_core'
            AND a.action IN ('entity.update', 'role.update', 'role_assignment.create', 'role_assignment.delete')
    ) INTO lowest, highest, number, decisive FROM appended a;
    IF number = 0 THEN
        RETURN NULL;
    END IF;
    IF highest - lowest + 1 <> number OR NOT EXISTS (
        SELECT 1 FROM audit_chain_head h JOIN appended a ON a.sequence = h.sequence AND a.entry_hash = h.entry_hash
        WHERE h.id = 1 AND h.sequence = highest
    ) THEN
        RAISE EXCEPTION 'audit_logs: the head of the chain was not moved to entry % in the same transaction', highest
            USING ERRCODE = 'restrict_violation',
            HINT = 'Only EPR appends to this table. A writer of an older implementation has to be stopped.';
    END IF;
    IF decisive IS NOT NULL THEN
        UPDATE registry_head r SET sequence = a.sequence, entry_hash = a.entry_hash
        FROM appended a WHERE r.id = 1 AND a.sequence = decisive AND r.sequence < a.sequence;
    END IF;
    RETURN NULL;
END $$;

-- Functions with their owner's rights must not find another one's tables, temporary ones included.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION audit_logs_appended() SET search_path = %I, pg_temp', current_schema());
END $$;

-- Waits for appends that are under way, and makes later ones wait until this migration is committed: the row below misses none.
CREATE TRIGGER audit_logs_appended AFTER INSERT ON audit_logs
    REFERENCING NEW TABLE AS appended FOR EACH STATEMENT EXECUTE FUNCTION audit_logs_appended();

INSERT INTO registry_head (sequence, entry_hash)
SELECT coalesce(max(l.sequence), 0),
    coalesce(max(l.entry_hash), '0000000000000000000000000000000000000000000000000000000000000000')
FROM audit_logs l
WHERE l.sequence = (
    SELECT max(newest.sequence)
    FROM unnest(ARRAY['entity.update', 'role.update', 'role_assignment.create', 'role_assignment.delete']) AS decisive(action)
    CROSS JOIN LATERAL (
        SELECT e.sequence FROM audit_logs e
        WHERE e.action = decisive.action AND e.sequence <= (SELECT h.sequence FROM audit_chain_head h WHERE h.id = 1)
        ORDER BY e.sequence DESC LIMIT 1
    ) newest
);

-- Rows that stood beyond the head of the chain and were taken out of the ledger (`epr ledger set-aside`): kept as they were.
CREATE TABLE audit_logs_set_aside (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sequence bigint NOT NULL,
    -- The whole row, as JSON.
    entry text NOT NULL,
    set_aside_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_audit_logs_set_aside ON audit_logs_set_aside (sequence);

-- The only rows that can be deleted are those beyond the head of which a copy was kept.
DROP TRIGGER audit_logs_append_only ON audit_logs;
CREATE TRIGGER audit_logs_append_only BEFORE UPDATE OR TRUNCATE ON audit_logs
    FOR EACH STATEMENT EXECUTE FUNCTION audit_logs_append_only();
CREATE FUNCTION audit_logs_no_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.sequence > (SELECT h.sequence FROM audit_chain_head h WHERE h.id = 1) AND EXISTS (
        SELECT 1 FROM audit_logs_set_aside s WHERE s.sequence = OLD.sequence AND s.entry = CAST(row_to_json(OLD) AS text)
    ) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'audit_logs is append-only: DELETE is refused' USING ERRCODE = 'restrict_violation';
END $$;
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION audit_logs_no_delete() SET search_path = %I, pg_temp', current_schema());
END $$;
CREATE TRIGGER audit_logs_no_delete BEFORE DELETE ON audit_logs FOR EACH ROW EXECUTE FUNCTION audit_logs_no_delete();

-- Dropping archived entries (`epr audit drop`): the border up to which entries may be missing from audit_logs, and what
-- is kept of those that are. Entries that EPR itself writes about the registry and the ledger stay: the registry, its
-- history and the change feed are made from them. Decisions and the entries of other services are dropped.

CREATE TABLE ledger_border (
    id smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    -- The last entry below which entries were dropped, and its hash; 0 before the first drop.
    sequence bigint NOT NULL CHECK (sequence >= 0),
    entry_hash text NOT NULL CHECK (char_length(entry_hash) = 64),
    -- The archive that has the entries: its place as it was named, and the incarnation that is its folder.
    archive text,
    incarnation uuid,
    dropped_at timestamptz,
    CHECK ((sequence = 0) = (archive IS NULL)),
    CHECK ((sequence = 0) = (incarnation IS NULL)),
    CHECK ((sequence = 0) = (dropped_at IS NULL))
);
INSERT INTO ledger_border (sequence, entry_hash)
VALUES (0, '0000000000000000000000000000000000000000000000000000000000000000');

-- What proofs, verification and repeated events need of an entry that was dropped.
CREATE TABLE dropped_entries (
    sequence bigint PRIMARY KEY CHECK (sequence > 0),
    entry_hash bytea NOT NULL CHECK (octet_length(entry_hash) = 32),
    -- The time of the registry's state at the entry, when a caller asks for its revision.
    occurred_at timestamptz NOT NULL,
    -- Of an entry with an event id: whether a repeated event is the same is computed from these and the time.
    event_id uuid,
    previous_hash bytea CHECK (octet_length(previous_hash) = 32),
    CHECK ((event_id IS NULL) = (previous_hash IS NULL))
);
CREATE UNIQUE INDEX uq_dropped_entries_event ON dropped_entries (event_id) WHERE event_id IS NOT NULL;

-- The function of migration 0024, which also refuses an event that was recorded in an entry that was dropped. EPR finds
-- such an event before it appends; this is for every other writer. Each statement of the function sees what has been
-- committed before it: an insertion that waited for a drop finds what the drop has kept.
CREATE OR REPLACE FUNCTION audit_logs_appended() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    lowest bigint;
    highest bigint;
    number bigint;
    keyed bigint;
    decisive bigint;
    changing bigint;
    life uuid;
BEGIN
    SELECT min(a.sequence), max(a.sequence), count(*), count(a.event_id), max(a.sequence) FILTER (
        WHERE a.source = 'entity_permissions_core' AND a.event_id IS NULL
            AND a.action IN (
                'entity.update', 'role.update', 'role_assignment.create', 'role_assignment.delete',
                'principal.create', 'principal.update', 'principal.erase'
            )
    ), max(a.sequence) FILTER (
        WHERE a.source = 'entity_permissions_core' AND a.event_id IS NULL
            AND (a.action ~ '^(entity|role|role_assignment|principal|registry)[.]' OR a.action = 'ledger.reincarnate')
    ) INTO lowest, highest, number, keyed, decisive, changing FROM appended a;
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
    -- In steps: few ledgers have a border, and most appends no event.
    IF keyed > 0 THEN
        IF EXISTS (SELECT 1 FROM ledger_border b WHERE b.id = 1 AND b.sequence > 0) THEN
            IF EXISTS (SELECT 1 FROM appended a JOIN dropped_entries d ON d.event_id = a.event_id) THEN
                RAISE EXCEPTION 'audit_logs: an event was recorded before, in an entry that was dropped'
                    USING ERRCODE = 'restrict_violation';
            END IF;
        END IF;
    END IF;
    IF decisive IS NOT NULL THEN
        UPDATE registry_head r SET sequence = a.sequence, entry_hash = a.entry_hash, registry_sequence = changing
        FROM appended a WHERE r.id = 1 AND a.sequence = decisive AND r.sequence < a.sequence
        RETURNING r.incarnation INTO life;
    ELSIF changing IS NOT NULL THEN
        UPDATE registry_head r SET registry_sequence = changing WHERE r.id = 1 AND r.registry_sequence < changing
        RETURNING r.incarnation INTO life;
    END IF;
    -- The text form of the revision. A transaction's invalidations are notified before it, and a listener receives the
    -- notifications of all transactions in the order of their commits: whoever receives a revision has received every
    -- invalidation up to it.
    IF life IS NOT NULL THEN
        PERFORM pg_notify('epr_revisions', life || '.' || lpad(changing::text, 19, '0'));
    END IF;
    RETURN NULL;
END $$;

-- The rows that can be deleted: those beyond the head of which a copy was kept, and those up to the border whose hashes
-- were kept and which the registry does not need.
CREATE OR REPLACE FUNCTION audit_logs_no_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.sequence > (SELECT h.sequence FROM audit_chain_head h WHERE h.id = 1) AND EXISTS (
        SELECT 1 FROM audit_logs_set_aside s
        WHERE s.sequence = OLD.sequence AND s.entry = CAST(row_to_json(OLD) AS text)
    ) THEN
        RETURN OLD;
    END IF;
    IF OLD.sequence <= (SELECT b.sequence FROM ledger_border b WHERE b.id = 1)
        AND NOT (OLD.source = 'entity_permissions_core' AND substr(OLD.action, 1, 14) <> 'authorization.')
        AND EXISTS (
            SELECT 1 FROM dropped_entries d
            WHERE d.sequence = OLD.sequence AND encode(d.entry_hash, 'hex') = OLD.entry_hash
                AND d.event_id IS NOT DISTINCT FROM OLD.event_id
        )
    THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'audit_logs is append-only: DELETE is refused' USING ERRCODE = 'restrict_violation';
END $$;

-- A row is kept only of an entry that is there, with its hash and its key.
CREATE FUNCTION dropped_entries_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.sequence > (SELECT b.sequence FROM ledger_border b WHERE b.id = 1) AND EXISTS (
        SELECT 1 FROM audit_logs l
        WHERE l.sequence = NEW.sequence AND l.entry_hash = encode(NEW.entry_hash, 'hex')
            AND l.event_id IS NOT DISTINCT FROM NEW.event_id
            AND l.occurred_at = NEW.occurred_at
            AND (NEW.event_id IS NULL OR l.previous_hash = encode(NEW.previous_hash, 'hex'))
            AND NOT (l.source = 'entity_permissions_core' AND substr(l.action, 1, 14) <> 'authorization.')
    ) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'dropped_entries: entry % is not in audit_logs, or differs', NEW.sequence
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER dropped_entries_kept BEFORE INSERT ON dropped_entries
    FOR EACH ROW EXECUTE FUNCTION dropped_entries_kept();
CREATE TRIGGER dropped_entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON dropped_entries
    FOR EACH STATEMENT EXECUTE FUNCTION audit_checkpoints_append_only();

-- The border moves forward only, to an entry that a signed checkpoint covers, when the hash of every entry on the way
-- that will be dropped has been kept.
CREATE FUNCTION ledger_border_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.sequence <= OLD.sequence THEN
        RAISE EXCEPTION 'ledger_border: it moves forward only' USING ERRCODE = 'restrict_violation';
    END IF;
    IF NOT EXISTS (SELECT 1 FROM audit_checkpoints c JOIN registry_head r ON r.incarnation = c.incarnation
        WHERE c.size >= NEW.sequence) THEN
        RAISE EXCEPTION 'ledger_border: no checkpoint covers entry %', NEW.sequence
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF NOT EXISTS (SELECT 1 FROM audit_logs l WHERE l.sequence = NEW.sequence AND l.entry_hash = NEW.entry_hash)
        OR NEW.sequence - OLD.sequence <> (
            SELECT count(*) FROM audit_logs l
            LEFT JOIN dropped_entries d
                ON d.sequence = l.sequence AND d.sequence > OLD.sequence AND d.sequence <= NEW.sequence
            WHERE l.sequence > OLD.sequence AND l.sequence <= NEW.sequence
                AND (d.sequence IS NOT NULL
                    OR (l.source = 'entity_permissions_core' AND substr(l.action, 1, 14) <> 'authorization.'))
        )
    THEN
        RAISE EXCEPTION 'ledger_border: an entry up to % is missing, or its hash was not kept', NEW.sequence
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER ledger_border_moves BEFORE UPDATE ON ledger_border
    FOR EACH ROW EXECUTE FUNCTION ledger_border_moves();
CREATE TRIGGER ledger_border_stays BEFORE INSERT OR DELETE OR TRUNCATE ON ledger_border
    FOR EACH STATEMENT EXECUTE FUNCTION audit_checkpoints_append_only();

-- Functions with the rights of their owner must not find tables of others, temporary ones included. Replacing a
-- function removes its settings.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION audit_logs_appended() SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION audit_logs_no_delete() SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION dropped_entries_kept() SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION ledger_border_moves() SET search_path = %I, pg_temp', current_schema());
END $$;

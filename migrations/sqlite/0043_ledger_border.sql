-- Dropping archived entries (`epr audit drop`): the border up to which entries may be missing from audit_logs, and what
-- is kept of those that are. Entries that EPR itself writes about the registry and the ledger stay: the registry, its
-- history and the change feed are made from them. Decisions and the entries of other services are dropped.

CREATE TABLE ledger_border (
    id INTEGER PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    -- The last entry below which entries were dropped, and its hash; 0 before the first drop.
    sequence INTEGER NOT NULL CHECK (sequence >= 0),
    entry_hash TEXT NOT NULL CHECK (length(entry_hash) = 64),
    -- The archive that has the entries: its place as it was named, and the incarnation that is its folder.
    archive TEXT,
    incarnation TEXT,
    dropped_at TEXT,
    CHECK ((sequence = 0) = (archive IS NULL)),
    CHECK ((sequence = 0) = (incarnation IS NULL)),
    CHECK ((sequence = 0) = (dropped_at IS NULL))
);
INSERT INTO ledger_border (sequence, entry_hash)
VALUES (0, '0000000000000000000000000000000000000000000000000000000000000000');

-- What proofs, verification and repeated events need of an entry that was dropped.
CREATE TABLE dropped_entries (
    sequence INTEGER PRIMARY KEY NOT NULL CHECK (sequence > 0),
    entry_hash BLOB NOT NULL CHECK (length(entry_hash) = 32),
    -- The time of the registry's state at the entry, when a caller asks for its revision.
    occurred_at TEXT NOT NULL,
    -- Of an entry with an event id: whether a repeated event is the same is computed from these and the time.
    event_id TEXT,
    previous_hash BLOB CHECK (length(previous_hash) = 32),
    CHECK ((event_id IS NULL) = (previous_hash IS NULL))
);
CREATE UNIQUE INDEX uq_dropped_entries_event ON dropped_entries (event_id) WHERE event_id IS NOT NULL;

-- Refuses an event that was recorded in an entry that was dropped. EPR finds such an event before it appends; this is
-- for every other writer.
CREATE TRIGGER audit_logs_not_dropped BEFORE INSERT ON audit_logs
WHEN NEW.event_id IS NOT NULL AND EXISTS (SELECT 1 FROM dropped_entries d WHERE d.event_id = NEW.event_id)
BEGIN
    SELECT RAISE(ABORT, 'audit_logs: an event was recorded before, in an entry that was dropped');
END;

-- The rows that can be deleted: those beyond the head of which a copy was kept, and those up to the border whose hashes
-- were kept and which the registry does not need.
DROP TRIGGER audit_logs_no_delete;
CREATE TRIGGER audit_logs_no_delete BEFORE DELETE ON audit_logs
WHEN coalesce(
    OLD.sequence > (SELECT h.sequence FROM audit_chain_head h WHERE h.id = 1)
    AND EXISTS (SELECT 1 FROM audit_logs_set_aside s WHERE s.sequence = OLD.sequence), 0) = 0
AND coalesce(
    OLD.sequence <= (SELECT b.sequence FROM ledger_border b WHERE b.id = 1)
    AND NOT (OLD.source = 'entity_permissions_core' AND substr(OLD.action, 1, 14) <> 'authorization.')
    AND EXISTS (
        SELECT 1 FROM dropped_entries d
        WHERE d.sequence = OLD.sequence AND lower(hex(d.entry_hash)) = OLD.entry_hash AND d.event_id IS OLD.event_id
    ), 0) = 0
BEGIN
    SELECT RAISE(ABORT, 'audit_logs is append-only: DELETE is refused');
END;

-- A row is kept only of an entry that is there, with its hash and its key.
CREATE TRIGGER dropped_entries_kept BEFORE INSERT ON dropped_entries
WHEN NEW.sequence <= (SELECT b.sequence FROM ledger_border b WHERE b.id = 1) OR NOT EXISTS (
    SELECT 1 FROM audit_logs l
    WHERE l.sequence = NEW.sequence AND l.entry_hash = lower(hex(NEW.entry_hash)) AND l.event_id IS NEW.event_id
        AND l.occurred_at = NEW.occurred_at
        AND (NEW.event_id IS NULL OR l.previous_hash = lower(hex(NEW.previous_hash)))
        AND NOT (l.source = 'entity_permissions_core' AND substr(l.action, 1, 14) <> 'authorization.')
)
BEGIN
    SELECT RAISE(ABORT, 'dropped_entries: the entry is not in audit_logs, or differs');
END;
CREATE TRIGGER dropped_entries_no_update BEFORE UPDATE ON dropped_entries
BEGIN
    SELECT RAISE(ABORT, 'dropped_entries is append-only: UPDATE is refused');
END;
CREATE TRIGGER dropped_entries_no_delete BEFORE DELETE ON dropped_entries
BEGIN
    SELECT RAISE(ABORT, 'dropped_entries is append-only: DELETE is refused');
END;

-- The border moves forward only, to an entry that a signed checkpoint covers, when the hash of every entry on the way
-- that will be dropped has been kept.
CREATE TRIGGER ledger_border_moves BEFORE UPDATE ON ledger_border
WHEN NEW.id <> OLD.id OR NEW.sequence <= OLD.sequence
    OR NOT EXISTS (SELECT 1 FROM audit_checkpoints c JOIN registry_head r ON r.incarnation = c.incarnation
        WHERE c.size >= NEW.sequence)
    OR NOT EXISTS (SELECT 1 FROM audit_logs l WHERE l.sequence = NEW.sequence AND l.entry_hash = NEW.entry_hash)
    OR NEW.sequence - OLD.sequence <> (
        SELECT count(*) FROM audit_logs l LEFT JOIN dropped_entries d ON d.sequence = l.sequence
        WHERE l.sequence > OLD.sequence AND l.sequence <= NEW.sequence
            AND (d.sequence IS NOT NULL
                OR (l.source = 'entity_permissions_core' AND substr(l.action, 1, 14) <> 'authorization.'))
    )
BEGIN
    SELECT RAISE(ABORT, 'ledger_border: it moves forward only, to an entry that a checkpoint covers');
END;
CREATE TRIGGER ledger_border_no_insert BEFORE INSERT ON ledger_border
BEGIN
    SELECT RAISE(ABORT, 'ledger_border is append-only: INSERT is refused');
END;
CREATE TRIGGER ledger_border_no_delete BEFORE DELETE ON ledger_border
BEGIN
    SELECT RAISE(ABORT, 'ledger_border is append-only: DELETE is refused');
END;

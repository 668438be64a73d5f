-- The ledger refuses rows that its head was not moved to, and knows which entry last changed what decisions depend on.

-- The newest entry that changed what decisions depend on. A decision read at one value of it is recorded only while it has
-- that value.
CREATE TABLE registry_head (
    id INTEGER PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    sequence INTEGER NOT NULL,
    entry_hash TEXT NOT NULL
);
INSERT INTO registry_head (sequence, entry_hash)
SELECT coalesce(max(l.sequence), 0),
    coalesce(max(l.entry_hash), '0000000000000000000000000000000000000000000000000000000000000000')
FROM audit_logs l
WHERE l.sequence = (
    SELECT max(e.sequence) FROM audit_logs e
    WHERE e.action IN ('entity.update', 'role.update', 'role_assignment.create', 'role_assignment.delete')
        AND e.sequence <= (SELECT h.sequence FROM audit_chain_head h WHERE h.id = 1)
);

-- A writer that does not move the head first (an older implementation that is still running, a person with a SQL shell)
-- cannot leave a row beyond it, which would refuse every later append.
CREATE TRIGGER audit_logs_behind_head BEFORE INSERT ON audit_logs
WHEN NEW.sequence > coalesce((SELECT h.sequence FROM audit_chain_head h WHERE h.id = 1), 0)
BEGIN
    SELECT RAISE(ABORT, 'audit_logs: the head of the chain was not moved to this entry in the same transaction');
END;

CREATE TRIGGER audit_logs_registry_head AFTER INSERT ON audit_logs
WHEN NEW.source = 'entity_permissions_core'
    AND NEW.action IN ('entity.update', 'role.update', 'role_assignment.create', 'role_assignment.delete')
BEGIN
    UPDATE registry_head SET sequence = NEW.sequence, entry_hash = NEW.entry_hash WHERE id = 1 AND sequence < NEW.sequence;
END;

-- Rows that stood beyond the head of the chain and were taken out of the ledger (`epr ledger set-aside`): kept as they were.
CREATE TABLE audit_logs_set_aside (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sequence INTEGER NOT NULL,
    -- The whole row: JSON in which each column is a literal of SQL.
    entry TEXT NOT NULL,
    set_aside_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
CREATE INDEX ix_audit_logs_set_aside ON audit_logs_set_aside (sequence);

-- The only rows that can be deleted are those beyond the head of which a copy was kept.
DROP TRIGGER audit_logs_no_delete;
CREATE TRIGGER audit_logs_no_delete BEFORE DELETE ON audit_logs
WHEN coalesce(
    OLD.sequence > (SELECT h.sequence FROM audit_chain_head h WHERE h.id = 1)
    AND EXISTS (SELECT 1 FROM audit_logs_set_aside s WHERE s.sequence = OLD.sequence), 0) = 0
BEGIN
    SELECT RAISE(ABORT, 'audit_logs is append-only: DELETE is refused');
END;

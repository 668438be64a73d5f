-- The audit ledger: a hash chain that is only ever appended to.

CREATE TABLE audit_logs (
    sequence INTEGER PRIMARY KEY NOT NULL CHECK (sequence > 0),
    previous_hash TEXT NOT NULL CHECK (length(previous_hash) = 64),
    entry_hash TEXT NOT NULL CHECK (length(entry_hash) = 64),
    hash_version INTEGER NOT NULL,
    event_id TEXT,
    source TEXT NOT NULL,
    action TEXT NOT NULL,
    actor_id TEXT,
    actor_type TEXT NOT NULL,
    entity_id TEXT,
    entity_type TEXT,
    correlation_id TEXT,
    -- The exact text that was hashed.
    details TEXT NOT NULL,
    occurred_at TEXT NOT NULL
);
CREATE UNIQUE INDEX uq_audit_logs_event ON audit_logs (event_id) WHERE event_id IS NOT NULL;
CREATE INDEX ix_audit_logs_entity ON audit_logs (entity_id, sequence) WHERE entity_id IS NOT NULL;
CREATE INDEX ix_audit_logs_actor ON audit_logs (actor_id, sequence) WHERE actor_id IS NOT NULL;
CREATE INDEX ix_audit_logs_correlation ON audit_logs (correlation_id, sequence) WHERE correlation_id IS NOT NULL;
CREATE INDEX ix_audit_logs_action ON audit_logs (action, sequence);
CREATE INDEX ix_audit_logs_occurred ON audit_logs (occurred_at);

-- The end of the chain. Its row exists from the start.
CREATE TABLE audit_chain_head (
    id INTEGER PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    sequence INTEGER NOT NULL,
    entry_hash TEXT NOT NULL
);
INSERT INTO audit_chain_head (sequence, entry_hash)
VALUES (0, '0000000000000000000000000000000000000000000000000000000000000000');

-- SQLite has no TRUNCATE; a DELETE without WHERE fires the trigger row by row.
CREATE TRIGGER audit_logs_no_update BEFORE UPDATE ON audit_logs
BEGIN
    SELECT RAISE(ABORT, 'audit_logs is append-only: UPDATE is refused');
END;
CREATE TRIGGER audit_logs_no_delete BEFORE DELETE ON audit_logs
BEGIN
    SELECT RAISE(ABORT, 'audit_logs is append-only: DELETE is refused');
END;
-- An INSERT OR REPLACE would delete without firing a delete trigger.
CREATE TRIGGER audit_logs_no_replace BEFORE INSERT ON audit_logs
WHEN EXISTS (SELECT 1 FROM audit_logs WHERE sequence = NEW.sequence)
    OR EXISTS (SELECT 1 FROM audit_logs WHERE NEW.event_id IS NOT NULL AND event_id = NEW.event_id)
BEGIN
    SELECT RAISE(ABORT, 'audit_logs is append-only: REPLACE is refused');
END;

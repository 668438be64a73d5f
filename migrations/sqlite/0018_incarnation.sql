-- Revisions: the incarnation of this ledger, and the newest entry that changed the registry in any way. Both are
-- columns of the row that every read of facts returns already.

-- What of registry_head existed before is about decisions only: creating an entity changes none. registry_sequence is
-- the newest entry that changed any row of the registry, so that the registry at a revision is one state.
ALTER TABLE registry_head ADD COLUMN incarnation TEXT NOT NULL DEFAULT '';
ALTER TABLE registry_head ADD COLUMN registry_sequence INTEGER NOT NULL DEFAULT 0;
UPDATE registry_head SET incarnation = lower(printf('%s-%s-4%s-8%s-%s', hex(randomblob(4)), hex(randomblob(2)),
    substr(hex(randomblob(2)), 2), substr(hex(randomblob(2)), 2), hex(randomblob(6)))) WHERE id = 1;

-- Every incarnation that this ledger has had; the newest is that of registry_head.
CREATE TABLE ledger_incarnations (
    incarnation TEXT PRIMARY KEY,
    started_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
    -- The first entry whose revision names this incarnation.
    first_sequence INTEGER NOT NULL,
    why TEXT NOT NULL
);
INSERT INTO ledger_incarnations (incarnation, first_sequence, why)
SELECT r.incarnation, 1, 'migration' FROM registry_head r WHERE r.id = 1;

-- The trigger of migration 0013, which keeps registry_sequence too.
DROP TRIGGER audit_logs_registry_head;
CREATE TRIGGER audit_logs_registry_head AFTER INSERT ON audit_logs
WHEN NEW.source = 'entity_permissions_core'
    AND (substr(NEW.action, 1, instr(NEW.action, '.') - 1)
            IN ('entity', 'role', 'role_assignment', 'principal', 'registry')
        OR NEW.action = 'ledger.reincarnate')
BEGIN
    UPDATE registry_head SET registry_sequence = NEW.sequence WHERE id = 1 AND registry_sequence < NEW.sequence;
    UPDATE registry_head SET sequence = NEW.sequence, entry_hash = NEW.entry_hash
    WHERE id = 1 AND sequence < NEW.sequence AND NEW.action IN (
        'entity.update', 'role.update', 'role_assignment.create', 'role_assignment.delete',
        'principal.create', 'principal.update', 'principal.erase'
    );
END;

UPDATE registry_head SET registry_sequence = max(sequence, coalesce((
    SELECT max(e.sequence) FROM audit_logs e
    WHERE e.action IN (
            'entity.create', 'entity.update', 'entity.archive', 'role.create', 'role.update', 'role_assignment.create',
            'role_assignment.delete', 'principal.create', 'principal.update', 'principal.erase'
        )
        AND e.source = 'entity_permissions_core'
        AND e.sequence <= (SELECT h.sequence FROM audit_chain_head h WHERE h.id = 1)
), 0)) WHERE id = 1;

-- Only EPR's own entries change the registry. A message may claim EPR's source and an action of the registry, but it
-- has an event id, which EPR's own entries never have.

-- The trigger of migration 0018 with that condition.
DROP TRIGGER audit_logs_registry_head;
CREATE TRIGGER audit_logs_registry_head AFTER INSERT ON audit_logs
WHEN NEW.source = 'entity_permissions_core' AND NEW.event_id IS NULL
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

-- An erasure blanks the personal fields in every version of the principal, whichever program makes it and whether
-- history is complete or not.
CREATE TRIGGER principals_erased AFTER UPDATE OF erased_at ON principals
WHEN OLD.erased_at IS NULL AND NEW.erased_at IS NOT NULL
BEGIN
    UPDATE principal_versions SET external_id = NULL, display_name = NULL, attributes = '{}'
    WHERE type = NEW.type AND id = NEW.id;
END;

-- The archived versions, which subtrees of the past name as exceptions. As ix_entities_archived_id of the present.
CREATE INDEX ix_entity_versions_archived_id ON entity_versions (id, valid_from) WHERE status = 'archived';

-- Only EPR's own entries change the registry. A message may claim EPR's source and an action of the registry, but it
-- has an event id, which EPR's own entries never have.

-- The function of migration 0018 with that condition.
CREATE OR REPLACE FUNCTION audit_logs_appended() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    lowest bigint;
    highest bigint;
    number bigint;
    decisive bigint;
    changing bigint;
    life uuid;
BEGIN
    SELECT min(a.sequence), max(a.sequence), count(*), max(a.sequence) FILTER (
        WHERE a.source = 'entity_permissions_core' AND a.event_id IS NULL
            AND a.action IN (
                'entity.update', 'role.update', 'role_assignment.create', 'role_assignment.delete',
                'principal.create', 'principal.update', 'principal.erase'
            )
    ), max(a.sequence) FILTER (
        WHERE a.source = 'entity_permissions_core' AND a.event_id IS NULL
            AND (a.action ~ '^(entity|role|role_assignment|principal|registry)[.]' OR a.action = 'ledger.reincarnate')
    ) INTO lowest, highest, number, decisive, changing FROM appended a;
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

-- An erasure blanks the personal fields in every version of the principal, whichever program makes it and whether
-- history is complete or not.
CREATE FUNCTION epr_principal_erased() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    UPDATE principal_versions v SET external_id = NULL, display_name = NULL, attributes = '{}'
    WHERE v.type = NEW.type AND v.id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER principals_erased AFTER UPDATE OF erased_at ON principals
FOR EACH ROW WHEN (OLD.erased_at IS NULL AND NEW.erased_at IS NOT NULL) EXECUTE FUNCTION epr_principal_erased();

-- Functions with the rights of their owner must not find tables of others, temporary ones included. Replacing a
-- function removes its settings.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION audit_logs_appended() SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION epr_principal_erased() SET search_path = %I, pg_temp', current_schema());
END $$;

-- The archived versions, which subtrees of the past name as exceptions. As ix_entities_archived_id of the present.
CREATE INDEX ix_entity_versions_archived_id ON entity_versions (id, valid_from) WHERE status = 'archived';

-- Revisions: the incarnation of this ledger, and the newest entry that changed the registry in any way. Both are
-- columns of the row that every read of facts returns already.

-- Appends take this table's lock first, and registry_head later: those under way end before this migration changes
-- anything, and later ones wait until it is committed.
LOCK TABLE audit_chain_head IN EXCLUSIVE MODE;

-- What of registry_head existed before is about decisions only: creating an entity changes none. registry_sequence is
-- the newest entry that changed any row of the registry, so that the registry at a revision is one state.
ALTER TABLE registry_head ADD COLUMN incarnation uuid NOT NULL DEFAULT gen_random_uuid();
ALTER TABLE registry_head ADD COLUMN registry_sequence bigint NOT NULL DEFAULT 0;

-- Every incarnation that this ledger has had; the newest is that of registry_head.
CREATE TABLE ledger_incarnations (
    incarnation uuid PRIMARY KEY,
    started_at timestamptz NOT NULL DEFAULT now(),
    -- The first entry whose revision names this incarnation.
    first_sequence bigint NOT NULL,
    why text NOT NULL
);
INSERT INTO ledger_incarnations (incarnation, first_sequence, why)
SELECT r.incarnation, 1, 'migration' FROM registry_head r WHERE r.id = 1;

-- The function of migration 0013, which keeps registry_sequence too.
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
        WHERE a.source = 'entity_permissions_core'
            AND a.action IN (
                'entity.update', 'role.update', 'role_assignment.create', 'role_assignment.delete',
                'principal.create', 'principal.update', 'principal.erase'
            )
    ), max(a.sequence) FILTER (
        WHERE a.source = 'entity_permissions_core'
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

-- Functions with the rights of their owner must not find tables of others, temporary ones included. Replacing a
-- function removes its settings.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION audit_logs_appended() SET search_path = %I, pg_temp', current_schema());
END $$;

UPDATE registry_head r SET registry_sequence = greatest(r.sequence, coalesce((
    SELECT max(newest.sequence)
    FROM unnest(ARRAY[
        'entity.create', 'entity.update', 'entity.archive', 'role.create', 'role.update', 'role_assignment.create',
        'role_assignment.delete', 'principal.create', 'principal.update', 'principal.erase'
    ]) AS changing(action)
    CROSS JOIN LATERAL (
        SELECT e.sequence FROM audit_logs e
        WHERE e.action = changing.action AND e.sequence <= (SELECT h.sequence FROM audit_chain_head h WHERE h.id = 1)
            AND e.source = 'entity_permissions_core'
        ORDER BY e.sequence DESC LIMIT 1
    ) newest
), 0)) WHERE r.id = 1;

-- Registered principals, and the keys under which their personal fields are in the ledger. Registration is optional: an
-- assignment may name an id that is not in this table.

CREATE TABLE principals (
    type text NOT NULL DEFAULT 'user' CHECK (char_length(type) BETWEEN 1 AND 64),
    id uuid NOT NULL,
    -- Compared byte for byte, whatever the collation of the database is.
    external_id text COLLATE "C" CHECK (octet_length(external_id) BETWEEN 1 AND 1024),
    display_name text CHECK (char_length(display_name) <= 255),
    -- json, not jsonb: the attributes are returned as they were sent.
    attributes json NOT NULL DEFAULT '{}',
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    -- When the personal fields were erased; null while they were not.
    erased_at timestamptz,
    PRIMARY KEY (type, id),
    -- Nulls are distinct: any number of principals have no external id.
    CONSTRAINT uq_principals_external_id UNIQUE (external_id, type)
);
-- Lists are ordered by both columns, newest first. They are unique together, although principals of two types may have
-- one id: a page must not end between two rows that its cursor cannot tell apart.
CREATE UNIQUE INDEX uq_principals_newest ON principals (created_at, id);
CREATE INDEX ix_principals_type ON principals (type, created_at DESC, id DESC);

-- The key of each principal whose personal fields are in the ledger. Deleting the row is what erases them there.
CREATE TABLE principal_keys (
    type text NOT NULL,
    id uuid NOT NULL,
    key bytea NOT NULL CHECK (octet_length(key) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (type, id),
    FOREIGN KEY (type, id) REFERENCES principals (type, id)
);

-- A suspended principal is denied everything, and conditions read its attributes.
CREATE FUNCTION epr_principal_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM epr_decisions_changed(OLD.id);
    END IF;
    IF TG_OP = 'INSERT' OR TG_OP = 'UPDATE' AND NEW.id <> OLD.id THEN
        PERFORM epr_decisions_changed(NEW.id);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER principals_decisions AFTER INSERT OR UPDATE OR DELETE ON principals
    FOR EACH ROW EXECUTE FUNCTION epr_principal_changed();
CREATE TRIGGER principals_emptied_decisions AFTER TRUNCATE ON principals
    FOR EACH STATEMENT EXECUTE FUNCTION epr_policy_changed();
-- As in migration 0009: logical replication and restore tools must not bypass them.
ALTER TABLE principals ENABLE ALWAYS TRIGGER principals_decisions;
ALTER TABLE principals ENABLE ALWAYS TRIGGER principals_emptied_decisions;

-- The function of migration 0007, with the actions of principals among those that change what decisions depend on.
CREATE OR REPLACE FUNCTION audit_logs_appended() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    lowest bigint;
    highest bigint;
    number bigint;
    decisive bigint;
BEGIN
    SELECT min(a.sequence), max(a.sequence), count(*), max(a.sequence) FILTER (
        WHERE a.source = 'entity_permissions_core'
            AND a.action IN (
                'entity.update', 'role.update', 'role_assignment.create', 'role_assignment.delete',
                'principal.create', 'principal.update', 'principal.erase'
            )
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

-- Functions with the rights of their owner must not find tables of others, temporary ones included. Replacing a
-- function removes its settings.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION epr_principal_changed() SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION audit_logs_appended() SET search_path = %I, pg_temp', current_schema());
END $$;

-- Which rows of the registry have changed: for the copies in memory that processes answer checks from. Written by
-- triggers in the changing transaction, so that it holds whoever changes the registry: this program, an older one that
-- is still running, or someone with a SQL shell. A process reads the rows of those transactions that its copy does not
-- include. They are removed after an hour.

CREATE TABLE changed_rows (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
    -- 'all' stands for every row of the registry.
    kind text NOT NULL CHECK (kind IN ('entity', 'role', 'assignment', 'principal', 'all')),
    row_id uuid NOT NULL,
    -- The principal of an assignment, and of a principal its type.
    principal_type text,
    principal_id uuid,
    written_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_changed_rows_transaction ON changed_rows (transaction);

-- The newest transaction whose rows may have been removed: a copy that does not include it reads the whole registry.
CREATE TABLE changed_rows_head (
    id smallint PRIMARY KEY CHECK (id = 1),
    removed_to xid8 NOT NULL
);
INSERT INTO changed_rows_head (id, removed_to) VALUES (1, '0');

CREATE FUNCTION epr_entity_row_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO changed_rows (kind, row_id) VALUES ('entity', OLD.id);
    END IF;
    IF TG_OP = 'INSERT' OR TG_OP = 'UPDATE' AND NEW.id <> OLD.id THEN
        INSERT INTO changed_rows (kind, row_id) VALUES ('entity', NEW.id);
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION epr_role_row_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO changed_rows (kind, row_id) VALUES ('role', OLD.id);
    END IF;
    IF TG_OP = 'INSERT' OR TG_OP = 'UPDATE' AND NEW.id <> OLD.id THEN
        INSERT INTO changed_rows (kind, row_id) VALUES ('role', NEW.id);
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION epr_role_permission_row_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO changed_rows (kind, row_id) VALUES ('role', OLD.role_id);
    END IF;
    IF TG_OP = 'INSERT' OR TG_OP = 'UPDATE' AND NEW.role_id <> OLD.role_id THEN
        INSERT INTO changed_rows (kind, row_id) VALUES ('role', NEW.role_id);
    END IF;
    RETURN NULL;
END $$;

-- The program never renames an action; a person may.
CREATE FUNCTION epr_permission_row_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO changed_rows (kind, row_id)
    SELECT 'role', rp.role_id FROM role_permissions rp WHERE rp.permission_id IN (OLD.id, NEW.id);
    RETURN NULL;
END $$;

CREATE FUNCTION epr_assignment_row_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO changed_rows (kind, row_id, principal_type, principal_id)
        VALUES ('assignment', OLD.id, OLD.principal_type, OLD.principal_id);
    END IF;
    IF TG_OP = 'INSERT' OR TG_OP = 'UPDATE'
        AND (NEW.id, NEW.principal_type, NEW.principal_id) <> (OLD.id, OLD.principal_type, OLD.principal_id) THEN
        INSERT INTO changed_rows (kind, row_id, principal_type, principal_id)
        VALUES ('assignment', NEW.id, NEW.principal_type, NEW.principal_id);
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION epr_principal_row_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO changed_rows (kind, row_id, principal_type) VALUES ('principal', OLD.id, OLD.type);
    END IF;
    IF TG_OP = 'INSERT' OR TG_OP = 'UPDATE' AND (NEW.type, NEW.id) <> (OLD.type, OLD.id) THEN
        INSERT INTO changed_rows (kind, row_id, principal_type) VALUES ('principal', NEW.id, NEW.type);
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION epr_table_emptied() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO changed_rows (kind, row_id) VALUES ('all', '00000000-0000-0000-0000-000000000000');
    RETURN NULL;
END $$;

CREATE TRIGGER entities_changed_rows AFTER INSERT OR UPDATE OR DELETE ON entities
    FOR EACH ROW EXECUTE FUNCTION epr_entity_row_changed();
CREATE TRIGGER roles_changed_rows AFTER INSERT OR UPDATE OR DELETE ON roles
    FOR EACH ROW EXECUTE FUNCTION epr_role_row_changed();
CREATE TRIGGER role_permissions_changed_rows AFTER INSERT OR UPDATE OR DELETE ON role_permissions
    FOR EACH ROW EXECUTE FUNCTION epr_role_permission_row_changed();
CREATE TRIGGER permissions_changed_rows AFTER UPDATE ON permissions
    FOR EACH ROW EXECUTE FUNCTION epr_permission_row_changed();
CREATE TRIGGER role_assignments_changed_rows AFTER INSERT OR UPDATE OR DELETE ON role_assignments
    FOR EACH ROW EXECUTE FUNCTION epr_assignment_row_changed();
CREATE TRIGGER principals_changed_rows AFTER INSERT OR UPDATE OR DELETE ON principals
    FOR EACH ROW EXECUTE FUNCTION epr_principal_row_changed();

-- Functions with their owner's rights must not find another one's tables, temporary ones included. As in migration
-- 0009, logical replication and restore tools must not bypass the triggers.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['entities', 'roles', 'role_permissions', 'role_assignments', 'principals'] LOOP
        EXECUTE format('CREATE TRIGGER %I AFTER TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION epr_table_emptied()',
            name || '_emptied_changed_rows', name);
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER %I', name, name || '_emptied_changed_rows');
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER %I', name, name || '_changed_rows');
    END LOOP;
    ALTER TABLE permissions ENABLE ALWAYS TRIGGER permissions_changed_rows;
    FOREACH name IN ARRAY ARRAY['epr_entity_row_changed', 'epr_role_row_changed', 'epr_role_permission_row_changed',
        'epr_permission_row_changed', 'epr_assignment_row_changed', 'epr_principal_row_changed',
        'epr_table_emptied'] LOOP
        EXECUTE format('ALTER FUNCTION %I() SET search_path = %I, pg_temp', name, current_schema());
    END LOOP;
END $$;

-- Which decisions caches must forget. Written by triggers, so that it holds whoever changes what decisions rest on: this
-- program, an older one that is still running, or someone with a SQL shell.

CREATE TABLE cache_renewals (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Whose decisions; everybody's when null.
    principal_id uuid,
    transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
    written_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_cache_renewals_transaction ON cache_renewals (transaction);

-- Which database this is: two that share a Redis must not read each other's answers.
CREATE TABLE cache_namespace (id uuid PRIMARY KEY DEFAULT gen_random_uuid());
INSERT INTO cache_namespace DEFAULT VALUES;

-- Once in a transaction for each principal, and once for everybody. With the rights of the owner: whoever may write the
-- tables need not know about this one.
CREATE FUNCTION epr_decisions_changed(principal uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    renewal bigint;
BEGIN
    INSERT INTO cache_renewals (principal_id)
    SELECT principal
    WHERE NOT EXISTS (
        SELECT 1 FROM cache_renewals r
        WHERE r.transaction = pg_current_xact_id() AND r.principal_id IS NOT DISTINCT FROM principal
    )
    RETURNING id INTO renewal;
    IF renewal IS NOT NULL THEN
        PERFORM pg_notify('epr_decisions', renewal || ' ' || coalesce(principal::text, '*'));
    END IF;
END $$;

CREATE FUNCTION epr_assignment_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM epr_decisions_changed(OLD.principal_id);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM epr_decisions_changed(NEW.principal_id);
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION epr_policy_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    PERFORM epr_decisions_changed(NULL);
    RETURN NULL;
END $$;

-- Functions with their owner's rights must not find another one's tables, temporary ones included.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION epr_decisions_changed(uuid) SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION epr_assignment_changed() SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION epr_policy_changed() SET search_path = %I, pg_temp', current_schema());
END $$;

CREATE TRIGGER role_assignments_decisions AFTER INSERT OR UPDATE OR DELETE ON role_assignments
    FOR EACH ROW EXECUTE FUNCTION epr_assignment_changed();
CREATE TRIGGER role_permissions_decisions AFTER INSERT OR UPDATE OR DELETE ON role_permissions
    FOR EACH STATEMENT EXECUTE FUNCTION epr_policy_changed();
CREATE TRIGGER roles_decisions AFTER UPDATE ON roles
    FOR EACH ROW WHEN (OLD.scope_types::text <> NEW.scope_types::text OR OLD.id <> NEW.id)
    EXECUTE FUNCTION epr_policy_changed();
CREATE TRIGGER permissions_decisions AFTER UPDATE ON permissions
    FOR EACH ROW WHEN (OLD.action <> NEW.action OR OLD.id <> NEW.id) EXECUTE FUNCTION epr_policy_changed();
CREATE TRIGGER entities_decisions AFTER UPDATE ON entities
    FOR EACH ROW WHEN (OLD.parent_id IS DISTINCT FROM NEW.parent_id OR OLD.type <> NEW.type OR OLD.id <> NEW.id)
    EXECUTE FUNCTION epr_policy_changed();
-- The program deletes none of these; a person may.
CREATE TRIGGER entities_deleted_decisions AFTER DELETE ON entities
    FOR EACH STATEMENT EXECUTE FUNCTION epr_policy_changed();
CREATE TRIGGER role_assignments_emptied_decisions AFTER TRUNCATE ON role_assignments
    FOR EACH STATEMENT EXECUTE FUNCTION epr_policy_changed();
CREATE TRIGGER role_permissions_emptied_decisions AFTER TRUNCATE ON role_permissions
    FOR EACH STATEMENT EXECUTE FUNCTION epr_policy_changed();
CREATE TRIGGER entities_emptied_decisions AFTER TRUNCATE ON entities
    FOR EACH STATEMENT EXECUTE FUNCTION epr_policy_changed();

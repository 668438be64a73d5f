-- The renewals of one transaction are bounded, and no trigger of EPR is bypassed by replication.
--
-- 1. A transaction that changes more than 256 principals writes one renewal for everybody. Without a bound the check for an
--    existing renewal made 20,000 assignments in one transaction quadratic.
-- 2. These triggers are ENABLE ALWAYS: an ordinary trigger does not fire while session_replication_role is `replica`, which is how
--    logical replication and some restore tools apply rows. They would change what decisions rest on unseen.
-- 3. The apply process of logical replication fires row triggers only, so statement triggers are replaced by row triggers.

CREATE INDEX ix_cache_renewals_transaction_principal ON cache_renewals (transaction, principal_id);
DROP INDEX ix_cache_renewals_transaction;

-- Once in a transaction for each principal, up to the bound; then once for everybody. Every query is a bounded index probe.
-- Must never skip a renewal because of one that another transaction wrote.
CREATE OR REPLACE FUNCTION epr_decisions_changed(principal uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    own_transaction CONSTANT xid8 := pg_current_xact_id();
    renewed uuid := principal;
    renewal bigint;
BEGIN
    IF EXISTS (SELECT 1 FROM cache_renewals r WHERE r.transaction = own_transaction AND r.principal_id IS NULL) THEN
        RETURN;
    END IF;
    IF renewed IS NOT NULL THEN
        IF EXISTS (SELECT 1 FROM cache_renewals r WHERE r.transaction = own_transaction AND r.principal_id = renewed) THEN
            RETURN;
        END IF;
        IF (SELECT count(*) FROM (
                SELECT 1 FROM cache_renewals r WHERE r.transaction = own_transaction LIMIT 256
            ) written) = 256 THEN
            renewed := NULL;
        END IF;
    END IF;
    INSERT INTO cache_renewals (principal_id) VALUES (renewed) RETURNING id INTO renewal;
    PERFORM pg_notify('epr_decisions', renewal || ' ' || coalesce(renewed::text, '*'));
END $$;

CREATE OR REPLACE FUNCTION epr_assignment_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM epr_decisions_changed(OLD.principal_id);
    END IF;
    IF TG_OP = 'INSERT' OR TG_OP = 'UPDATE' AND NEW.principal_id <> OLD.principal_id THEN
        PERFORM epr_decisions_changed(NEW.principal_id);
    END IF;
    RETURN NULL;
END $$;

-- Functions with their owner's rights must not find another one's tables, temporary ones included. Replacing a function removes
-- its settings.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION epr_decisions_changed(uuid) SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION epr_assignment_changed() SET search_path = %I, pg_temp', current_schema());
END $$;

DROP TRIGGER role_permissions_decisions ON role_permissions;
CREATE TRIGGER role_permissions_decisions AFTER INSERT OR UPDATE OR DELETE ON role_permissions
    FOR EACH ROW EXECUTE FUNCTION epr_policy_changed();
DROP TRIGGER entities_deleted_decisions ON entities;
CREATE TRIGGER entities_deleted_decisions AFTER DELETE ON entities
    FOR EACH ROW EXECUTE FUNCTION epr_policy_changed();
-- The statement trigger stays: it refuses TRUNCATE, and a change that finds no row. Migration 0007 has a row trigger for DELETE.
CREATE TRIGGER audit_logs_append_only_rows BEFORE UPDATE ON audit_logs
    FOR EACH ROW EXECUTE FUNCTION audit_logs_append_only();

-- Not of migration 0007's audit_logs_appended, whose comment has the reason; every other trigger of EPR on its own tables.
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT t.tgrelid::regclass AS name, t.tgname FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
        WHERE NOT t.tgisinternal
          AND t.tgrelid IN (SELECT c.oid FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace)
          AND p.pronamespace = current_schema()::regnamespace
          AND (p.proname LIKE 'epr\_%' OR p.proname IN ('audit_logs_append_only', 'audit_logs_no_delete'))
    LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', found.name, found.tgname);
    END LOOP;
END $$;

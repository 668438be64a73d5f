-- The notes of changed rows, where they were not complete.
--
-- 1. A permission that is renamed or deleted concerns roles that its transaction may not see yet: every row is noted.
--    One that is inserted concerns roles that hold it already, which only replication or a restore can bring about.
-- 2. When notes are removed, also with a SQL shell, a trigger moves the head: a copy in memory that lacks what was
--    removed reads the whole registry.
-- 3. Deleted roles and permissions renew decisions at once. The program deletes neither; a person may.

-- In the order in which the program locks them, so that no program that is still running is in the way of another one.
LOCK TABLE permissions, roles, changed_rows IN SHARE ROW EXCLUSIVE MODE;

CREATE OR REPLACE FUNCTION epr_permission_row_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF TG_OP <> 'INSERT' OR current_setting('session_replication_role') = 'replica' THEN
        INSERT INTO changed_rows (kind, row_id) VALUES ('all', '00000000-0000-0000-0000-000000000000');
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION epr_changed_rows_removed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    UPDATE changed_rows_head SET removed_to = newest.transaction
    FROM (SELECT r.transaction FROM removed r ORDER BY r.transaction DESC LIMIT 1) newest
    WHERE id = 1 AND newest.transaction > removed_to;
    RETURN NULL;
END $$;

CREATE FUNCTION epr_changed_rows_emptied() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    -- The newest transaction that may have written a note.
    newest CONSTANT xid8 := ((pg_snapshot_xmax(pg_current_snapshot())::text::numeric - 1)::text)::xid8;
BEGIN
    UPDATE changed_rows_head SET removed_to = newest WHERE id = 1 AND newest > removed_to;
    RETURN NULL;
END $$;

DROP TRIGGER permissions_changed_rows ON permissions;
CREATE TRIGGER permissions_changed_rows AFTER INSERT OR UPDATE OR DELETE ON permissions
    FOR EACH ROW EXECUTE FUNCTION epr_permission_row_changed();
CREATE TRIGGER permissions_emptied_changed_rows AFTER TRUNCATE ON permissions
    FOR EACH STATEMENT EXECUTE FUNCTION epr_table_emptied();
CREATE TRIGGER permissions_deleted_decisions AFTER DELETE ON permissions
    FOR EACH ROW EXECUTE FUNCTION epr_policy_changed();
CREATE TRIGGER roles_deleted_decisions AFTER DELETE ON roles
    FOR EACH ROW EXECUTE FUNCTION epr_policy_changed();
CREATE TRIGGER removed_changed_rows AFTER DELETE ON changed_rows
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION epr_changed_rows_removed();
CREATE TRIGGER emptied_changed_rows AFTER TRUNCATE ON changed_rows
    FOR EACH STATEMENT EXECUTE FUNCTION epr_changed_rows_emptied();

-- As in migration 0037. Replacing a function removes its settings.
DO $$
DECLARE
    name text;
BEGIN
    ALTER TABLE permissions ENABLE ALWAYS TRIGGER permissions_changed_rows;
    ALTER TABLE permissions ENABLE ALWAYS TRIGGER permissions_emptied_changed_rows;
    ALTER TABLE permissions ENABLE ALWAYS TRIGGER permissions_deleted_decisions;
    ALTER TABLE roles ENABLE ALWAYS TRIGGER roles_deleted_decisions;
    ALTER TABLE changed_rows ENABLE ALWAYS TRIGGER removed_changed_rows;
    ALTER TABLE changed_rows ENABLE ALWAYS TRIGGER emptied_changed_rows;
    FOREACH name IN ARRAY ARRAY['epr_permission_row_changed', 'epr_changed_rows_removed', 'epr_changed_rows_emptied']
    LOOP
        EXECUTE format('ALTER FUNCTION %I() SET search_path = %I, pg_temp', name, current_schema());
    END LOOP;
END $$;

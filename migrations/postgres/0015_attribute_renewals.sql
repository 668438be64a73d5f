-- Conditions read the attributes and the external id of the entity that a question is about, so that a change of them
-- renews the decisions about that entity. The column cache_renewals.principal_id then holds the id of the entity: it
-- is the id of what the decisions are about, a principal or a resource, and keeps its name because processes of
-- earlier versions read it. They cache no decision under the id of an entity, so that such a row costs them nothing.
-- Creating and archiving an entity renews nothing.

CREATE FUNCTION epr_entity_attributes_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    PERFORM epr_decisions_changed(NEW.id);
    RETURN NULL;
END $$;

-- Functions with their owner's rights must not find another one's tables, temporary ones included.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION epr_entity_attributes_changed() SET search_path = %I, pg_temp', current_schema());
END $$;

CREATE TRIGGER entities_attributes_decisions AFTER UPDATE ON entities
    FOR EACH ROW WHEN (OLD.attributes::text IS DISTINCT FROM NEW.attributes::text
        OR OLD.external_id IS DISTINCT FROM NEW.external_id)
    EXECUTE FUNCTION epr_entity_attributes_changed();
-- As in migration 0009: logical replication and restore tools must not bypass it.
ALTER TABLE entities ENABLE ALWAYS TRIGGER entities_attributes_decisions;

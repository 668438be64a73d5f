-- Conditions read the attributes and the external id of the entity that a question is about, so that a change of them
-- renews the decisions about that entity. The column cache_renewals.principal_id then holds the id of the entity: it
-- is the id of what the decisions are about, a principal or a resource, and keeps its name because processes of
-- earlier versions read it. They cache no decision under the id of an entity, so that such a row costs them nothing.
-- Creating and archiving an entity renews nothing.

CREATE TRIGGER entities_attributes_decisions AFTER UPDATE ON entities
WHEN OLD.attributes IS NOT NEW.attributes OR OLD.external_id IS NOT NEW.external_id BEGIN
    INSERT INTO cache_renewals (principal_id) VALUES (NEW.id);
END;

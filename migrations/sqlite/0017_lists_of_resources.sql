-- Lists of resources read entities in the order of their ids.

-- Entities of one type.
CREATE INDEX ix_entities_type_id ON entities (type, id);
-- The archived ones, which subtrees name as exceptions.
CREATE INDEX ix_entities_archived_id ON entities (id) WHERE status = 'archived';

-- no-transaction
-- Lists of resources read entities in the order of their ids. Indexes are built while others write. One that was broken
-- off is invalid, and made again.

-- Entities of one type.
DROP INDEX CONCURRENTLY IF EXISTS ix_entities_type_id;
CREATE INDEX CONCURRENTLY ix_entities_type_id ON entities (type, id);
-- The archived ones, which subtrees name as exceptions.
DROP INDEX CONCURRENTLY IF EXISTS ix_entities_archived_id;
CREATE INDEX CONCURRENTLY ix_entities_archived_id ON entities (id) WHERE status = 'archived';

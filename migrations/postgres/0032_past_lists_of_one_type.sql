-- no-transaction
-- Lists of resources of one type read the versions of that type in the order of the ids, as ix_entities_type_id lets
-- those of the present. Built while others write. One that was broken off is invalid, and made again.
DROP INDEX CONCURRENTLY IF EXISTS ix_entity_versions_type;
CREATE INDEX CONCURRENTLY ix_entity_versions_type ON entity_versions (type, id, valid_from);

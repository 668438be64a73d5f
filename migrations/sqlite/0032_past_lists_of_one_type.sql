-- Lists of resources of one type read the versions of that type in the order of the ids, as ix_entities_type_id lets
-- those of the present.
CREATE INDEX ix_entity_versions_type ON entity_versions (type, id, valid_from);

-- Entity types that an operator adds (EPR_ENTITY_TYPES), and external ids of entities.

-- Every present row satisfies the narrower rule that this one replaces: the table is not read again. The collation
-- makes the ranges those of ASCII.
ALTER TABLE entities DROP CONSTRAINT entities_type_check;
ALTER TABLE entities ADD CONSTRAINT entities_type_check
    CHECK (type COLLATE "C" ~ '^[a-z][a-z0-9_.-]{0,63}$') NOT VALID;

-- Compared byte for byte, whatever the collation of the database is.
ALTER TABLE entities ADD COLUMN external_id text COLLATE "C";
ALTER TABLE entities ADD CONSTRAINT entities_external_id_check
    CHECK (octet_length(external_id) BETWEEN 1 AND 1024) NOT VALID;

CREATE UNIQUE INDEX uq_entities_external_id ON entities (external_id, type) WHERE external_id IS NOT NULL;
-- Which types are in use is found in ix_entities_type, which leaves archived entities out, and in this one.
CREATE INDEX ix_entities_archived_type ON entities (type) WHERE status = 'archived';

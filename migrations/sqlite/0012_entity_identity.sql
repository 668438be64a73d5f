-- Entity types that an operator adds (EPR_ENTITY_TYPES), and external ids of entities.

-- Added before the text of the table is changed below: this statement changes that text at a position of the parsed
-- form.
ALTER TABLE entities ADD COLUMN external_id TEXT CHECK (length(CAST(external_id AS BLOB)) BETWEEN 1 AND 1024);

-- SQLite cannot alter a CHECK. A new table under the old name would need foreign keys to be off, which no transaction
-- can do. The stored text is changed instead, as SQLite describes it for changes that do not affect stored rows
-- (https://www.sqlite.org/lang_altertable.html#otheralter): every present row satisfies the new rule, which is wider.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(
    sql,
    'CHECK (type IN (''issuer'', ''spv'', ''offering'', ''investor'', ''agent'', ''other''))',
    'CHECK (type GLOB ''[a-z]*'' AND type NOT GLOB ''*[^a-z0-9_.-]*'' AND length(type) <= 64)'
) WHERE type = 'table' AND name = 'entities';
-- Parses the text again in this connection.
PRAGMA writable_schema = RESET;

-- A table of another form is refused here, and the transaction rolled back. The statements that create and drop a table
-- make every other connection parse the schema again.
CREATE TABLE entity_types_widened (is_so INTEGER NOT NULL CHECK (is_so = 1));
INSERT INTO entity_types_widened
SELECT count(*) FROM sqlite_schema
WHERE type = 'table' AND name = 'entities' AND instr(sql, 'type GLOB ''[a-z]*''') > 0;
DROP TABLE entity_types_widened;

CREATE UNIQUE INDEX uq_entities_external_id ON entities (external_id, type) WHERE external_id IS NOT NULL;
-- Which types are in use is found in ix_entities_type, which leaves archived entities out, and in this one.
CREATE INDEX ix_entities_archived_type ON entities (type) WHERE status = 'archived';

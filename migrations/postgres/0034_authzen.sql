-- no-transaction
-- AuthZEN: the order of searches, and the key of hashes of names in the ledger.
-- Indexes are built while others write. One that was broken off is invalid, and made again.

-- The key of the hashes that stand in the ledger for the names of what is not registered (docs/AUTHZEN.md). Without it,
-- a hash of a name could be found by trying names.
CREATE TABLE IF NOT EXISTS ledger_name_keys (
    number smallint PRIMARY KEY CHECK (number = 1),
    key bytea NOT NULL CHECK (octet_length(key) = 32),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Entities and principals of a type in the order of the names by which other systems know them. A page of a search
-- begins in the middle of an index.
DROP INDEX CONCURRENTLY IF EXISTS ix_entities_type_name;
CREATE INDEX CONCURRENTLY ix_entities_type_name ON entities (
    type, (COALESCE(external_id, CAST(id AS text)) COLLATE "C")
);
DROP INDEX CONCURRENTLY IF EXISTS ix_principals_type_name;
CREATE INDEX CONCURRENTLY ix_principals_type_name ON principals (
    type, (COALESCE(external_id, CAST(id AS text)) COLLATE "C")
);

-- AuthZEN: the order of searches, and the key of hashes of names in the ledger.

-- The key of the hashes that stand in the ledger for the names of what is not registered (docs/AUTHZEN.md). Without it,
-- a hash of a name could be found by trying names.
CREATE TABLE ledger_name_keys (
    number INTEGER PRIMARY KEY CHECK (number = 1),
    key BLOB NOT NULL CHECK (length(key) = 32),
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);

-- Entities and principals of a type in the order of the names by which other systems know them. A page of a search
-- begins in the middle of an index.
CREATE INDEX ix_entities_type_name ON entities (type, COALESCE(external_id, id));
CREATE INDEX ix_principals_type_name ON principals (type, COALESCE(external_id, id));

-- Registered principals, and the keys under which their personal fields are in the ledger. Registration is optional: an
-- assignment may name an id that is not in this table.

CREATE TABLE principals (
    type TEXT NOT NULL DEFAULT 'user' CHECK (length(type) BETWEEN 1 AND 64),
    id TEXT NOT NULL,
    external_id TEXT CHECK (length(CAST(external_id AS BLOB)) BETWEEN 1 AND 1024),
    display_name TEXT CHECK (length(display_name) <= 255),
    attributes TEXT NOT NULL DEFAULT '{}',
    status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    -- When the personal fields were erased; null while they were not.
    erased_at TEXT,
    PRIMARY KEY (type, id),
    -- Nulls are distinct: any number of principals have no external id.
    CONSTRAINT uq_principals_external_id UNIQUE (external_id, type)
);
-- Lists are ordered by both columns, newest first. They are unique together, although principals of two types may have
-- one id: a page must not end between two rows that its cursor cannot tell apart.
CREATE UNIQUE INDEX uq_principals_newest ON principals (created_at, id);
CREATE INDEX ix_principals_type ON principals (type, created_at DESC, id DESC);

-- The key of each principal whose personal fields are in the ledger. Deleting the row is what erases them there.
CREATE TABLE principal_keys (
    type TEXT NOT NULL,
    id TEXT NOT NULL,
    key BLOB NOT NULL CHECK (length(key) = 32),
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (type, id),
    FOREIGN KEY (type, id) REFERENCES principals (type, id)
);

-- A suspended principal is denied everything, and conditions read its attributes.
CREATE TRIGGER principals_inserted_decisions AFTER INSERT ON principals BEGIN
    INSERT INTO cache_renewals (principal_id) VALUES (NEW.id);
END;
CREATE TRIGGER principals_updated_decisions AFTER UPDATE ON principals BEGIN
    INSERT INTO cache_renewals (principal_id) VALUES (OLD.id);
    INSERT INTO cache_renewals (principal_id) SELECT NEW.id WHERE NEW.id <> OLD.id;
END;
CREATE TRIGGER principals_deleted_decisions AFTER DELETE ON principals BEGIN
    INSERT INTO cache_renewals (principal_id) VALUES (OLD.id);
END;

-- The trigger of migration 0007, with the actions of principals among those that change what decisions depend on.
DROP TRIGGER audit_logs_registry_head;
CREATE TRIGGER audit_logs_registry_head AFTER INSERT ON audit_logs
WHEN NEW.source = 'entity_permissions_core'
    AND NEW.action IN (
        'entity.update', 'role.update', 'role_assignment.create', 'role_assignment.delete',
        'principal.create', 'principal.update', 'principal.erase'
    )
BEGIN
    UPDATE registry_head SET sequence = NEW.sequence, entry_hash = NEW.entry_hash
    WHERE id = 1 AND sequence < NEW.sequence;
END;

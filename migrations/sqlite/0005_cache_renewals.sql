-- Which decisions caches must forget. Written by triggers, so that it holds whoever changes what decisions rest on: this
-- program, an older one that is still running, or someone with a SQL shell.

CREATE TABLE cache_renewals (
    -- Never used twice: other processes see by the last one given whether anything changed.
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Whose decisions; everybody's when null.
    principal_id TEXT,
    -- Whether the transaction that caused it has not asked for it yet.
    fresh BOOLEAN NOT NULL DEFAULT TRUE,
    written_at INTEGER NOT NULL DEFAULT (CAST(strftime('%s', 'now') AS INTEGER))
);
CREATE INDEX ix_cache_renewals_fresh ON cache_renewals (id) WHERE fresh;

-- Which database this is: two that share a Redis must not read each other's answers.
CREATE TABLE cache_namespace (id TEXT PRIMARY KEY DEFAULT (lower(hex(randomblob(16)))));
INSERT INTO cache_namespace DEFAULT VALUES;

CREATE TRIGGER role_assignments_inserted_decisions AFTER INSERT ON role_assignments BEGIN
    INSERT INTO cache_renewals (principal_id) VALUES (NEW.principal_id);
END;
CREATE TRIGGER role_assignments_updated_decisions AFTER UPDATE ON role_assignments BEGIN
    INSERT INTO cache_renewals (principal_id) VALUES (OLD.principal_id), (NEW.principal_id);
END;
CREATE TRIGGER role_assignments_deleted_decisions AFTER DELETE ON role_assignments BEGIN
    INSERT INTO cache_renewals (principal_id) VALUES (OLD.principal_id);
END;
CREATE TRIGGER role_permissions_inserted_decisions AFTER INSERT ON role_permissions BEGIN
    INSERT INTO cache_renewals (principal_id) VALUES (NULL);
END;
CREATE TRIGGER role_permissions_updated_decisions AFTER UPDATE ON role_permissions BEGIN
    INSERT INTO cache_renewals (principal_id) VALUES (NULL);
END;
CREATE TRIGGER role_permissions_deleted_decisions AFTER DELETE ON role_permissions BEGIN
    INSERT INTO cache_renewals (principal_id) VALUES (NULL);
END;
CREATE TRIGGER roles_decisions AFTER UPDATE ON roles
WHEN OLD.scope_types <> NEW.scope_types OR OLD.id <> NEW.id BEGIN
    INSERT INTO cache_renewals (principal_id) VALUES (NULL);
END;
CREATE TRIGGER permissions_decisions AFTER UPDATE ON permissions
WHEN OLD.action <> NEW.action OR OLD.id <> NEW.id BEGIN
    INSERT INTO cache_renewals (principal_id) VALUES (NULL);
END;
CREATE TRIGGER entities_decisions AFTER UPDATE ON entities
WHEN OLD.parent_id IS NOT NEW.parent_id OR OLD.type <> NEW.type OR OLD.id <> NEW.id BEGIN
    INSERT INTO cache_renewals (principal_id) VALUES (NULL);
END;
-- The program deletes none of these; a person may.
CREATE TRIGGER entities_deleted_decisions AFTER DELETE ON entities BEGIN
    INSERT INTO cache_renewals (principal_id) VALUES (NULL);
END;

-- Which rows of the registry have changed: for the copies in memory that processes answer checks from. Transactions on
-- a file follow one another, so that the ids are in the order of the commits.

CREATE TABLE changed_rows (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- 'all' stands for every row of the registry.
    kind TEXT NOT NULL CHECK (kind IN ('entity', 'role', 'assignment', 'principal', 'all')),
    row_id TEXT NOT NULL,
    -- The principal of an assignment, and of a principal its type.
    principal_type TEXT,
    principal_id TEXT,
    written_at INTEGER NOT NULL DEFAULT (CAST(strftime('%s', 'now') AS INTEGER))
);

-- The newest row that may have been removed: a copy that does not include it reads the whole registry.
CREATE TABLE changed_rows_head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    removed_to INTEGER NOT NULL
);
INSERT INTO changed_rows_head (id, removed_to) VALUES (1, 0);

CREATE TRIGGER entities_inserted_rows AFTER INSERT ON entities BEGIN
    INSERT INTO changed_rows (kind, row_id) VALUES ('entity', NEW.id);
END;
CREATE TRIGGER entities_updated_rows AFTER UPDATE ON entities BEGIN
    INSERT INTO changed_rows (kind, row_id) VALUES ('entity', OLD.id);
    INSERT INTO changed_rows (kind, row_id) SELECT 'entity', NEW.id WHERE NEW.id <> OLD.id;
END;
CREATE TRIGGER entities_deleted_rows AFTER DELETE ON entities BEGIN
    INSERT INTO changed_rows (kind, row_id) VALUES ('entity', OLD.id);
END;
CREATE TRIGGER roles_inserted_rows AFTER INSERT ON roles BEGIN
    INSERT INTO changed_rows (kind, row_id) VALUES ('role', NEW.id);
END;
CREATE TRIGGER roles_updated_rows AFTER UPDATE ON roles BEGIN
    INSERT INTO changed_rows (kind, row_id) VALUES ('role', OLD.id);
    INSERT INTO changed_rows (kind, row_id) SELECT 'role', NEW.id WHERE NEW.id <> OLD.id;
END;
CREATE TRIGGER roles_deleted_rows AFTER DELETE ON roles BEGIN
    INSERT INTO changed_rows (kind, row_id) VALUES ('role', OLD.id);
END;
CREATE TRIGGER role_permissions_inserted_rows AFTER INSERT ON role_permissions BEGIN
    INSERT INTO changed_rows (kind, row_id) VALUES ('role', NEW.role_id);
END;
CREATE TRIGGER role_permissions_updated_rows AFTER UPDATE ON role_permissions BEGIN
    INSERT INTO changed_rows (kind, row_id) VALUES ('role', OLD.role_id);
    INSERT INTO changed_rows (kind, row_id) SELECT 'role', NEW.role_id WHERE NEW.role_id <> OLD.role_id;
END;
CREATE TRIGGER role_permissions_deleted_rows AFTER DELETE ON role_permissions BEGIN
    INSERT INTO changed_rows (kind, row_id) VALUES ('role', OLD.role_id);
END;
-- The program never renames an action; a person may.
CREATE TRIGGER permissions_updated_rows AFTER UPDATE ON permissions BEGIN
    INSERT INTO changed_rows (kind, row_id)
    SELECT 'role', rp.role_id FROM role_permissions rp WHERE rp.permission_id IN (OLD.id, NEW.id);
END;
CREATE TRIGGER role_assignments_inserted_rows AFTER INSERT ON role_assignments BEGIN
    INSERT INTO changed_rows (kind, row_id, principal_type, principal_id)
    VALUES ('assignment', NEW.id, NEW.principal_type, NEW.principal_id);
END;
CREATE TRIGGER role_assignments_updated_rows AFTER UPDATE ON role_assignments BEGIN
    INSERT INTO changed_rows (kind, row_id, principal_type, principal_id)
    VALUES ('assignment', OLD.id, OLD.principal_type, OLD.principal_id);
    INSERT INTO changed_rows (kind, row_id, principal_type, principal_id)
    SELECT 'assignment', NEW.id, NEW.principal_type, NEW.principal_id
    WHERE NEW.id <> OLD.id OR NEW.principal_type <> OLD.principal_type OR NEW.principal_id <> OLD.principal_id;
END;
CREATE TRIGGER role_assignments_deleted_rows AFTER DELETE ON role_assignments BEGIN
    INSERT INTO changed_rows (kind, row_id, principal_type, principal_id)
    VALUES ('assignment', OLD.id, OLD.principal_type, OLD.principal_id);
END;
CREATE TRIGGER principals_inserted_rows AFTER INSERT ON principals BEGIN
    INSERT INTO changed_rows (kind, row_id, principal_type) VALUES ('principal', NEW.id, NEW.type);
END;
CREATE TRIGGER principals_updated_rows AFTER UPDATE ON principals BEGIN
    INSERT INTO changed_rows (kind, row_id, principal_type) VALUES ('principal', OLD.id, OLD.type);
    INSERT INTO changed_rows (kind, row_id, principal_type)
    SELECT 'principal', NEW.id, NEW.type WHERE NEW.id <> OLD.id OR NEW.type <> OLD.type;
END;
CREATE TRIGGER principals_deleted_rows AFTER DELETE ON principals BEGIN
    INSERT INTO changed_rows (kind, row_id, principal_type) VALUES ('principal', OLD.id, OLD.type);
END;

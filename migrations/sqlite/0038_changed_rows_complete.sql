-- The notes of changed rows, where they were not complete.
--
-- 1. A permission that is renamed or deleted concerns every role.
-- 2. When notes are removed, also with a shell, a trigger moves the head.
-- 3. Deleted roles and permissions renew decisions at once. The program deletes neither; a person may.
-- 4. INSERT OR REPLACE deletes the rows in its way without a trigger for them: they are noted before.

DROP TRIGGER permissions_updated_rows;
CREATE TRIGGER permissions_updated_rows AFTER UPDATE ON permissions BEGIN
    INSERT INTO changed_rows (kind, row_id) VALUES ('all', '00000000-0000-0000-0000-000000000000');
END;
CREATE TRIGGER permissions_deleted_rows AFTER DELETE ON permissions BEGIN
    INSERT INTO changed_rows (kind, row_id) VALUES ('all', '00000000-0000-0000-0000-000000000000');
END;
CREATE TRIGGER permissions_deleted_decisions AFTER DELETE ON permissions BEGIN
    INSERT INTO cache_renewals (principal_id) VALUES (NULL);
END;
CREATE TRIGGER roles_deleted_decisions AFTER DELETE ON roles BEGIN
    INSERT INTO cache_renewals (principal_id) VALUES (NULL);
END;

CREATE TRIGGER changed_rows_removed_rows AFTER DELETE ON changed_rows BEGIN
    UPDATE changed_rows_head SET removed_to = OLD.id WHERE id = 1 AND removed_to < OLD.id;
END;

CREATE TRIGGER entities_replaced_rows BEFORE INSERT ON entities BEGIN
    INSERT INTO changed_rows (kind, row_id) SELECT 'entity', e.id FROM entities e
    WHERE e.id <> NEW.id AND e.name = NEW.name AND e.type = NEW.type;
    INSERT INTO changed_rows (kind, row_id) SELECT 'entity', e.id FROM entities e
    WHERE e.id <> NEW.id AND e.external_id = NEW.external_id AND e.type = NEW.type;
END;
CREATE TRIGGER entities_replacing_rows BEFORE UPDATE ON entities
WHEN OLD.id <> NEW.id OR OLD.name <> NEW.name OR OLD.type <> NEW.type OR OLD.external_id IS NOT NEW.external_id BEGIN
    INSERT INTO changed_rows (kind, row_id) SELECT 'entity', e.id FROM entities e
    WHERE e.id <> OLD.id AND (e.id = NEW.id OR e.name = NEW.name AND e.type = NEW.type);
    INSERT INTO changed_rows (kind, row_id) SELECT 'entity', e.id FROM entities e
    WHERE e.id <> OLD.id AND e.external_id = NEW.external_id AND e.type = NEW.type;
END;
CREATE TRIGGER roles_replaced_rows BEFORE INSERT ON roles BEGIN
    INSERT INTO changed_rows (kind, row_id) SELECT 'role', r.id FROM roles r WHERE r.id <> NEW.id AND r.name = NEW.name;
END;
CREATE TRIGGER roles_replacing_rows BEFORE UPDATE ON roles WHEN OLD.id <> NEW.id OR OLD.name <> NEW.name BEGIN
    INSERT INTO changed_rows (kind, row_id) SELECT 'role', r.id FROM roles r
    WHERE r.id <> OLD.id AND (r.id = NEW.id OR r.name = NEW.name);
END;
CREATE TRIGGER role_assignments_replaced_rows BEFORE INSERT ON role_assignments BEGIN
    INSERT INTO changed_rows (kind, row_id, principal_type, principal_id)
    SELECT 'assignment', a.id, a.principal_type, a.principal_id FROM role_assignments a
    WHERE a.id = NEW.id OR a.principal_id = NEW.principal_id AND a.principal_type = NEW.principal_type
        AND COALESCE(a.entity_id, '00000000-0000-0000-0000-000000000000')
            = COALESCE(NEW.entity_id, '00000000-0000-0000-0000-000000000000')
        AND a.role_id = NEW.role_id;
END;
CREATE TRIGGER role_assignments_replacing_rows BEFORE UPDATE ON role_assignments
WHEN OLD.id <> NEW.id OR OLD.principal_id <> NEW.principal_id OR OLD.principal_type <> NEW.principal_type
    OR OLD.entity_id IS NOT NEW.entity_id OR OLD.role_id <> NEW.role_id BEGIN
    INSERT INTO changed_rows (kind, row_id, principal_type, principal_id)
    SELECT 'assignment', a.id, a.principal_type, a.principal_id FROM role_assignments a
    WHERE a.id <> OLD.id AND (a.id = NEW.id OR a.principal_id = NEW.principal_id
        AND a.principal_type = NEW.principal_type
        AND COALESCE(a.entity_id, '00000000-0000-0000-0000-000000000000')
            = COALESCE(NEW.entity_id, '00000000-0000-0000-0000-000000000000')
        AND a.role_id = NEW.role_id);
END;
CREATE TRIGGER principals_replaced_rows BEFORE INSERT ON principals BEGIN
    INSERT INTO changed_rows (kind, row_id, principal_type) SELECT 'principal', p.id, p.type FROM principals p
    WHERE p.id <> NEW.id AND p.external_id = NEW.external_id AND p.type = NEW.type;
END;
CREATE TRIGGER principals_replacing_rows BEFORE UPDATE ON principals
WHEN OLD.id <> NEW.id OR OLD.type <> NEW.type OR OLD.external_id IS NOT NEW.external_id BEGIN
    INSERT INTO changed_rows (kind, row_id, principal_type) SELECT 'principal', p.id, p.type FROM principals p
    WHERE p.type = NEW.type AND (p.id = NEW.id AND (OLD.id <> NEW.id OR OLD.type <> NEW.type)
        OR p.id <> OLD.id AND p.external_id = NEW.external_id);
END;

-- no-transaction
-- Indexes for filters of lists of entities and assignments. Built while others write. One that was broken off is
-- invalid, and made again.

-- Names by their beginning, compared byte for byte, which the unique key is not: it has the collation of the database.
DROP INDEX CONCURRENTLY IF EXISTS ix_entities_name;
CREATE INDEX CONCURRENTLY ix_entities_name ON entities (name COLLATE "C");

-- Lists of the statuses that few entities have. An active entity costs nothing.
DROP INDEX CONCURRENTLY IF EXISTS ix_entities_inactive;
CREATE INDEX CONCURRENTLY ix_entities_inactive ON entities (created_at DESC, id DESC) WHERE status = 'inactive';
DROP INDEX CONCURRENTLY IF EXISTS ix_entities_archived;
CREATE INDEX CONCURRENTLY ix_entities_archived ON entities (created_at DESC, id DESC) WHERE status = 'archived';

-- The assignments of a role in the order of lists, in place of the index on the role alone.
DROP INDEX CONCURRENTLY IF EXISTS ix_role_assignments_role_newest;
CREATE INDEX CONCURRENTLY ix_role_assignments_role_newest ON role_assignments (role_id, created_at DESC, id DESC);
DROP INDEX CONCURRENTLY IF EXISTS ix_role_assignments_role;

-- The assignments of principals that are not users. An assignment of a user costs nothing.
DROP INDEX CONCURRENTLY IF EXISTS ix_role_assignments_type;
CREATE INDEX CONCURRENTLY ix_role_assignments_type ON role_assignments (principal_type, created_at DESC, id DESC)
    WHERE principal_type <> 'user';

-- Assignments that have ended or have not begun. One without an end that begins when it is made costs nothing.
DROP INDEX CONCURRENTLY IF EXISTS ix_role_assignments_end;
CREATE INDEX CONCURRENTLY ix_role_assignments_end ON role_assignments (expires_at) WHERE expires_at IS NOT NULL;
DROP INDEX CONCURRENTLY IF EXISTS ix_role_assignments_later_start;
CREATE INDEX CONCURRENTLY ix_role_assignments_later_start ON role_assignments (effective_at)
    WHERE effective_at > created_at;

-- The entries about a principal and about an assignment: the changes of registrations and assignments, which are few.
-- An entry of a decision or of another service costs nothing. The stored text of the details is canonical.
DROP INDEX CONCURRENTLY IF EXISTS ix_audit_logs_principal;
CREATE INDEX CONCURRENTLY ix_audit_logs_principal
    ON audit_logs (substring(CAST(details AS text) FROM '"principal_id":"([0-9a-f-]{36})"'), sequence)
    WHERE source = 'entity_permissions_core' AND action IN ('principal.create', 'principal.erase', 'principal.update',
        'role_assignment.create', 'role_assignment.delete');
DROP INDEX CONCURRENTLY IF EXISTS ix_audit_logs_assignment;
CREATE INDEX CONCURRENTLY ix_audit_logs_assignment
    ON audit_logs (substring(CAST(details AS text) FROM '"assignment_id":"([0-9a-f-]{36})"'), sequence)
    WHERE source = 'entity_permissions_core' AND action IN ('role_assignment.create', 'role_assignment.delete');

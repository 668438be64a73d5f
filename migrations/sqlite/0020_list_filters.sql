-- Indexes for filters of lists of entities and assignments. The unique key of entities finds names by their beginning.

-- Lists of the statuses that few entities have. An active entity costs nothing.
CREATE INDEX ix_entities_inactive ON entities (created_at DESC, id DESC) WHERE status = 'inactive';
CREATE INDEX ix_entities_archived ON entities (created_at DESC, id DESC) WHERE status = 'archived';

-- The assignments of a role in the order of lists, in place of the index on the role alone.
CREATE INDEX ix_role_assignments_role_newest ON role_assignments (role_id, created_at DESC, id DESC);
DROP INDEX IF EXISTS ix_role_assignments_role;

-- The assignments of principals that are not users. An assignment of a user costs nothing.
CREATE INDEX ix_role_assignments_type ON role_assignments (principal_type, created_at DESC, id DESC)
    WHERE principal_type <> 'user';

-- Assignments that have ended or have not begun. One without an end that begins when it is made costs nothing.
CREATE INDEX ix_role_assignments_end ON role_assignments (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX ix_role_assignments_later_start ON role_assignments (effective_at) WHERE effective_at > created_at;

-- The entries about a principal and about an assignment: the changes of registrations and assignments, which are few.
-- An entry of a decision or of another service costs nothing. The stored text of the details is canonical.
CREATE INDEX ix_audit_logs_principal ON audit_logs (
    CASE WHEN instr(details, '"principal_id":"') > 0
        THEN substr(details, instr(details, '"principal_id":"') + length('"principal_id":"'), 36) END,
    sequence
) WHERE source = 'entity_permissions_core' AND action IN ('principal.create', 'principal.erase', 'principal.update',
    'role_assignment.create', 'role_assignment.delete');
CREATE INDEX ix_audit_logs_assignment ON audit_logs (
    CASE WHEN instr(details, '"assignment_id":"') > 0
        THEN substr(details, instr(details, '"assignment_id":"') + length('"assignment_id":"'), 36) END,
    sequence
) WHERE source = 'entity_permissions_core' AND action IN ('role_assignment.create', 'role_assignment.delete');

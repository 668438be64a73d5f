-- The entries about a principal and about an assignment, by the members of their details. The indexes of migration 20
-- have the first text that looks like the member, which in the details of a grant with a condition can be the parameter
-- of the same name.
DROP INDEX ix_audit_logs_principal;
CREATE INDEX ix_audit_logs_principal ON audit_logs (
    CASE WHEN json_valid(details) THEN json_extract(details, '$.principal_id') END,
    sequence
) WHERE source = 'entity_permissions_core' AND action IN ('principal.create', 'principal.erase', 'principal.update',
    'role_assignment.create', 'role_assignment.delete');
DROP INDEX ix_audit_logs_assignment;
CREATE INDEX ix_audit_logs_assignment ON audit_logs (
    CASE WHEN json_valid(details) THEN json_extract(details, '$.assignment_id') END,
    sequence
) WHERE source = 'entity_permissions_core' AND action IN ('role_assignment.create', 'role_assignment.delete');

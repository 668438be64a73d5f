-- The entries about rows of the registry by their time: which state belongs to a time in the past. The condition is the
-- one of the statements that use it (`store/sql/history/past.rs`).
DROP INDEX IF EXISTS ix_audit_logs_registry_time;
CREATE INDEX ix_audit_logs_registry_time ON audit_logs (occurred_at, sequence)
WHERE source = 'entity_permissions_core' AND event_id IS NULL AND action IN (
    'entity.create', 'entity.update', 'entity.archive', 'entity.baseline',
    'role.create', 'role.update', 'role.baseline',
    'role_assignment.create', 'role_assignment.delete', 'role_assignment.baseline',
    'principal.create', 'principal.update', 'principal.erase', 'principal.baseline');

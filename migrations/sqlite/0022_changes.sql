-- The change feed reads the entries that changed the registry, in their order. Decisions, which are most of a ledger,
-- are not among them, nor are messages that claim EPR's source: those have an event id. The condition is the one of the
-- statement: `changes_registry!` in `store/sqlite/dialect.rs`.
DROP INDEX IF EXISTS ix_audit_logs_changes;
CREATE INDEX ix_audit_logs_changes ON audit_logs (sequence)
WHERE source = 'entity_permissions_core' AND event_id IS NULL
    AND (substr(action, 1, instr(action, '.') - 1)
            IN ('entity', 'role', 'role_assignment', 'principal', 'registry')
        OR action = 'ledger.reincarnate');

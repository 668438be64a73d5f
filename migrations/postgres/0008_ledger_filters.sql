-- no-transaction
-- Indexes for the documented filters of the ledger that had none: a page by source, by entity type or by time reads its own rows only.
-- Built while others write. One that was broken off is invalid, and made again.
DROP INDEX CONCURRENTLY IF EXISTS ix_audit_logs_source;
CREATE INDEX CONCURRENTLY ix_audit_logs_source ON audit_logs (source, sequence);
DROP INDEX CONCURRENTLY IF EXISTS ix_audit_logs_entity_type;
CREATE INDEX CONCURRENTLY ix_audit_logs_entity_type ON audit_logs (entity_type, sequence) WHERE entity_type IS NOT NULL;
DROP INDEX CONCURRENTLY IF EXISTS ix_audit_logs_time;
CREATE INDEX CONCURRENTLY ix_audit_logs_time ON audit_logs (occurred_at, sequence);
-- A block range index: the planner takes it for no page, because it cannot say where a span of time is in the sequence.
DROP INDEX CONCURRENTLY IF EXISTS ix_audit_logs_occurred;

-- no-transaction
-- Indexes for the documented filters of the ledger that had none: a page by source or by entity type reads its own rows only.
-- Built while others write. One that was broken off is invalid, and made again.
DROP INDEX CONCURRENTLY IF EXISTS ix_audit_logs_source;
CREATE INDEX CONCURRENTLY ix_audit_logs_source ON audit_logs (source, sequence);
DROP INDEX CONCURRENTLY IF EXISTS ix_audit_logs_entity_type;
CREATE INDEX CONCURRENTLY ix_audit_logs_entity_type ON audit_logs (entity_type, sequence) WHERE entity_type IS NOT NULL;

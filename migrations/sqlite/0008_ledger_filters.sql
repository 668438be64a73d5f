-- Indexes for the documented filters of the ledger that had none: a page by source or by entity type reads its own rows only.

CREATE INDEX ix_audit_logs_source ON audit_logs (source, sequence);
CREATE INDEX ix_audit_logs_entity_type ON audit_logs (entity_type, sequence) WHERE entity_type IS NOT NULL;

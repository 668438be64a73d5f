-- Indexes for the lists of assignments that need attention, in the order of these lists. An assignment on an entity that
-- ends after it was made costs nothing.

CREATE INDEX ix_role_assignments_global ON role_assignments (principal_type, principal_id) WHERE entity_id IS NULL;
CREATE INDEX ix_role_assignments_ended_before ON role_assignments (effective_at) WHERE expires_at <= created_at;

-- Indexes for the lists of assignments that need attention, in the order of these lists. An assignment on an entity
-- that begins when it is made and does not end before costs nothing.

CREATE INDEX ix_role_assignments_global ON role_assignments (principal_type, principal_id) WHERE entity_id IS NULL;
CREATE INDEX ix_role_assignments_ended_before ON role_assignments (effective_at, id) WHERE expires_at <= created_at;
-- In place of the index on the start alone.
CREATE INDEX ix_role_assignments_not_begun ON role_assignments (effective_at, id) WHERE effective_at > created_at;
DROP INDEX ix_role_assignments_later_start;

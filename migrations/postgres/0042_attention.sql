-- no-transaction
-- Indexes for the lists of assignments that need attention, in the order of these lists. Built while others write. One
-- that was broken off is invalid, and made again. An assignment on an entity that begins when it is made and does not
-- end before costs nothing.

DROP INDEX CONCURRENTLY IF EXISTS ix_role_assignments_global;
CREATE INDEX CONCURRENTLY ix_role_assignments_global ON role_assignments (principal_type, principal_id)
    WHERE entity_id IS NULL;
DROP INDEX CONCURRENTLY IF EXISTS ix_role_assignments_ended_before;
CREATE INDEX CONCURRENTLY ix_role_assignments_ended_before ON role_assignments (effective_at, id)
    WHERE expires_at <= created_at;
-- In place of the index on the start alone.
DROP INDEX CONCURRENTLY IF EXISTS ix_role_assignments_not_begun;
CREATE INDEX CONCURRENTLY ix_role_assignments_not_begun ON role_assignments (effective_at, id)
    WHERE effective_at > created_at;
DROP INDEX CONCURRENTLY IF EXISTS ix_role_assignments_later_start;

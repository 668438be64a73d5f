-- no-transaction
-- Lists of access: the keys of page tokens, and the index behind the list of principals.
-- Indexes are built while others write. One that was broken off is invalid, and made again.

-- The newest key authenticates new tokens; the one before it is accepted for a while (docs/LISTS.md).
CREATE TABLE IF NOT EXISTS list_keys (
    number bigint PRIMARY KEY CHECK (number > 0),
    key bytea NOT NULL CHECK (octet_length(key) = 32),
    started_at timestamptz NOT NULL
);

-- A list of principals merges ranges of this index: one for each entity from the resource to its root, and for global
-- assignments, times each role that holds the action. A range has exactly the assignments of one role on one entity,
-- in the order of the list, so that a page reads about as many rows as it has items, however many assignments of other
-- roles the entity has. With the role behind the principal, the range of an entity would have all of them. The type is
-- compared byte by byte, as on SQLite.
DROP INDEX CONCURRENTLY IF EXISTS ix_role_assignments_entity_role;
CREATE INDEX CONCURRENTLY ix_role_assignments_entity_role ON role_assignments (
    COALESCE(entity_id, '00000000-0000-0000-0000-000000000000'), role_id, principal_id, (principal_type COLLATE "C")
);
-- The roles that hold an action.
DROP INDEX CONCURRENTLY IF EXISTS ix_role_permissions_permission;
CREATE INDEX CONCURRENTLY ix_role_permissions_permission ON role_permissions (permission_id, role_id);

-- Lists of access: the keys of page tokens, and the index behind the list of principals.

-- The newest key authenticates new tokens; the one before it is accepted for a while (docs/LISTS.md).
CREATE TABLE list_keys (
    number INTEGER PRIMARY KEY CHECK (number > 0),
    key BLOB NOT NULL CHECK (length(key) = 32),
    started_at TEXT NOT NULL
);

-- A list of principals merges ranges of this index: one for each entity from the resource to its root, and for global
-- assignments, times each role that holds the action. A range has exactly the assignments of one role on one entity,
-- in the order of the list, so that a page reads about as many rows as it has items, however many assignments of other
-- roles the entity has. With the role behind the principal, the range of an entity would have all of them.
CREATE INDEX ix_role_assignments_entity_role ON role_assignments (
    COALESCE(entity_id, '00000000-0000-0000-0000-000000000000'), role_id, principal_id, principal_type
);
-- The roles that hold an action.
CREATE INDEX ix_role_permissions_permission ON role_permissions (permission_id, role_id);

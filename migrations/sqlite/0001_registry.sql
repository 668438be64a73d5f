-- The registry: entities in their hierarchy, roles with their actions, and who holds which role where.
-- Ids are lower-case text; timestamps are text of fixed width in UTC, so that text order is time order.

CREATE TABLE entities (
    id TEXT PRIMARY KEY NOT NULL CHECK (id <> '00000000-0000-0000-0000-000000000000'),
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    type TEXT NOT NULL CHECK (type IN ('issuer', 'spv', 'offering', 'investor', 'agent', 'other')),
    status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'inactive', 'archived')),
    parent_id TEXT REFERENCES entities (id) CHECK (parent_id <> id),
    attributes TEXT NOT NULL DEFAULT '{}',
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    CONSTRAINT uq_entities_name_type UNIQUE (name, type)
);
CREATE INDEX ix_entities_newest ON entities (created_at DESC, id DESC) WHERE status <> 'archived';
CREATE INDEX ix_entities_parent ON entities (parent_id, created_at DESC, id DESC);
CREATE INDEX ix_entities_type ON entities (type, created_at DESC, id DESC) WHERE status <> 'archived';

CREATE TABLE roles (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL CONSTRAINT uq_roles_name UNIQUE CHECK (length(name) BETWEEN 3 AND 120),
    description TEXT CHECK (length(description) <= 512),
    scope_types TEXT NOT NULL DEFAULT '[]',
    is_system BOOLEAN NOT NULL DEFAULT FALSE,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE INDEX ix_roles_newest ON roles (created_at DESC, id DESC);

CREATE TABLE permissions (
    id TEXT PRIMARY KEY NOT NULL DEFAULT (lower(
        hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2)
        || '-8' || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))
    )),
    action TEXT NOT NULL CONSTRAINT uq_permissions_action UNIQUE CHECK (length(action) BETWEEN 3 AND 255),
    created_at TEXT NOT NULL
);

CREATE TABLE role_permissions (
    role_id TEXT NOT NULL REFERENCES roles (id),
    permission_id TEXT NOT NULL REFERENCES permissions (id),
    PRIMARY KEY (role_id, permission_id)
);

CREATE TABLE role_assignments (
    id TEXT PRIMARY KEY NOT NULL,
    principal_id TEXT NOT NULL,
    principal_type TEXT NOT NULL DEFAULT 'user' CHECK (length(principal_type) BETWEEN 1 AND 64),
    role_id TEXT NOT NULL REFERENCES roles (id),
    entity_id TEXT REFERENCES entities (id),
    effective_at TEXT NOT NULL,
    expires_at TEXT CHECK (expires_at > effective_at),
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
-- A null entity means "everywhere" and counts as equal to itself, which a plain unique key would not do. It is also
-- the index that every check probes, once for each place in the resource's lineage.
CREATE UNIQUE INDEX uq_role_assignments ON role_assignments
    (principal_id, principal_type, COALESCE(entity_id, '00000000-0000-0000-0000-000000000000'), role_id);
CREATE INDEX ix_role_assignments_newest ON role_assignments (created_at DESC, id DESC);
CREATE INDEX ix_role_assignments_principal ON role_assignments (principal_id, created_at DESC, id DESC);
CREATE INDEX ix_role_assignments_entity ON role_assignments (entity_id, created_at DESC, id DESC);
CREATE INDEX ix_role_assignments_role ON role_assignments (role_id);

-- The registry: entities in their hierarchy, roles with their actions, and who holds which role where.

CREATE TABLE entities (
    id uuid PRIMARY KEY CHECK (id <> '00000000-0000-0000-0000-000000000000'),
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 255),
    type text NOT NULL CHECK (type IN ('issuer', 'spv', 'offering', 'investor', 'agent', 'other')),
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'inactive', 'archived')),
    parent_id uuid REFERENCES entities (id) CHECK (parent_id <> id),
    -- json, not jsonb: what was sent is what is given back.
    attributes json NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT uq_entities_name_type UNIQUE (name, type)
);
CREATE INDEX ix_entities_newest ON entities (created_at DESC, id DESC) WHERE status <> 'archived';
CREATE INDEX ix_entities_parent ON entities (parent_id, created_at DESC, id DESC);
CREATE INDEX ix_entities_type ON entities (type, created_at DESC, id DESC) WHERE status <> 'archived';

CREATE TABLE roles (
    id uuid PRIMARY KEY,
    name text NOT NULL CONSTRAINT uq_roles_name UNIQUE CHECK (char_length(name) BETWEEN 3 AND 120),
    description text CHECK (char_length(description) <= 512),
    scope_types json NOT NULL DEFAULT '[]',
    is_system boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_roles_newest ON roles (created_at DESC, id DESC);

CREATE TABLE permissions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    action text NOT NULL CONSTRAINT uq_permissions_action UNIQUE CHECK (char_length(action) BETWEEN 3 AND 255),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE role_permissions (
    role_id uuid NOT NULL REFERENCES roles (id),
    permission_id uuid NOT NULL REFERENCES permissions (id),
    PRIMARY KEY (role_id, permission_id)
);

CREATE TABLE role_assignments (
    id uuid PRIMARY KEY,
    principal_id uuid NOT NULL,
    principal_type text NOT NULL DEFAULT 'user' CHECK (char_length(principal_type) BETWEEN 1 AND 64),
    role_id uuid NOT NULL REFERENCES roles (id),
    entity_id uuid REFERENCES entities (id),
    effective_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz CHECK (expires_at > effective_at),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
-- A null entity means "everywhere" and counts as equal to itself, which a plain unique key would not do. It is also
-- the index that every check probes, once for each place in the resource's lineage.
CREATE UNIQUE INDEX uq_role_assignments ON role_assignments
    (principal_id, principal_type, COALESCE(entity_id, '00000000-0000-0000-0000-000000000000'), role_id);
CREATE INDEX ix_role_assignments_newest ON role_assignments (created_at DESC, id DESC);
CREATE INDEX ix_role_assignments_principal ON role_assignments (principal_id, created_at DESC, id DESC);
CREATE INDEX ix_role_assignments_entity ON role_assignments (entity_id, created_at DESC, id DESC);
CREATE INDEX ix_role_assignments_role ON role_assignments (role_id);

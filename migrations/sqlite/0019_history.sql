-- History: every version that a row of the registry has had, so that the registry at a revision can be asked. Written
-- in the transaction of the change, with the sequence of its ledger entry. Filled from the ledger for what happened
-- before this migration (`epr migrate`, `epr history rebuild`).

-- A version is valid from the entry `valid_from` on, until the entry `valid_to` has ended it; null: it is the present
-- one.
CREATE TABLE entity_versions (
    id TEXT NOT NULL,
    valid_from INTEGER NOT NULL,
    valid_to INTEGER CHECK (valid_to > valid_from),
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    external_id TEXT,
    status TEXT NOT NULL,
    parent_id TEXT,
    attributes TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (id, valid_from)
);
CREATE INDEX ix_entity_versions_parent ON entity_versions (parent_id, id) WHERE parent_id IS NOT NULL;
CREATE INDEX ix_entity_versions_newest ON entity_versions (created_at DESC, id DESC);

CREATE TABLE role_versions (
    id TEXT NOT NULL,
    valid_from INTEGER NOT NULL,
    valid_to INTEGER CHECK (valid_to > valid_from),
    name TEXT NOT NULL,
    description TEXT,
    scope_types TEXT NOT NULL,
    is_system boolean NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (id, valid_from)
);

-- The actions of one version of a role, with their conditions.
CREATE TABLE role_permission_versions (
    role_id TEXT NOT NULL,
    valid_from INTEGER NOT NULL,
    action TEXT NOT NULL,
    condition TEXT,
    PRIMARY KEY (role_id, valid_from, action)
);
CREATE INDEX ix_role_permission_versions_action ON role_permission_versions (action, role_id, valid_from);

CREATE TABLE assignment_versions (
    id TEXT NOT NULL,
    valid_from INTEGER NOT NULL,
    valid_to INTEGER CHECK (valid_to > valid_from),
    principal_id TEXT NOT NULL,
    principal_type TEXT NOT NULL,
    role_id TEXT NOT NULL,
    entity_id TEXT,
    effective_at TEXT NOT NULL,
    expires_at TEXT,
    condition TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (id, valid_from)
);
-- The key of uq_role_assignments, which checks probe, and the version.
CREATE UNIQUE INDEX uq_assignment_versions ON assignment_versions
    (principal_id, principal_type, COALESCE(entity_id, '00000000-0000-0000-0000-000000000000'), role_id, valid_from);
-- As ix_role_assignments_entity_role: ranges of lists of access.
CREATE INDEX ix_assignment_versions_entity_role ON assignment_versions
    (COALESCE(entity_id, '00000000-0000-0000-0000-000000000000'), role_id, principal_id, principal_type);
CREATE INDEX ix_assignment_versions_newest ON assignment_versions (created_at DESC, id DESC);

CREATE TABLE principal_versions (
    type TEXT NOT NULL,
    id TEXT NOT NULL,
    valid_from INTEGER NOT NULL,
    valid_to INTEGER CHECK (valid_to > valid_from),
    -- The personal fields of an erased principal are blank in every version.
    external_id TEXT,
    display_name TEXT,
    attributes TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    erased_at TEXT,
    PRIMARY KEY (type, id, valid_from)
);
CREATE INDEX ix_principal_versions_newest ON principal_versions (created_at DESC, id DESC);

-- Up to which entry the tables above are complete. A change moves it only if they were complete up to the change before
-- it: entries of a program that writes no history leave it behind, so that no answer rests on a gap.
CREATE TABLE history_head (
    id INTEGER PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    -- History has everything up to this registry entry.
    sequence INTEGER NOT NULL DEFAULT 0,
    -- The first revision that can be asked; 0: every revision from the first entry on.
    began INTEGER NOT NULL DEFAULT 0,
    -- Whether rows that the ledger does not explain have been looked for, and have got their baseline.
    filled boolean NOT NULL DEFAULT FALSE
);
INSERT INTO history_head DEFAULT VALUES;

//! Where a statement finds the rows of the registry: in the tables of the present, or among the versions of history.
//!
//! A statement that can be asked about the past takes `now` or `(at …)`, the SQL expression of a sequence, and is
//! compiled once for each. INVARIANT: a table of history is read by these macros only, so that present and past answers
//! come from the same statements.

/// The condition that a version `$v` is the one after entry `$at`.
macro_rules! valid_at {
    ($v:literal, $at:literal) => {
        concat!($v, ".valid_from <= ", $at, " AND (", $v, ".valid_to IS NULL OR ", $v, ".valid_to > ", $at, ")")
    };
}

/// The same for the row of `$table` with the id `$id`, found by two probes of its key however many versions it has.
macro_rules! version_at {
    ($table:literal, $v:literal, $id:expr, $at:literal) => {
        concat!(
            $v,
            ".id = ",
            $id,
            " AND ",
            $v,
            ".valid_from = (SELECT MAX(newest.valid_from) FROM ",
            $table,
            " newest WHERE newest.id = ",
            $id,
            " AND newest.valid_from <= ",
            $at,
            ") AND (",
            $v,
            ".valid_to IS NULL OR ",
            $v,
            ".valid_to > ",
            $at,
            ")"
        )
    };
}

/// [`version_at`] for the principal with this type and id.
macro_rules! principal_at {
    ($v:literal, $type:literal, $id:literal, $at:literal) => {
        concat!(
            $v,
            ".type = ",
            $type,
            " AND ",
            $v,
            ".id = ",
            $id,
            " AND ",
            $v,
            ".valid_from = (SELECT MAX(newest.valid_from) FROM principal_versions newest WHERE newest.type = ",
            $type,
            " AND newest.id = ",
            $id,
            " AND newest.valid_from <= ",
            $at,
            ") AND (",
            $v,
            ".valid_to IS NULL OR ",
            $v,
            ".valid_to > ",
            $at,
            ")"
        )
    };
}

/// `FROM` the entity `$id`, as `$v`, with the condition of a `WHERE`.
macro_rules! from_entity {
    (now, $v:literal, $id:literal) => {
        concat!(" FROM entities ", $v, " WHERE ", $v, ".id = ", $id)
    };
    ((at $at:literal), $v:literal, $id:literal) => {
        concat!(" FROM entity_versions ", $v, " WHERE ", version_at!("entity_versions", $v, $id, $at))
    };
}

/// Joins the entity `$id` of each row before, as `$v`.
macro_rules! join_entity {
    (now, $v:literal, $id:literal) => {
        join_probing!("entities", $v, $v, ".id = ", $id)
    };
    ((at $at:literal), $v:literal, $id:literal) => {
        join_probing!("entity_versions", $v, version_at!("entity_versions", $v, $id, $at))
    };
}

/// Joins the role `$id` of each row before, as `$v`.
macro_rules! join_role {
    (now, $v:literal, $id:literal) => {
        join_probing!("roles", $v, $v, ".id = ", $id)
    };
    ((at $at:literal), $v:literal, $id:literal) => {
        join_probing!("role_versions", $v, version_at!("role_versions", $v, $id, $at))
    };
}

/// Joins the assignments that fulfil a condition, once for each row before, as `$v`. The condition is on the columns of
/// `uq_role_assignments`.
macro_rules! join_assignments {
    (now, $v:literal, $($condition:expr),+) => {
        join_probing!("role_assignments", $v, $($condition),+)
    };
    ((at $at:literal), $v:literal, $($condition:expr),+) => {
        join_probing!("assignment_versions", $v, $($condition,)+ " AND ", valid_at!($v, $at))
    };
}

/// The columns `$columns` of the roles `r` that hold the action `$action`, and of their permission `rp`.
macro_rules! holding_statement {
    (now, $action:literal, $columns:expr) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM permissions p ",
            join_probing!("role_permissions", "rp", "rp.permission_id = p.id"),
            " ",
            join_probing!("roles", "r", "r.id = rp.role_id"),
            " WHERE p.action = ",
            $action
        )
    };
    ((at $at:literal), $action:literal, $columns:expr) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM role_permission_versions rp ",
            join_probing!("role_versions", "r", "r.id = rp.role_id AND r.valid_from = rp.valid_from"),
            " WHERE rp.action = ",
            $action,
            " AND ",
            valid_at!("r", $at)
        )
    };
}

/// The permissions of a list of roles (JSON, `$roles`) whose action is after `$after`, in the order of the actions.
macro_rules! permissions_after_statement {
    (now, $roles:literal, $after:literal, $limit:literal) => {
        concat!(
            "SELECT rp.role_id, p.action, rp.condition FROM ",
            json_items!($roles),
            " ",
            join_probing!("role_permissions", "rp", "rp.role_id = ", uuid_value!("item.value")),
            " ",
            join_probing!("permissions", "p", "p.id = rp.permission_id AND ", byte_order!("p.action"), " > ", $after),
            " ORDER BY ",
            byte_order!("p.action"),
            ", rp.role_id LIMIT ",
            $limit
        )
    };
    ((at $at:literal), $roles:literal, $after:literal, $limit:literal) => {
        concat!(
            "SELECT rp.role_id, rp.action, rp.condition FROM ",
            json_items!($roles),
            " ",
            join_probing!("role_versions", "r", version_at!("role_versions", "r", uuid_value!("item.value"), $at)),
            " ",
            join_probing!(
                "role_permission_versions",
                "rp",
                "rp.role_id = r.id AND rp.valid_from = r.valid_from AND ",
                byte_order!("rp.action"),
                " > ",
                $after
            ),
            " ORDER BY ",
            byte_order!("rp.action"),
            ", rp.role_id LIMIT ",
            $limit
        )
    };
}

/// The table of assignments `a`, read by the index of the ranges of lists, with the conditions of a `WHERE`.
macro_rules! from_assignments_by_range {
    (now) => {
        concat!("role_assignments a ", only_by_index!("ix_role_assignments_entity_role"), " WHERE ")
    };
    ((at $at:literal)) => {
        concat!(
            "assignment_versions a ",
            only_by_index!("ix_assignment_versions_entity_role"),
            " WHERE ",
            valid_at!("a", $at),
            " AND "
        )
    };
}

/// The entities as a table, for a condition by which an index finds them.
macro_rules! entity_source {
    (now) => {
        "entities"
    };
    ((at $at:literal)) => {
        concat!("(SELECT * FROM entity_versions valid WHERE ", valid_at!("valid", $at), ")")
    };
}

/// The assignments as a table, for a condition by which an index finds them.
macro_rules! assignment_source {
    (now) => {
        "role_assignments"
    };
    ((at $at:literal)) => {
        concat!("(SELECT * FROM assignment_versions valid WHERE ", valid_at!("valid", $at), ")")
    };
}

/// How far the ledger `h` and history `x` have come, and what a moment is found by: the state of the time `$at`, the
/// first state whose time is known, and the time of the entry `$revision`.
macro_rules! moment_columns {
    ($at:literal, $revision:literal) => {
        concat!(
            "h.sequence AS head, x.sequence AS complete_to, x.began AS began, x.filled AS filled, \
             (SELECT t.sequence FROM registry_times t WHERE t.recorded_at <= ",
            $at,
            " ORDER BY t.recorded_at DESC, t.sequence DESC LIMIT 1) AS of_time, \
             (SELECT MIN(t.sequence) FROM registry_times t) AS first_timed, \
             COALESCE((SELECT l.occurred_at FROM audit_logs l WHERE l.sequence = ",
            $revision,
            "), (SELECT d.occurred_at FROM dropped_entries d WHERE d.sequence = ",
            $revision,
            ")) AS entry_time"
        )
    };
}

/// Whether the personal fields of the principal `$v` have been erased since the moment of the question.
macro_rules! erased_since {
    (now, $v:literal) => {
        "FALSE"
    };
    ((at $at:literal), $v:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM principals erased WHERE erased.type = ",
            $v,
            ".type AND erased.id = ",
            $v,
            ".id AND erased.erased_at IS NOT NULL)"
        )
    };
}

/// Joins the principal with this type and id, once for each row before, as `$v`.
#[allow(unused_macros, reason = "an embedded database has no statement for many principals")]
macro_rules! join_principal {
    (now, $v:literal, $type:literal, $id:literal) => {
        join_probing!("principals", $v, $v, ".type = ", $type, " AND ", $v, ".id = ", $id)
    };
    ((at $at:literal), $v:literal, $type:literal, $id:literal) => {
        join_probing!("principal_versions", $v, principal_at!($v, $type, $id, $at))
    };
}

/// `FROM` the principal with this type and id, as `$v`, with the condition of a `WHERE`.
macro_rules! from_principal {
    (now, $v:literal, $type:literal, $id:literal) => {
        concat!(" FROM principals ", $v, " WHERE ", $v, ".type = ", $type, " AND ", $v, ".id = ", $id)
    };
    ((at $at:literal), $v:literal, $type:literal, $id:literal) => {
        concat!(" FROM principal_versions ", $v, " WHERE ", principal_at!($v, $type, $id, $at))
    };
}

/// The principal with this type and id as a table: at most one row.
macro_rules! principal_source {
    (now, $type:literal, $id:literal) => {
        concat!("(SELECT *", from_principal!(now, "known", $type, $id), ")")
    };
    ((at $at:literal), $type:literal, $id:literal) => {
        concat!("(SELECT *", from_principal!((at $at), "known", $type, $id), ")")
    };
}

/// The id under which the permissions of roles have the action `$action`.
macro_rules! from_action {
    (now, $action:literal) => {
        concat!("SELECT id FROM permissions WHERE action = ", $action)
    };
    ((at $at:literal), $action:literal) => {
        concat!("SELECT ", $action, " AS id")
    };
}

/// The condition of a permission `rp` of the role that the row `$role` joined, by the id of [`from_action`].
macro_rules! from_permission {
    (now, $role:literal, $action_id:literal) => {
        concat!(" FROM role_permissions rp WHERE rp.role_id = ", $role, ".id AND rp.permission_id = ", $action_id)
    };
    ((at $at:literal), $role:literal, $action_id:literal) => {
        concat!(
            " FROM role_permission_versions rp WHERE rp.role_id = ",
            $role,
            ".id AND rp.valid_from = ",
            $role,
            ".valid_from AND rp.action = ",
            $action_id
        )
    };
}

/// The registry as statements read it that are built while the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum AsOf {
    /// The tables of the present.
    Now,
    /// The versions after the entry with this sequence.
    Entry(i64),
}

//! The dialect of SQLite for notes of changed rows: what a state of the registry is, and which notes are newer.
//!
//! Both adapters' `changed_rows` modules define the same names.

/// The number of triggers that note changed rows and renew decisions.
pub(super) const REGISTRY_TRIGGERS: i64 = 42;

/// Whether a note of a changed row may be removed.
macro_rules! written_an_hour_ago {
    () => {
        "written_at < CAST(strftime('%s', 'now', '-1 hour') AS INTEGER)"
    };
}

/// The column by which notes of changed rows are in the order in which they become older than a state.
macro_rules! changed_rows_order {
    () => {
        "id"
    };
}

/// Nothing: the numbers of notes belong to the file.
macro_rules! remove_foreign_notes {
    () => {
        [] as [&str; 0]
    };
}

/// The state that a statement sees in the words of the database, the state of the schema, and the number of EPR's own
/// triggers.
macro_rules! graph_position {
    () => {
        "SELECT CAST(COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'changed_rows'), 0) AS TEXT) AS snapshot, \
         CAST((SELECT schema_version FROM pragma_schema_version) AS TEXT) AS triggers, \
         (SELECT COUNT(*) FROM sqlite_master t WHERE t.type = 'trigger' AND t.tbl_name IN ('entities', 'roles', \
           'permissions', 'role_permissions', 'role_assignments', 'principals', 'changed_rows') \
           AND (t.name GLOB '*_rows' OR t.name GLOB '*_decisions')) AS enabled"
    };
}

/// Whether a row of `changed_rows c` was written after a state.
macro_rules! changed_after {
    ($position:literal) => {
        concat!("c.id > CAST(", $position, " AS INTEGER)")
    };
}

/// Whether rows that were written after a state may be missing, by `changed_rows_head h`; also when the file was
/// replaced by an earlier one.
macro_rules! changes_removed_after {
    ($position:literal) => {
        concat!(
            "(h.removed_to > CAST(",
            $position,
            " AS INTEGER) OR COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'changed_rows'), 0) < CAST(",
            $position,
            " AS INTEGER))"
        )
    };
}

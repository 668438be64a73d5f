//! The dialect of PostgreSQL for notes of changed rows: what a state of the registry is, and which notes are newer.
//!
//! Both adapters' `changed_rows` modules define the same names.

/// The number of triggers that note changed rows and renew decisions. Each must fire always: an ordinary one does not
/// while logical replication or a restore applies rows.
pub(super) const REGISTRY_TRIGGERS: i64 = 28;

/// Whether a note of a changed row may be removed: an old one of a transaction that every later state sees. A
/// transaction that stays open would make each state older than the notes that were removed.
macro_rules! written_an_hour_ago {
    () => {
        "written_at < now() - interval '1 hour' AND transaction < pg_snapshot_xmin(pg_current_snapshot())"
    };
}

/// Removes notes with numbers of transactions that this server has not reached: those of another server, which a dump
/// brought here. A head in the future would make every copy in memory read the whole registry at each change.
macro_rules! remove_foreign_notes {
    () => {
        [
            "DELETE FROM changed_rows WHERE transaction > pg_snapshot_xmax(pg_current_snapshot())",
            "UPDATE changed_rows_head \
             SET removed_to = CAST(CAST(CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS numeric) - 1 \
               AS text) AS xid8) \
             WHERE id = 1 AND removed_to > pg_snapshot_xmax(pg_current_snapshot())",
        ]
    };
}

/// The column by which notes of changed rows are in the order in which they become older than a state.
macro_rules! changed_rows_order {
    () => {
        "transaction"
    };
}

/// The state that a statement sees in the words of the database, the state of the triggers of the registry (a change of
/// a trigger writes its row anew), and the number of EPR's own that fire always.
macro_rules! graph_position {
    () => {
        "SELECT CAST(pg_current_snapshot() AS text) AS snapshot, \
         COALESCE(md5(string_agg(concat_ws(' ', t.oid, t.xmin, t.tgenabled), ',' ORDER BY t.oid)), '') AS triggers, \
         count(*) FILTER (WHERE t.tgenabled = 'A' AND p.proname LIKE 'epr\\_%' \
           AND (t.tgname LIKE '%\\_changed\\_rows' OR t.tgname LIKE '%\\_decisions')) AS enabled \
         FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid \
         WHERE NOT t.tgisinternal AND t.tgrelid IN (CAST(to_regclass('entities') AS oid), \
           CAST(to_regclass('roles') AS oid), CAST(to_regclass('permissions') AS oid), \
           CAST(to_regclass('role_permissions') AS oid), CAST(to_regclass('role_assignments') AS oid), \
           CAST(to_regclass('principals') AS oid), CAST(to_regclass('changed_rows') AS oid))"
    };
}

/// Whether a row of `changed_rows c` was written after a state.
macro_rules! changed_after {
    ($position:literal) => {
        concat!(
            "c.transaction >= pg_snapshot_xmin(CAST(",
            $position,
            " AS pg_snapshot)) AND NOT pg_visible_in_snapshot(c.transaction, CAST(",
            $position,
            " AS pg_snapshot))"
        )
    };
}

/// Whether rows that were written after a state may be missing, by `changed_rows_head h`.
macro_rules! changes_removed_after {
    ($position:literal) => {
        concat!("h.removed_to >= pg_snapshot_xmin(CAST(", $position, " AS pg_snapshot))")
    };
}

//! The privileges that the service needs on PostgreSQL when it does not own its tables: the one list of them.
//!
//! Owns the list and the statements made from it. Must hold every table of the migrations, which a test compares.

use std::fmt::Write as _;

/// Every table, with the privileges that programs with `RUN_MIGRATIONS=false` use on it. Identity columns need no
/// privilege on their sequences, foreign keys are checked with the rights of the owner, and so are the triggers that
/// invalidate caches (their functions are `SECURITY DEFINER`).
pub const TABLES: &[(&str, &[&str])] = &[
    ("_sqlx_migrations", &["SELECT"]),
    ("entities", &["SELECT", "INSERT", "UPDATE"]),
    ("roles", &["SELECT", "INSERT", "UPDATE"]),
    ("permissions", &["SELECT", "INSERT"]),
    ("role_permissions", &["SELECT", "INSERT", "DELETE"]),
    ("role_assignments", &["SELECT", "INSERT", "DELETE"]),
    ("principals", &["SELECT", "INSERT", "UPDATE"]),
    ("principal_keys", &["SELECT", "INSERT", "DELETE"]),
    ("list_keys", &["SELECT", "INSERT", "DELETE"]),
    ("ledger_name_keys", &["SELECT", "INSERT"]),
    ("idempotency_keys", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("browser_sessions", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("audit_logs", &["SELECT", "INSERT"]),
    ("ledger_border", &["SELECT"]),
    ("dropped_entries", &["SELECT"]),
    ("audit_chain_head", &["SELECT", "UPDATE"]),
    ("registry_head", &["SELECT", "UPDATE"]),
    ("ledger_incarnations", &["SELECT", "INSERT"]),
    ("history_head", &["SELECT", "UPDATE"]),
    ("registry_times", &["SELECT"]),
    ("entity_versions", &["SELECT", "INSERT", "UPDATE"]),
    ("role_versions", &["SELECT", "INSERT", "UPDATE"]),
    ("role_permission_versions", &["SELECT", "INSERT"]),
    ("assignment_versions", &["SELECT", "INSERT", "UPDATE"]),
    ("principal_versions", &["SELECT", "INSERT", "UPDATE"]),
    ("audit_checkpoints", &["SELECT", "INSERT"]),
    ("audit_tiles", &["SELECT", "INSERT"]),
    ("audit_cosignatures", &["SELECT", "INSERT"]),
    ("audit_logs_set_aside", &["SELECT"]),
    ("audit_rejections", &["SELECT", "INSERT", "UPDATE"]),
    ("audit_verification", &["SELECT", "INSERT", "UPDATE"]),
    ("platform_events", &["SELECT", "INSERT", "UPDATE"]),
    ("cache_renewals", &["SELECT", "DELETE"]),
    ("changed_rows", &["SELECT", "DELETE"]),
    ("changed_rows_head", &["SELECT", "UPDATE"]),
    ("cache_namespace", &["SELECT"]),
];

/// What `epr audit drop` uses besides, as the owner of the tables.
pub(crate) const DROPPING: &[(&str, &[&str])] = &[
    ("_sqlx_migrations", &["UPDATE"]),
    ("audit_logs", &["DELETE"]),
    ("ledger_border", &["UPDATE"]),
    ("dropped_entries", &["INSERT"]),
];

/// The statements that give `role` what it needs on the tables in `schema`. Both names may be any that PostgreSQL
/// takes.
#[must_use]
pub fn statements(role: &str, schema: &str) -> String {
    let (role, schema) = (quoted(role), quoted(schema));
    let mut sql = format!("GRANT USAGE ON SCHEMA {schema} TO {role};\n");
    for (table, privileges) in TABLES {
        // Writing into a string does not fail.
        let _ = writeln!(sql, "GRANT {} ON {schema}.{table} TO {role};", privileges.join(", "));
    }
    sql
}

/// An identifier in quotes: a bare one could be a word of SQL, such as `user`.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_end_their_quotes() {
        assert_eq!(quoted("Epr service"), "\"Epr service\"");
        assert_eq!(quoted("a\"; DROP TABLE roles; --"), "\"a\"\"; DROP TABLE roles; --\"");
        assert!(
            statements("epr_service", "public")
                .contains("GRANT SELECT ON \"public\".cache_namespace TO \"epr_service\";\n")
        );
    }
}

//! The migrations of both databases, compiled into the program. Must never list a file for one database only.

use std::borrow::Cow;

use sqlx::SqlStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// The migrations in `migrations/$folder`. Adding one: add its file to both folders, and its name here.
macro_rules! migrations {
    ($folder:literal) => {
        migrations!(
            $folder,
            "0001_registry",
            "0002_ledger",
            "0003_events",
            "0004_audit_rejections",
            "0005_cache_renewals",
            "0006_event_trace",
            "0007_ledger_guard",
            "0008_ledger_filters",
            "0009_cache_renewals_bounded",
            "0011_former_numbers",
            "0012_entity_identity",
            "0013_principals",
            "0014_conditions",
            "0015_attribute_renewals",
            "0016_lists_of_access",
            "0017_lists_of_resources",
            "0018_incarnation",
            "0019_history",
            "0020_list_filters",
            "0021_history_time",
            "0022_changes",
            "0023_idempotency_keys",
            "0024_own_entries",
            "0025_ledger_members",
            "0027_checkpoints",
            "0028_cosignatures",
            "0029_reincarnation",
            "0030_registry_times",
            "0031_earlier_registry_times",
            "0032_past_lists_of_one_type",
            "0034_authzen",
            "0037_changed_rows",
        )
    };
    ($folder:literal, $($name:literal,)+) => {
        $crate::store::migrations::migrator(&[
            $((
                $name,
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations/", $folder, "/", $name, ".sql")),
            ),)+
        ])
    };
}

/// Builds the migrator from names (`0001_registry`) and texts, with the versions, descriptions and checksums that sqlx
/// gives to files of these names.
pub(super) fn migrator(files: &[(&'static str, &'static str)]) -> Migrator {
    let migration = |(name, sql): &(&'static str, &'static str)| {
        let (version, description) = name.split_once('_')?;
        let description = Cow::Owned(description.replace('_', " "));
        let outside_a_transaction = sql.starts_with("-- no-transaction");
        let sql = SqlStr::from_static(sql);
        Some(Migration::new(version.parse().ok()?, description, MigrationType::Simple, sql, outside_a_transaction))
    };
    Migrator::with_migrations(files.iter().filter_map(migration).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// The names of `migrator`, as files are named.
    fn names(migrator: &Migrator) -> BTreeSet<String> {
        let name = |one: &Migration| format!("{:04}_{}.sql", one.version, one.description.replace(' ', "_"));
        migrator.iter().map(name).collect()
    }

    #[test]
    fn every_file_of_both_folders_is_listed() {
        let listed = [("postgres", migrations!("postgres")), ("sqlite", migrations!("sqlite"))];
        for (folder, migrator) in listed {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations").join(folder);
            let files = std::fs::read_dir(folder).unwrap();
            let files: BTreeSet<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
            assert_eq!(names(&migrator), files);
        }
    }
}

//! The migrations of both databases, compiled into the program, and the oldest program that each of them admits. Must
//! never list a file for one database only.

use std::borrow::Cow;

use sqlx::SqlStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// The migrations in `migrations/$folder`. Adding one: add its file to both folders, its name here, and the oldest
/// program that it admits to `migrations/oldest_programs.tsv`.
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
            "0038_changed_rows_complete",
            "0039_oldest_programs",
            "0040_browser_sessions",
            "0041_last_verification",
            "0042_attention",
            "0043_ledger_border",
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

/// The migration that keeps the oldest admitted program of later ones in the database.
pub(super) const STATED_FROM: i64 = 39;

const OLDEST_PROGRAMS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations/oldest_programs.tsv"));

/// The lines of the file: migration and oldest program.
fn stated() -> impl Iterator<Item = (i64, i64)> {
    OLDEST_PROGRAMS.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut columns = line.split('\t');
        Some((columns.next()?.parse().ok()?, columns.next()?.parse().ok()?))
    })
}

/// Returns the oldest program that can run on the schema after a migration, by the newest migration that the program
/// knows.
pub(super) fn oldest_program(version: i64) -> i64 {
    stated().find(|(migration, _)| *migration == version).map_or(version, |(_, oldest)| oldest)
}

/// Returns the oldest program that can run on a schema that this program has migrated, by the newest migration that the
/// older program knows.
#[must_use]
pub fn oldest_admitted_program() -> i64 {
    stated().map(|(_, oldest)| oldest).max().unwrap_or(0)
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

    #[test]
    fn every_migration_states_the_oldest_program_that_it_admits() {
        let versions: BTreeSet<i64> = migrations!("sqlite").iter().map(|one| one.version).collect();
        let lines = OLDEST_PROGRAMS.lines().filter(|line| !line.starts_with('#')).count();
        let stated: Vec<_> = stated().collect();
        assert_eq!(stated.len(), lines, "a line of migrations/oldest_programs.tsv has no two numbers");
        let listed: BTreeSet<i64> = stated.iter().map(|(migration, _)| *migration).collect();
        assert_eq!(listed.len(), lines, "a migration is listed twice in migrations/oldest_programs.tsv");
        let expected: BTreeSet<i64> = versions.range(STATED_FROM..).copied().collect();
        assert_eq!(listed, expected, "migrations/oldest_programs.tsv lists every migration from {STATED_FROM} on");
        for (migration, oldest) in stated {
            assert!((STATED_FROM..=migration).contains(&oldest), "migration {migration} admits program {oldest}");
            assert!(versions.contains(&oldest), "migration {migration} admits program {oldest}, which does not exist");
        }
    }
}

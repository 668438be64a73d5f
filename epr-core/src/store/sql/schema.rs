//! Migrating the schema, and reading its version.
//!
//! Reads first and changes only what is missing: a role without the right to create anything starts on a current
//! schema. Steps that belong together are one transaction, so that a refusal leaves nothing behind. Must never mistake
//! another application's tables in the same schema for EPR's.

use std::path::PathBuf;

use sqlx::migrate::{Migrate as _, MigrateError, Migration};
use sqlx::{AssertSqlSafe, Row as _};

use super::dialect::{
    Conn, MIGRATIONS, Pool, Row, STEP_DEADLINE, acquire, applied_migrations, apply_outside, begin_disposable,
    check_database, classify, commit, driver, explain_migration_error, lock_schema, may_create, with_deadline,
};
use super::{history, takeover};
use crate::store::migrations::{STATED_FROM, oldest_program};
use crate::store::{HistoryReport, Result, SchemaState, StoreError, TakeoverReport};

/// The means of migrations besides a connection.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The lock file, for a database that has no lock between processes.
    pub(crate) lock_file: Option<PathBuf>,
}

/// The table of applied migrations, in the driver's form.
pub(in super::super) const APPLIED: &str = "_sqlx_migrations";

/// The description of the first migration in that table: another application's table has another one.
const FIRST: &str = "registry";

pub(super) fn known() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// One row of the table of applied migrations.
pub(in super::super) struct Applied {
    version: i64,
    description: String,
    checksum: Vec<u8>,
}

pub(in super::super) fn read_applied(row: &Row) -> Result<Applied> {
    Ok(Applied {
        version: row.try_get("version").map_err(classify)?,
        description: row.try_get("description").map_err(classify)?,
        checksum: row.try_get("checksum").map_err(classify)?,
    })
}

/// Returns whether these rows are EPR's; an empty table is taken for EPR's.
pub(in super::super) fn are_ours(applied: &[Applied]) -> bool {
    applied.first().is_none_or(|first| first.version == 1 && first.description == FIRST)
}

/// Applies missing migrations.
pub(super) async fn migrate(pool: &Pool, target: &Target) -> Result<SchemaState> {
    let _lock = match &target.lock_file {
        Some(path) => Some(exclusive(path.clone()).await?),
        None => None,
    };
    loop {
        let state = state(pool).await?;
        if state.applied >= state.known {
            state.check_start()?;
            report_history(&history::fill(pool).await?);
            return Ok(state);
        }
        step(pool).await?;
    }
}

/// Logs what filling the tables of history found, if it found anything.
fn report_history(report: &HistoryReport) {
    for problem in &report.unreplayable {
        tracing::warn!(sequence = problem.sequence, action = problem.action, why = problem.why, "history_unreplayable");
    }
    for row in &report.baselines {
        tracing::warn!(row = %row, "history_baseline");
    }
    if !report.is_empty() {
        tracing::info!(
            entries = report.entries,
            unreplayable = report.unreplayable_count,
            baselines = report.baseline_count,
            "history_filled"
        );
    }
}

/// Creates the whole schema, or takes over an older one, or applies the next migration.
async fn step(pool: &Pool) -> Result<()> {
    let mut tx = begin_disposable(pool).await?;
    lock_schema(&mut tx).await?;
    // Another process may have done it while this one waited.
    let applied = applied_in(&mut tx).await?;
    let Some(next) = missing(&applied).next() else { return Ok(()) };
    if applied.is_empty() {
        may_create(&mut tx).await?;
        if takeover::older_tables(&mut tx).await? {
            let report = takeover::take_over(&mut tx).await?;
            report.refuse_if_blocked()?;
            for problem in &report.problems {
                tracing::warn!(
                    table = problem.table,
                    id = problem.id,
                    column = problem.column,
                    problem = problem.problem,
                    remedy = problem.remedy,
                    "takeover_adjusted"
                );
            }
        } else {
            apply_all(&mut tx).await?;
        }
    } else if next.no_tx {
        // This transaction has the lock and reads nothing meanwhile.
        apply_outside(pool, next).await?;
        note(&mut tx, next).await?;
    } else {
        apply(&mut tx, next).await?;
    }
    commit(tx).await
}

/// Takes older tables over in a transaction that is rolled back; returns the problems.
pub(super) async fn plan_takeover(pool: &Pool, target: &Target) -> Result<Option<TakeoverReport>> {
    let _lock = match &target.lock_file {
        Some(path) => Some(exclusive(path.clone()).await?),
        None => None,
    };
    let mut tx = begin_disposable(pool).await?;
    lock_schema(&mut tx).await?;
    if !applied_in(&mut tx).await?.is_empty() || !takeover::older_tables(&mut tx).await? {
        return Ok(None);
    }
    may_create(&mut tx).await?;
    // The transaction is dropped and rolled back.
    takeover::take_over(&mut tx).await.map(Some)
}

/// Returns the migrations that are not among `applied`, which may lack one below its newest.
fn missing(applied: &[i64]) -> impl Iterator<Item = &'static Migration> {
    MIGRATIONS.iter().filter(|migration| !applied.contains(&migration.version))
}

/// Returns the version up to which every migration is applied; the newest applied one when all known ones are.
pub(super) fn version(applied: &[i64]) -> i64 {
    let newest = applied.iter().copied().max().unwrap_or(0);
    match missing(applied).next() {
        Some(first) if newest <= known() => first.version - 1,
        _ => newest,
    }
}

/// Applies to an empty schema the migrations that can run in a transaction. The others only create indexes; they follow
/// later.
pub(super) async fn apply_all(conn: &mut Conn) -> Result<()> {
    driver(&mut *conn).ensure_migrations_table(APPLIED).await.map_err(failed)?;
    for migration in missing(&[]).filter(|migration| !migration.no_tx) {
        apply(&mut *conn, migration).await?;
    }
    Ok(())
}

async fn apply(conn: &mut Conn, migration: &'static Migration) -> Result<()> {
    let done = sqlx::raw_sql(migration.sql.clone()).execute(driver(&mut *conn)).await;
    done.map_err(|error| explain_migration_error(error, migration.version))?;
    note(conn, migration).await
}

/// Records that a migration was applied, and the oldest program that it admits. The table has no column for that before
/// the migration that adds it.
async fn note(conn: &mut Conn, migration: &Migration) -> Result<()> {
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES ($1, $2, TRUE, \
         $3, -1)",
    )
    .bind(migration.version)
    .bind(&*migration.description)
    .bind(&*migration.checksum)
    .execute(&mut *conn)
    .await
    .map_err(|error| explain_migration_error(error, migration.version))?;
    if migration.version >= STATED_FROM {
        sqlx::query("UPDATE _sqlx_migrations SET oldest_program = $2 WHERE version = $1")
            .bind(migration.version)
            .bind(oldest_program(migration.version))
            .execute(conn)
            .await
            .map_err(|error| explain_migration_error(error, migration.version))?;
    }
    Ok(())
}

fn failed(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) => explain_migration_error(error, 0),
        error => StoreError::Migration(error.to_string()),
    }
}

/// Returns the version of the schema.
pub(super) async fn state(pool: &Pool) -> Result<SchemaState> {
    let mut conn = acquire(pool).await?;
    let read = with_deadline(STEP_DEADLINE, async {
        check_database(&mut conn).await?;
        let applied = applied_in(&mut conn).await?;
        let stated = stated_by_unknown(&mut conn, &applied).await?;
        Ok((applied, stated))
    });
    let (applied, stated) = read.await?;
    state_of(&applied, &stated)
}

fn is_known(version: i64) -> bool {
    MIGRATIONS.iter().any(|migration| migration.version == version)
}

/// Returns the oldest program that each applied migration admits which this program does not know; `None` where it does
/// not say.
async fn stated_by_unknown(conn: &mut Conn, applied: &[i64]) -> Result<Vec<(i64, Option<i64>)>> {
    if applied.iter().all(|version| is_known(*version)) {
        return Ok(Vec::new());
    }
    let column = if applied.contains(&STATED_FROM) { "oldest_program" } else { "CAST(NULL AS bigint)" };
    let read =
        format!("SELECT version, {column} AS oldest_program FROM _sqlx_migrations WHERE success ORDER BY version");
    let rows = sqlx::query(AssertSqlSafe(read)).fetch_all(conn).await.map_err(classify)?;
    let mut stated = Vec::new();
    for row in rows {
        let version: i64 = row.try_get("version").map_err(classify)?;
        if !is_known(version) {
            stated.push((version, row.try_get("oldest_program").map_err(classify)?));
        }
    }
    Ok(stated)
}

/// Returns the state of a schema from its applied migrations and from what those say that this program does not know.
fn state_of(applied: &[i64], stated: &[(i64, Option<i64>)]) -> Result<SchemaState> {
    let state = SchemaState { applied: version(applied), known: known(), oldest_program: None };
    if let (Some((unknown, _)), Some(lacking)) = (stated.last(), missing(applied).next())
        && *unknown > state.known
    {
        let lacking = lacking.version;
        return Err(StoreError::Migration(format!(
            "migration {unknown} is applied, which this program does not know, and migration {lacking} is missing: run \
             `epr migrate` of a program that knows both"
        )));
    }
    // Two programs of which neither is the older one: the numbers do not say which of them can run.
    let parallel = |(unknown, oldest): &&(i64, Option<i64>)| {
        *unknown < state.known && oldest.is_none_or(|oldest| !is_known(oldest))
    };
    if let Some((unknown, _)) = stated.iter().find(parallel) {
        return Err(StoreError::Migration(format!(
            "migration {unknown} is applied, which this program does not know although it knows migration {}: run a \
             program that knows both",
            state.known
        )));
    }
    let by_known = applied.iter().filter(|version| is_known(**version)).map(|version| oldest_program(*version)).max();
    let oldest_program =
        stated.iter().try_fold(by_known.unwrap_or(0), |newest, (_, oldest)| oldest.map(|oldest| newest.max(oldest)));
    Ok(SchemaState { oldest_program, ..state })
}

/// Returns the versions of the applied migrations.
pub(super) async fn applied_in(conn: &mut Conn) -> Result<Vec<i64>> {
    let applied = applied_migrations(conn).await?;
    for one in &applied {
        let known = MIGRATIONS.iter().find(|migration| migration.version == one.version);
        if known.is_some_and(|migration| *migration.checksum != *one.checksum) {
            let version = one.version;
            return Err(StoreError::Migration(format!(
                "migration {version} was applied in another form than this program's"
            )));
        }
    }
    Ok(applied.into_iter().map(|one| one.version).collect())
}

/// Locks a file beside the database until the file is closed or the process ends.
async fn exclusive(path: PathBuf) -> Result<std::fs::File> {
    tokio::task::spawn_blocking(move || {
        let lock = || {
            let file = std::fs::File::create(&path)?;
            file.lock()?;
            Ok(file)
        };
        lock().map_err(|error: std::io::Error| {
            StoreError::Unavailable(format!("the lock file {} cannot be used: {error}", path.display()).into())
        })
    })
    .await
    .map_err(|error| StoreError::Backend(error.into()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_that_is_missing_below_the_newest_one_is_seen() {
        let all: Vec<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
        let newest = known();
        assert_eq!((version(&all), version(&[]), version(&[1, 2])), (newest, 0, 2));
        let without: Vec<i64> = all.iter().copied().filter(|version| *version != 3).collect();
        assert_eq!(version(&without), 2);
        assert_eq!(missing(&without).map(|migration| migration.version).collect::<Vec<_>>(), [3]);
        let newer: Vec<i64> = without.into_iter().chain([newest + 1]).collect();
        assert_eq!(version(&newer), newest + 1);
    }

    #[test]
    fn a_newer_schema_admits_the_programs_that_each_of_its_migrations_names() {
        let all: Vec<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
        let newest = known();
        let with = |stated: &[(i64, Option<i64>)]| {
            let applied: Vec<i64> = all.iter().copied().chain(stated.iter().map(|(version, _)| *version)).collect();
            state_of(&applied, stated).unwrap()
        };
        let current = with(&[]);
        assert!(current.oldest_program.is_some_and(|oldest| oldest <= newest));
        current.check_start().unwrap();
        with(&[(newest + 1, Some(newest)), (newest + 2, Some(STATED_FROM))]).check_start().unwrap();
        // One that does not admit this program is enough, wherever it is.
        for stated in [
            [(newest + 1, Some(newest + 1)), (newest + 2, Some(newest))],
            [(newest + 1, Some(newest)), (newest + 2, Some(newest + 1))],
        ] {
            let refused = with(&stated);
            assert_eq!(refused.oldest_program, Some(newest + 1));
            let error = refused.check_start().unwrap_err();
            assert!(matches!(error, StoreError::SchemaTooNew { oldest_program: Some(_), .. }), "{error}");
            refused.check_running().unwrap_err();
        }
        let silent = with(&[(newest + 1, Some(newest)), (newest + 2, None)]);
        assert_eq!(silent.oldest_program, None);
        silent.check_start().unwrap_err();
        silent.check_running().unwrap();
    }

    #[test]
    fn a_schema_of_two_programs_of_which_neither_is_older_is_refused() {
        let all: Vec<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
        let newest = known();
        // 10 is the number of no migration.
        let parallel = |oldest| state_of(&all.iter().copied().chain([10]).collect::<Vec<_>>(), &[(10, oldest)]);
        parallel(None).unwrap_err();
        parallel(Some(10)).unwrap_err();
        parallel(Some(9)).unwrap().check_start().unwrap();
        let gap: Vec<i64> = all.iter().copied().filter(|version| *version != 3).chain([newest + 1]).collect();
        let error = state_of(&gap, &[(newest + 1, Some(newest))]).unwrap_err().to_string();
        assert!(error.contains("migration 3 is missing"), "{error}");
    }
}

//! `epr migrate --back`: the older service's tables replace those of EPR.
//!
//! Must never remove anything that was written since the takeover before it is in files that are synced to disk.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use epr_core::Epr;
use epr_core::store::{ScanRange, SinceTakeover};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::Outcome;
use crate::output::{Output, count, notice};

pub(super) async fn run(epr: &Epr, export: Option<&Path>, out: &mut Output) -> Outcome {
    let since = epr.since_takeover().await?;
    let since = since.ok_or("there is nothing to go back to: no tables of an older service are kept here")?;
    let added = added_types(epr).await?;
    match export {
        Some(folder) => {
            write_all(epr, &since, folder).await?;
            if let Some(added) = &added {
                notice(added);
            }
        }
        None if added.is_some() || !since.is_empty() => {
            let added = added.map(|added| format!("{added} ")).unwrap_or_default();
            return Err(format!(
                "{added}{} were written since the takeover, and the older service cannot read them: give a folder with \
                 --export to keep \
                 them in files",
                summary(&since)
            )
            .into());
        }
        None => {}
    }
    epr.hand_back(&since).await?;
    if out.json {
        out.object(&json!({"handed_back": true, "since_takeover": since, "exported_to": export}))?;
        return Ok(ExitCode::SUCCESS);
    }
    out.line(format_args!("The tables of the older service are restored; those of EPR are removed."))?;
    if let Some(folder) = export {
        out.line(format_args!("{} of EPR are kept in {}.", summary(&since), folder.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The sentence about entity types that the older service does not have; `None` when none is in use.
async fn added_types(epr: &Epr) -> Result<Option<String>, epr_core::Error> {
    let added = epr.added_types_in_use().await?;
    let types: Vec<_> = added.iter().map(ToString::to_string).collect();
    let sentence = || format!("The older service does not have these entity types: {}.", types.join(", "));
    Ok((!types.is_empty()).then(sentence))
}

fn summary(since: &SinceTakeover) -> String {
    let count = |number: i64, one, many| count(u64::try_from(number).unwrap_or(0), one, many);
    format!(
        "{}, {} and {}",
        count(since.entries(), "ledger entry", "ledger entries"),
        count(since.events, "event", "events"),
        count(since.rejections, "rejected message", "rejected messages")
    )
}

/// Writes the ledger entries since the takeover, and the rows of the other tables, to an empty folder.
async fn write_all(epr: &Epr, since: &SinceTakeover, folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
    if fs::read_dir(folder).map_err(|error| unwritable(folder, &error))?.next().is_some() {
        return Err(format!("{} is not empty: give a new folder", folder.display()).into());
    }
    let mut ledger = Lines::create(folder.join("ledger.jsonl"))?;
    let range = ScanRange { from: since.last_older_entry + 1, to: since.last_entry };
    if since.entries() > 0 {
        epr.export_ledger(range, &mut |entry| ledger.write(&entry)).await?;
    }
    let entries = ledger.finish()?;
    let expected = u64::try_from(since.entries()).unwrap_or(0);
    if entries != expected {
        return Err(format!("the ledger returned {entries} of {expected} entries: run `epr audit verify`").into());
    }
    let mut rows = Lines::create(folder.join("tables.jsonl"))?;
    epr.scan_since_takeover(&mut |row| match RawValue::from_string(row.json) {
        Ok(values) => rows.write(&Row { table: row.table, row: &values }),
        Err(error) => rows.fail(error.into()),
    })
    .await?;
    rows.finish()?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| unwritable(folder, &error))?;
    notice(&format!("{} written to {}.", summary(since), folder.display()));
    Ok(())
}

/// A line of `tables.jsonl`.
#[derive(Serialize)]
struct Row<'a> {
    table: &'static str,
    row: &'a RawValue,
}

fn unwritable(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be written: {error}", path.display())
}

/// A file of JSON lines that is synced to disk when it is finished.
struct Lines {
    path: PathBuf,
    file: BufWriter<File>,
    written: u64,
    error: Option<io::Error>,
}

impl Lines {
    fn create(path: PathBuf) -> Result<Self, String> {
        let file = File::create_new(&path).map_err(|error| unwritable(&path, &error))?;
        Ok(Self { path, file: BufWriter::new(file), written: 0, error: None })
    }

    /// Writes a line; returns whether to continue.
    fn write(&mut self, line: &impl Serialize) -> bool {
        let written = serde_json::to_writer(&mut self.file, line).map_err(io::Error::from);
        match written.and_then(|()| self.file.write_all(b"\n")) {
            Ok(()) => self.written += 1,
            Err(error) => return self.fail(error),
        }
        true
    }

    fn fail(&mut self, error: io::Error) -> bool {
        self.error = Some(error);
        false
    }

    /// Syncs the file; returns the number of lines.
    fn finish(mut self) -> Result<u64, String> {
        let done = self.error.take().map_or(Ok(()), Err);
        let done = done.and_then(|()| self.file.flush()).and_then(|()| self.file.get_ref().sync_all());
        done.map(|()| self.written).map_err(|error| unwritable(&self.path, &error))
    }
}

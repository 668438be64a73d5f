//! What was kept elsewhere, for `epr audit verify` to compare the ledger with.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use epr_core::ledger::checkpoint::Checkpoint;
use epr_core::ledger::note::Note;
use epr_core::{KeptElsewhere, KeptEntries};
use serde::Deserialize;

#[derive(Args)]
pub(crate) struct KeptOptions {
    /// An export that was kept elsewhere: each of its entries must be in the ledger, unchanged
    #[arg(long, value_name = "FILE", conflicts_with = "expect")]
    against: Option<PathBuf>,
    /// The hash that an entry must have, as it was noted elsewhere; may be repeated
    #[arg(long, value_name = "SEQUENCE:HASH")]
    expect: Vec<Expected>,
    /// A checkpoint that was kept elsewhere: the ledger must begin with its entries; may be repeated
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
}

/// A sequence and the hash of its entry.
#[derive(Debug, Clone)]
struct Expected(i64, String);

impl FromStr for Expected {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        let parts = given.split_once(':').and_then(|(sequence, hash)| Some((sequence.parse::<i64>().ok()?, hash)));
        match parts {
            Some((sequence, hash))
                if sequence > 0 && hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
            {
                Ok(Self(sequence, hash.to_ascii_lowercase()))
            }
            _ => Err("expected a sequence, a colon and 64 hex digits".to_owned()),
        }
    }
}

/// Why the export could not be read to its end.
#[derive(Clone, Default)]
pub(crate) struct Unreadable(Arc<Mutex<Option<String>>>);

impl Unreadable {
    fn set(&self, why: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
    }

    /// # Errors
    /// The reason.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}

impl KeptOptions {
    /// Opens the files. The export is read while the ledger is.
    pub(crate) fn open(&self) -> Result<(KeptElsewhere<'static>, Unreadable), String> {
        let unreadable = Unreadable::default();
        let mut expected: Vec<(i64, String)> =
            self.expect.iter().map(|Expected(sequence, hash)| (*sequence, hash.clone())).collect();
        expected.sort();
        let entries: Option<KeptEntries<'static>> = match &self.against {
            Some(path) => {
                let name = path.display().to_string();
                let file = File::open(path).map_err(|error| format!("{name} cannot be read: {error}"))?;
                let lines = BufReader::new(file).lines();
                Some(Box::new(ExportedHashes { name, lines, unreadable: unreadable.clone() }))
            }
            None if expected.is_empty() => None,
            None => Some(Box::new(expected.into_iter())),
        };
        let checkpoints = self.checkpoint.iter().map(|path| read_checkpoint(path)).collect::<Result<_, _>>()?;
        Ok((KeptElsewhere { entries, checkpoints }, unreadable))
    }
}

fn read_checkpoint(path: &Path) -> Result<Note, String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name} cannot be read: {error}"))?;
    let note: Note = text.parse().map_err(|error| format!("{name}: {error}"))?;
    note.text.parse::<Checkpoint>().map_err(|error| format!("{name}: {error}"))?;
    Ok(note)
}

/// The sequences and hashes of an export.
struct ExportedHashes {
    name: String,
    lines: Lines<BufReader<File>>,
    unreadable: Unreadable,
}

#[derive(Deserialize)]
struct Line {
    sequence: i64,
    entry_hash: String,
}

impl Iterator for ExportedHashes {
    type Item = (i64, String);

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.lines.next()?;
        let read = line.map_err(|error| error.to_string()).and_then(|line| {
            serde_json::from_str::<Line>(&line).map_err(|error| format!("a line is not an entry: {error}"))
        });
        match read {
            Ok(Line { sequence, entry_hash }) => Some((sequence, entry_hash)),
            Err(why) => {
                self.unreadable.set(format!("{} cannot be read: {why}", self.name));
                None
            }
        }
    }
}

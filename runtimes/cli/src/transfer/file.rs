//! The file of an import, record by record, each with its line. It is read several times, and never held in memory.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use epr_core::domain::{EntityTypes, Invalid, Json};

use super::Format;
use super::record::{self, COLUMNS, Record};

/// The longest line of JSON.
const MAX_LINE_BYTES: u64 = 4 << 20;

pub(super) struct Input {
    pub(super) path: PathBuf,
    format: Format,
    size: u64,
    /// The entity types that the target accepts.
    types: EntityTypes,
}

/// An error in the file: its line, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct RecordError {
    pub(super) line: u64,
    pub(super) what: String,
}

/// A line, and its record or what is wrong with it.
pub(super) type NumberedRecord = (u64, Result<Record, RecordError>);

impl Input {
    pub(super) fn open(path: &Path, format: Option<Format>, types: &EntityTypes) -> Result<Self, String> {
        let unreadable = |error: &dyn std::fmt::Display| format!("{} cannot be read: {error}", path.display());
        let data = std::fs::metadata(path).map_err(|error| unreadable(&error))?;
        if !data.is_file() {
            return Err(unreadable(&"give a regular file, because it is read more than once"));
        }
        Ok(Self {
            path: path.to_path_buf(),
            format: Format::of(format, Some(path)),
            size: data.len(),
            types: types.clone(),
        })
    }

    /// Every record, from the start.
    pub(super) fn records(&self) -> Result<Records, String> {
        let unreadable = |error: &dyn std::fmt::Display| format!("{} cannot be read: {error}", self.path.display());
        let file = File::open(&self.path).map_err(|error| unreadable(&error))?;
        if file.metadata().map_err(|error| unreadable(&error))?.len() != self.size {
            return Err(format!("{} changed while it was being read", self.path.display()));
        }
        let rows = match self.format {
            Format::Json => Rows::Json { reader: BufReader::new(file), line: 0 },
            Format::Csv => csv_rows(file).map_err(|error| unreadable(&error))?,
        };
        Ok(Records { rows, path: self.path.clone(), types: self.types.clone() })
    }
}

/// The records of a file. The outer error is of reading the file.
pub(super) struct Records {
    rows: Rows,
    path: PathBuf,
    types: EntityTypes,
}

enum Rows {
    Json {
        reader: BufReader<File>,
        line: u64,
    },
    Csv {
        rows: csv::StringRecordsIntoIter<BufReader<File>>,
        columns: Vec<&'static str>,
    },
    /// Nothing but this error can be read.
    Unusable(RecordError),
    End,
}

impl Iterator for Records {
    type Item = Result<NumberedRecord, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let (next, at_end) = match &mut self.rows {
            Rows::End => return None,
            Rows::Unusable(error) => (Some(Ok((error.line, Err(error.clone())))), true),
            Rows::Json { reader, line } => next_line(reader, line, &self.types),
            Rows::Csv { rows, columns } => (
                rows.next().map(|row| {
                    row.map_or_else(|error| unreadable_row(&error), |row| Ok(read_row(&row, columns, &self.types)))
                }),
                false,
            ),
        };
        if at_end {
            self.rows = Rows::End;
        }
        next.map(|next| next.map_err(|error| format!("{} cannot be read: {error}", self.path.display())))
    }
}

fn record_error(line: u64, invalid: &Invalid) -> RecordError {
    RecordError { line, what: crate::output::invalid_sentence(invalid) }
}

/// The next line that is not empty, and whether it is the last that can be read.
fn next_line(
    reader: &mut BufReader<File>,
    line: &mut u64,
    types: &EntityTypes,
) -> (Option<Result<NumberedRecord, String>>, bool) {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match std::io::Read::take(&mut *reader, MAX_LINE_BYTES).read_until(b'\n', &mut bytes) {
            Ok(0) => return (None, true),
            Ok(_) => {}
            Err(error) => return (Some(Err(error.to_string())), true),
        }
        *line += 1;
        let line = *line;
        if bytes.len() as u64 == MAX_LINE_BYTES && !bytes.ends_with(b"\n") {
            let what = format!("the line is longer than {MAX_LINE_BYTES} bytes");
            return (Some(Ok((line, Err(RecordError { line, what })))), true);
        }
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").filter(|_| line == 1).unwrap_or(&bytes).trim_ascii();
        if text.is_empty() {
            continue;
        }
        let record = match Json::parse_bounded(text) {
            Err(error) => Err(RecordError { line, what: format!("not a JSON object: {error}") }),
            Ok(json) => record::read(&json, types).map_err(|invalid| record_error(line, &invalid)),
        };
        return (Some(Ok((line, record))), false);
    }
}

fn csv_rows(file: File) -> Result<Rows, csv::Error> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(BufReader::new(file));
    let unusable = |what: String| Ok(Rows::Unusable(RecordError { line: 1, what }));
    let mut columns = Vec::new();
    for heading in reader.headers()? {
        match COLUMNS.iter().find(|column| **column == heading.trim()) {
            Some(column) if !columns.contains(column) => columns.push(*column),
            Some(column) => return unusable(format!("the column `{column}` appears twice")),
            None if heading.contains(';') => return unusable("separate the columns by commas".into()),
            None => {
                return unusable(format!(
                    "`{}` is not a column; the columns are {}",
                    heading.trim(),
                    COLUMNS.join(", ")
                ));
            }
        }
    }
    // The kind of a row decides how its other cells are read.
    if columns.first() != Some(&"kind") {
        return unusable("the first column must be `kind`".into());
    }
    Ok(Rows::Csv { rows: reader.into_records(), columns })
}

fn read_row(row: &csv::StringRecord, columns: &[&'static str], types: &EntityTypes) -> NumberedRecord {
    let line = row.position().map_or(0, csv::Position::line);
    if row.len() != columns.len() {
        let what = format!("the row has {} cells, the header {}", row.len(), columns.len());
        return (line, Err(RecordError { line, what }));
    }
    let json = Json::Object(record::from_row(columns, row.iter()));
    (line, record::read(&json, types).map_err(|invalid| record_error(line, &invalid)))
}

/// A row that is not UTF-8.
fn unreadable_row(error: &csv::Error) -> Result<NumberedRecord, String> {
    match error.position().map(csv::Position::line) {
        Some(line) => Ok((line, Err(RecordError { line, what: "the text is not valid UTF-8".into() }))),
        None => Err(error.to_string()),
    }
}

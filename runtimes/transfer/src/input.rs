//! The file of an import, record by record, each with its line. It is read several times, and never held in memory,
//! unless it is a text that a caller has anyway.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use epr_core::domain::{EntityTypes, Invalid, Json};

use crate::record::{self, COLUMNS, Record};

/// The longest line of JSON.
const MAX_LINE_BYTES: u64 = 4 << 20;

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// A table with a header row.
    Csv,
}

/// A file of records.
pub struct Input {
    source: Source,
    format: Format,
    /// The entity types that the target accepts.
    types: EntityTypes,
}

enum Source {
    File { path: PathBuf, size: u64 },
    Text(Arc<[u8]>),
}

/// An error in the file: its line, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RecordError {
    /// The line.
    pub line: u64,
    /// What is wrong.
    pub what: String,
}

/// A line, and its record or what is wrong with it.
pub type NumberedRecord = (u64, Result<Record, RecordError>);

impl Input {
    /// The file at `path`.
    ///
    /// # Errors
    /// It cannot be read, or not more than once.
    pub fn open(path: &Path, format: Format, types: &EntityTypes) -> Result<Self, String> {
        let unreadable = |error: &dyn std::fmt::Display| format!("{} cannot be read: {error}", path.display());
        let data = std::fs::metadata(path).map_err(|error| unreadable(&error))?;
        if !data.is_file() {
            return Err(unreadable(&"give a regular file, because it is read more than once"));
        }
        let source = Source::File { path: path.to_path_buf(), size: data.len() };
        Ok(Self { source, format, types: types.clone() })
    }

    /// A text as a file.
    #[must_use]
    pub fn of_text(text: &str, format: Format, types: &EntityTypes) -> Self {
        Self { source: Source::Text(text.as_bytes().into()), format, types: types.clone() }
    }

    /// What errors call the file.
    fn name(&self) -> String {
        match &self.source {
            Source::File { path, .. } => path.display().to_string(),
            Source::Text(_) => "the text".to_owned(),
        }
    }

    /// Every record, from the start.
    ///
    /// # Errors
    /// The file cannot be read, or has changed.
    pub fn records(&self) -> Result<Records, String> {
        let unreadable = |error: &dyn std::fmt::Display| format!("{} cannot be read: {error}", self.name());
        let reader: Reader = match &self.source {
            Source::File { path, size } => {
                let file = File::open(path).map_err(|error| unreadable(&error))?;
                if file.metadata().map_err(|error| unreadable(&error))?.len() != *size {
                    return Err(format!("{} changed while it was being read", self.name()));
                }
                Box::new(BufReader::new(file))
            }
            Source::Text(text) => Box::new(Cursor::new(Arc::clone(text))),
        };
        let rows = match self.format {
            Format::Json => Rows::Json { reader, line: 0 },
            Format::Csv => csv_rows(reader).map_err(|error| unreadable(&error))?,
        };
        Ok(Records { rows, name: self.name(), types: self.types.clone() })
    }
}

/// What a file is read by.
type Reader = Box<dyn BufRead + Send>;

/// The records of a file. The outer error is of reading the file.
pub struct Records {
    rows: Rows,
    name: String,
    types: EntityTypes,
}

enum Rows {
    Json {
        reader: Reader,
        line: u64,
    },
    Csv {
        rows: csv::StringRecordsIntoIter<Reader>,
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
        next.map(|next| next.map_err(|error| format!("{} cannot be read: {error}", self.name)))
    }
}

fn record_error(line: u64, invalid: &Invalid) -> RecordError {
    RecordError { line, what: crate::text::invalid_sentence(invalid) }
}

/// The next line that is not empty, and whether it is the last that can be read.
fn next_line(
    reader: &mut Reader,
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

fn csv_rows(reader: Reader) -> Result<Rows, csv::Error> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(reader);
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

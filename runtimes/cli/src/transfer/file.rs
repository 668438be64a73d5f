//! The file of an import, record by record, each with its line. Read as often as it is needed, never held in memory.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use epr_core::domain::{Invalid, Json};

use super::Format;
use super::record::{self, COLUMNS, Record};

/// Most characters in a line of JSON.
const LONGEST: u64 = 4 << 20;

pub(super) struct Input {
    pub(super) path: PathBuf,
    format: Format,
    size: u64,
}

/// Something in the file that cannot be: where, and what.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Flaw {
    pub(super) line: u64,
    pub(super) what: String,
}

/// A record with its line, or what is wrong with it.
pub(super) type Read = (u64, Result<Record, Flaw>);

impl Input {
    pub(super) fn open(path: &Path, format: Option<Format>) -> Result<Self, String> {
        let told = |fault: &dyn std::fmt::Display| format!("{} cannot be read: {fault}", path.display());
        let data = std::fs::metadata(path).map_err(|fault| told(&fault))?;
        if !data.is_file() {
            return Err(told(&"it has to be a file, because it is read more than once"));
        }
        Ok(Self { path: path.to_path_buf(), format: Format::of(format, Some(path)), size: data.len() })
    }

    /// Every record, from the start.
    pub(super) fn records(&self) -> Result<Records, String> {
        let told = |fault: &dyn std::fmt::Display| format!("{} cannot be read: {fault}", self.path.display());
        let file = File::open(&self.path).map_err(|fault| told(&fault))?;
        if file.metadata().map_err(|fault| told(&fault))?.len() != self.size {
            return Err(format!("{} has changed while it was being read", self.path.display()));
        }
        let rows = match self.format {
            Format::Json => Rows::Json { reader: BufReader::new(file), line: 0 },
            Format::Csv => csv_rows(file).map_err(|fault| told(&fault))?,
        };
        Ok(Records { rows, path: self.path.clone() })
    }
}

/// The records of a file. The outer fault is one of the disk.
pub(super) struct Records {
    rows: Rows,
    path: PathBuf,
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
    /// Nothing can be read but this.
    Flawed(Flaw),
    Over,
}

impl Iterator for Records {
    type Item = Result<Read, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let (next, over) = match &mut self.rows {
            Rows::Over => return None,
            Rows::Flawed(flaw) => (Some(Ok((flaw.line, Err(flaw.clone())))), true),
            Rows::Json { reader, line } => next_line(reader, line),
            Rows::Csv { rows, columns } => {
                (rows.next().map(|row| row.map_or_else(|fault| torn(&fault), |row| Ok(read_row(&row, columns)))), false)
            }
        };
        if over {
            self.rows = Rows::Over;
        }
        next.map(|next| next.map_err(|fault| format!("{} cannot be read: {fault}", self.path.display())))
    }
}

fn flaw(line: u64, invalid: &Invalid) -> Flaw {
    Flaw { line, what: crate::output::faults(invalid) }
}

/// The next line that is not empty, and whether nothing can come after it.
fn next_line(reader: &mut BufReader<File>, line: &mut u64) -> (Option<Result<Read, String>>, bool) {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match std::io::Read::take(&mut *reader, LONGEST).read_until(b'\n', &mut bytes) {
            Ok(0) => return (None, true),
            Ok(_) => {}
            Err(fault) => return (Some(Err(fault.to_string())), true),
        }
        *line += 1;
        let line = *line;
        if bytes.len() as u64 == LONGEST && !bytes.ends_with(b"\n") {
            let what = format!("the line is longer than {LONGEST} bytes");
            return (Some(Ok((line, Err(Flaw { line, what })))), true);
        }
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").filter(|_| line == 1).unwrap_or(&bytes).trim_ascii();
        if text.is_empty() {
            continue;
        }
        let record = match Json::parse_bounded(text) {
            Err(fault) => Err(Flaw { line, what: format!("it is no JSON object: {fault}") }),
            Ok(json) => record::read(&json).map_err(|invalid| flaw(line, &invalid)),
        };
        return (Some(Ok((line, record))), false);
    }
}

fn csv_rows(file: File) -> Result<Rows, csv::Error> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(BufReader::new(file));
    let flawed = |what: String| Ok(Rows::Flawed(Flaw { line: 1, what }));
    let mut columns = Vec::new();
    for heading in reader.headers()? {
        match COLUMNS.iter().find(|column| **column == heading.trim()) {
            Some(column) if !columns.contains(column) => columns.push(*column),
            Some(column) => return flawed(format!("the column `{column}` is there twice")),
            None if heading.contains(';') => return flawed("columns are separated by commas".into()),
            None => return flawed(format!("`{}` is no column; there are {}", heading.trim(), COLUMNS.join(", "))),
        }
    }
    // What a row is has to be known before its other cells are read.
    if columns.first() != Some(&"kind") {
        return flawed("the first column has to be `kind`".into());
    }
    Ok(Rows::Csv { rows: reader.into_records(), columns })
}

fn read_row(row: &csv::StringRecord, columns: &[&'static str]) -> Read {
    let line = row.position().map_or(0, csv::Position::line);
    if row.len() != columns.len() {
        let what = format!("it has {} cells, the heading {}", row.len(), columns.len());
        return (line, Err(Flaw { line, what }));
    }
    let json = Json::Object(record::from_row(columns, row.iter()));
    (line, record::read(&json).map_err(|invalid| flaw(line, &invalid)))
}

/// A row that is no text.
fn torn(fault: &csv::Error) -> Result<Read, String> {
    match fault.position().map(csv::Position::line) {
        Some(line) => Ok((line, Err(Flaw { line, what: "the text is not valid UTF-8".into() }))),
        None => Err(fault.to_string()),
    }
}

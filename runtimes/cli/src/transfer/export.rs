//! `epr export`

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use epr_core::domain::{AssignmentFilter, JsonObject, PrincipalFilter};
use epr_transfer::principal;
use epr_transfer::record::{self, COLUMNS, CONDITION_COLUMNS, PRINCIPAL_COLUMNS};
use serde::Serialize as _;

use super::{Format, Part};
use crate::Outcome;
use crate::backend::Backend;
use crate::output::{EscapingFormatter, Output, count, notice};

#[derive(Args)]
pub(crate) struct Export {
    /// The format; default: by the extension of the file, else json
    #[arg(long)]
    format: Option<Format>,
    /// The file to write, instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write only one kind of record
    #[arg(long)]
    only: Option<Part>,
}

impl Export {
    pub(crate) async fn run(&self, backend: &Backend, out: &mut Output) -> Outcome {
        let format = Format::of(self.format, self.output.as_deref());
        let wants = |part| self.only.is_none_or(|only| only == part);
        let (mut principals, mut erased, mut roles, mut assignments) = (0, 0_u64, 0, 0);
        let csv = format == Format::Csv;
        let with_conditions = csv && backend.has_conditions().await?;
        let with_principals =
            csv && wants(Part::Principals) && backend.principal_matching(&PrincipalFilter::default()).await?.is_some();
        let columns = COLUMNS.iter().copied().filter(|column| {
            (with_conditions || !CONDITION_COLUMNS.contains(column))
                && (with_principals || !PRINCIPAL_COLUMNS.contains(column))
        });
        let mut writer = Writer::open(format, columns.collect(), self.output.as_deref())?;
        let mut written = writer.heading();
        if wants(Part::Principals) {
            backend
                .for_each_principal(&PrincipalFilter::default(), &mut |found| {
                    if found.erased_at.is_some() {
                        erased += 1;
                        return true;
                    }
                    principals += 1;
                    let record = principal::record(&found);
                    written = std::mem::replace(&mut written, Ok(())).and_then(|()| writer.write(&record));
                    written.is_ok()
                })
                .await?;
        }
        if wants(Part::Roles) {
            backend
                .for_each_role(&mut |role| {
                    roles += 1;
                    written =
                        std::mem::replace(&mut written, Ok(())).and_then(|()| writer.write(&record::of_role(&role)));
                    written.is_ok()
                })
                .await?;
        }
        if wants(Part::Assignments) {
            backend
                .for_each_named_assignment(AssignmentFilter::default(), &mut |named| {
                    assignments += 1;
                    let record = record::of_assignment(&named);
                    written = std::mem::replace(&mut written, Ok(())).and_then(|()| writer.write(&record));
                    written.is_ok()
                })
                .await?;
        }
        let names = writer.names.clone();
        written.and_then(|()| writer.finish()).map_err(|error| Writer::with_file(names.as_ref(), error))?;
        let (roles, assignments) = (count(roles, "role", "roles"), count(assignments, "assignment", "assignments"));
        if erased > 0 {
            notice(&format!("{} left out.", count(erased, "erased principal is", "erased principals are")));
        }
        if !out.json {
            let principals = match principals {
                0 => String::new(),
                some => format!("{}, ", count(some, "principal", "principals")),
            };
            notice(&format!("{principals}{roles} and {assignments} written."));
        }
        Ok(ExitCode::SUCCESS)
    }
}

enum Sink {
    Json(Box<dyn Write + Send>),
    Csv(Box<csv::Writer<Box<dyn Write + Send>>>),
}

/// Writes to a temporary name, and renames the file when it is complete: an incomplete file never has the final name.
struct Writer {
    sink: Sink,
    /// The columns of a CSV file.
    columns: Vec<&'static str>,
    /// The temporary and the final name.
    names: Option<(PathBuf, PathBuf)>,
}

impl Writer {
    fn open(format: Format, columns: Vec<&'static str>, path: Option<&Path>) -> Result<Self, String> {
        let (to, names): (Box<dyn Write + Send>, _) = match path {
            None => (Box::new(BufWriter::new(io::stdout())), None),
            Some(path) => {
                let mut part = path.as_os_str().to_owned();
                part.push(".part");
                let part = PathBuf::from(part);
                // The file may have personal fields.
                let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&part);
                let file = file.map_err(|error| format!("{} cannot be written: {error}", part.display()))?;
                (Box::new(BufWriter::new(file)), Some((part, path.to_path_buf())))
            }
        };
        let sink = match format {
            Format::Json => Sink::Json(to),
            Format::Csv => Sink::Csv(Box::new(csv::Writer::from_writer(to))),
        };
        Ok(Self { sink, columns, names })
    }

    /// An error of writing, with the name of the file if there is one.
    fn with_file(names: Option<&(PathBuf, PathBuf)>, error: io::Error) -> Box<dyn std::error::Error> {
        match names {
            Some((part, _)) => format!("{} cannot be written: {error}", part.display()).into(),
            None => error.into(),
        }
    }

    fn heading(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Sink::Json(_) => Ok(()),
            Sink::Csv(csv) => csv.write_record(&self.columns).map_err(io::Error::from),
        }
    }

    fn write(&mut self, record: &JsonObject) -> io::Result<()> {
        match &mut self.sink {
            Sink::Json(to) => {
                record.serialize(&mut serde_json::Serializer::with_formatter(&mut *to, EscapingFormatter))?;
                to.write_all(b"\n")
            }
            Sink::Csv(csv) => csv.write_record(record::to_row(&self.columns, record)).map_err(io::Error::from),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self.sink {
            Sink::Json(mut to) => to.flush()?,
            Sink::Csv(mut csv) => csv.flush()?,
        }
        match self.names {
            Some((part, path)) => std::fs::rename(part, path),
            None => Ok(()),
        }
    }
}

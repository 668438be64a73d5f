//! `epr grants`: GRANT statements for a PostgreSQL role that does not own the tables. Needs no database.

use std::process::ExitCode;

use clap::Args;
use epr_core::store::grants;
use serde_json::json;

use crate::Outcome;
use crate::output::Output;

#[derive(Args)]
#[command(
    after_help = "Run them as the owner of the tables: epr grants --role epr_service | psql \"$URL_OF_THE_OWNER\""
)]
pub(crate) struct Grants {
    /// The PostgreSQL role that the service connects as
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    role: String,
    /// The schema of the tables
    #[arg(long, default_value = "public", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    schema: String,
}

pub(crate) fn run(command: &Grants, out: &mut Output) -> Outcome {
    let sql = grants::statements(&command.role, &command.schema);
    if out.json {
        out.object(&json!({"statements": sql.lines().collect::<Vec<_>>()}))?;
    } else {
        out.bytes(sql.as_bytes())?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

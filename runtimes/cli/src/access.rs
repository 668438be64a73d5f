//! `epr access …`

use std::process::ExitCode;

use clap::Subcommand;
use epr_core::Epr;
use serde_json::json;

use crate::Outcome;
use crate::output::Output;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Start a new key of page tokens; tokens of the present key are accepted for one more day. A key is renewed after
    /// 30 days without this command
    RotateKey {
        /// Refuse the tokens of every earlier key from now on: lists under way begin again
        #[arg(long)]
        revoke: bool,
    },
}

pub(crate) async fn run(epr: &Epr, command: &Command, out: &mut Output) -> Outcome {
    let Command::RotateKey { revoke } = command;
    let key = if *revoke { epr.revoke_list_keys().await? } else { epr.rotate_list_key().await? };
    let before = if *revoke { "Those before are refused." } else { "The one before is accepted for one more day." };
    if out.json {
        out.object(&json!({ "key": key }))?;
    } else {
        out.line(format_args!("Key {key} signs page tokens from now on. {before}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

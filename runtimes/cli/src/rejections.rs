//! `epr audit rejections`

use std::process::ExitCode;

use clap::Args;
use epr_core::Epr;

use crate::Outcome;
use crate::output::{Output, escaped, notice};

#[derive(Args)]
pub(crate) struct Arguments {
    /// List at most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Only rejections before this id: the last id of the previous page
    #[arg(long, value_name = "ID")]
    before: Option<i64>,
}

pub(crate) async fn run(epr: &Epr, arguments: &Arguments, out: &mut Output) -> Outcome {
    let kept = epr.rejections(arguments.limit, arguments.before).await?;
    for kept in &kept {
        if out.json {
            out.object(kept)?;
            continue;
        }
        let rejection = &kept.rejection;
        let kind = serde_json::to_value(rejection.kind)?;
        let kind = kind.as_str().unwrap_or_default();
        let times = if kept.times_seen == 1 { "once".to_owned() } else { format!("{} times", kept.times_seen) };
        let message = escaped(&rejection.message_id);
        out.line(format_args!("{}  {message}  {kind}, seen {times}, {} bytes", kept.id, rejection.body_bytes))?;
        out.line(format_args!("    first {}, last {}", kept.first_seen_at, kept.last_seen_at))?;
        out.line(format_args!("    {}", escaped(&rejection.reason)))?;
    }
    out.flush()?;
    if !out.json {
        match kept.last() {
            None => notice("No messages were rejected."),
            Some(last) if kept.len() == arguments.limit as usize => {
                notice(&format!("More may exist: epr audit rejections --before {}", last.id));
            }
            Some(_) => {}
        }
    }
    Ok(ExitCode::SUCCESS)
}

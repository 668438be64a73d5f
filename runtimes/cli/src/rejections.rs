//! `epr audit rejections`

use std::process::ExitCode;

use clap::Args;
use epr_core::Epr;

use crate::Outcome;
use crate::output::visible;

#[derive(Args)]
pub(crate) struct Arguments {
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Only those before this id, which is the last one of the page before
    #[arg(long, value_name = "ID")]
    before: Option<i64>,
}

pub(crate) async fn run(epr: &Epr, arguments: &Arguments, json: bool) -> Outcome {
    let kept = epr.rejections(arguments.limit, arguments.before).await?;
    for kept in &kept {
        if json {
            println!("{}", serde_json::to_string(kept)?);
            continue;
        }
        let rejection = &kept.rejection;
        let kind = serde_json::to_value(rejection.kind)?;
        let kind = kind.as_str().unwrap_or_default();
        let times = if kept.times_seen == 1 { "once".to_owned() } else { format!("{} times", kept.times_seen) };
        println!("{}  {}  {kind}, seen {times}, {} bytes", kept.id, visible(&rejection.message_id), rejection.body_bytes);
        println!("    first {}, last {}", kept.first_seen_at, kept.last_seen_at);
        println!("    {}", visible(&rejection.reason));
    }
    if !json {
        match kept.last() {
            None => eprintln!("No message was rejected."),
            Some(last) if kept.len() == arguments.limit as usize => {
                eprintln!("There may be more: epr audit rejections --before {}", last.id);
            }
            Some(_) => {}
        }
    }
    Ok(ExitCode::SUCCESS)
}

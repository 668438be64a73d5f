//! `epr changes`: the ledger entries that changed the registry, and those that are still to come.

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use epr_core::domain::Change;
use epr_core::domain::revision::Revision;
use serde::Serialize;

use crate::Outcome;
use crate::audit_list::Entry;
use crate::backend::{Backend, BackendError};
use crate::output::{Output, notice};
use crate::rows::{FormatOption, Row, RowFormat, Rows};

/// The wait of one call of a command that follows.
const WAIT: Duration = Duration::from_secs(20);
/// The least time of a call that had no change.
const PAUSE: Duration = Duration::from_millis(250);
/// The wait after the first error in a row, which doubles up to the last.
const RESUME_DELAYS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

#[derive(Args)]
#[command(after_help = "With --url, the token needs the scope epr:audit.")]
pub(crate) struct Changes {
    /// Begin after this revision, as an earlier row or an `EPR-Revision` header has it; default: with the first entry
    #[arg(long, value_name = "REVISION")]
    after: Option<Revision>,
    /// Go on with later changes as they are made, until interrupted; errors of the connection are waited out
    #[arg(long)]
    follow: bool,
    /// The most rows; default: no limit
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    #[command(flatten)]
    format: FormatOption,
}

pub(crate) async fn run(backend: &Backend, command: &Changes, out: &mut Output) -> Outcome {
    let format = command.format.or(RowFormat::Table, out)?;
    let mut rows = Rows::new(out, format, command.limit);
    let mut reader = backend.changes(command.after);
    let mut taken = command.after;
    let mut delay = None;
    loop {
        let wait = if command.follow { WAIT } else { Duration::ZERO };
        let (mut goes_on, began) = (true, Instant::now());
        let mut visit = |change: Change| {
            let revision = change.revision;
            goes_on = rows.add(&ChangeRow(change));
            if goes_on {
                taken = Some(revision);
            }
            goes_on
        };
        let is_last = match reader.next_page(wait, &mut visit).await {
            Ok(is_last) => {
                delay = None;
                is_last
            }
            Err(error) if command.follow && error.is_temporary() => {
                resume_later(&mut delay, &error).await;
                continue;
            }
            Err(error) => {
                rows.flush()?;
                return Err(error.into());
            }
        };
        if !goes_on || (is_last && !command.follow) {
            break;
        }
        if command.follow {
            rows.flush()?;
            if is_last {
                // A service that answers at once, because it stops, is not asked without pause.
                tokio::time::sleep(PAUSE.saturating_sub(began.elapsed())).await;
            }
        }
    }
    let next = taken.map(|revision| revision.to_string()).unwrap_or_default();
    let more = format!("More exist: raise --limit, or go on with --after {next}.");
    rows.finish::<ChangeRow>("No changes.", &more)?;
    Ok(ExitCode::SUCCESS)
}

/// Says once what is wrong, and waits.
async fn resume_later(delay: &mut Option<Duration>, error: &BackendError) {
    if delay.is_none() {
        notice(&format!("epr: {}; trying again", crate::sentence(error)));
    }
    let next = delay.map_or(RESUME_DELAYS.0, |delay| (delay * 2).min(RESUME_DELAYS.1));
    tokio::time::sleep(next).await;
    *delay = Some(next);
}

/// A change as a row.
#[derive(Serialize)]
#[serde(transparent)]
struct ChangeRow(Change);

impl Row for ChangeRow {
    const COLUMNS: &'static [&'static str] = &[
        "revision",
        "sequence",
        "occurred_at",
        "action",
        "actor_type",
        "actor_id",
        "entity_type",
        "entity_id",
        "source",
        "correlation_id",
        "event_id",
        "details",
        "entry_hash",
    ];

    fn cells(&self) -> Vec<String> {
        let Self(Change { revision, entry }) = self;
        [vec![revision.to_string()], Entry(entry).cells()].concat()
    }

    fn print(&self, is_first: bool, out: &mut Output) -> io::Result<()> {
        let Self(Change { revision, entry }) = self;
        Entry(entry).print(is_first, out)?;
        out.clipped_line(&format!("           revision {revision}"))
    }
}

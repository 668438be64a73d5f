//! `epr events …`

use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use epr_core::Epr;
use epr_core::domain::{DeliveryState, EventFilter};
use epr_core::store::Page;
use serde_json::json;
use uuid::Uuid;

use crate::output::{Output, count, escaped, minute, notice};
use crate::{EXIT_NO, Outcome};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List events with the state of their delivery, newest first
    List {
        /// Only events in this state
        #[arg(long)]
        state: Option<State>,
        /// List at most this many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Requeue failed events, so that the relay delivers them again
    Requeue {
        /// The event to requeue
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        event_id: Option<Uuid>,
        /// Requeue every failed event
        #[arg(long)]
        all: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum State {
    Pending,
    Succeeded,
    Failed,
}

impl From<State> for DeliveryState {
    fn from(state: State) -> Self {
        match state {
            State::Pending => Self::Pending,
            State::Succeeded => Self::Succeeded,
            State::Failed => Self::Failed,
        }
    }
}

pub(crate) async fn run(epr: &Epr, command: &Command, out: &mut Output) -> Outcome {
    match command {
        Command::List { state, limit } => list(epr, state.map(Into::into), *limit, out).await,
        Command::Requeue { event_id, .. } => requeue(epr, *event_id, out).await,
    }
}

async fn list(epr: &Epr, delivery_state: Option<DeliveryState>, limit: u32, out: &mut Output) -> Outcome {
    let filter = EventFilter { delivery_state, ..EventFilter::default() };
    let mut events = epr.events_list(&filter, &Page { limit: limit + 1, after: None }).await?;
    let more = events.len() > limit as usize;
    events.truncate(limit as usize);
    for event in events {
        if out.json {
            out.object(&event)?;
            continue;
        }
        let state = match event.delivery_state {
            DeliveryState::Pending => Output::warning("pending"),
            DeliveryState::Succeeded => Output::good("succeeded"),
            DeliveryState::Failed => Output::bad("failed"),
        };
        out.clipped_line(&format!("{}  {}", event.event_id, escaped(&event.event_type)))?;
        let attempts = count(u64::try_from(event.delivery_attempts).unwrap_or(0), "attempt", "attempts");
        out.clipped_line(&format!("  {}  {state}, {attempts}", minute(event.occurred_at)))?;
        if let Some(error) = event.last_error {
            out.line(format_args!("  {}", escaped(&error)))?;
        }
    }
    out.flush()?;
    if more {
        notice("More exist: raise --limit to see them.");
    }
    if !out.json {
        let backlog = epr.event_backlog().await?;
        notice(&format!("In total {} pending, {} failed.", backlog.pending, backlog.failed));
    }
    Ok(ExitCode::SUCCESS)
}

async fn requeue(epr: &Epr, event_id: Option<Uuid>, out: &mut Output) -> Outcome {
    let number = epr.requeue_events(event_id).await?;
    if out.json {
        out.object(&json!({"requeued": number}))?;
    } else {
        out.line(format_args!("{} requeued.", count(number, "event", "events")))?;
    }
    Ok(if number == 0 { ExitCode::from(EXIT_NO) } else { ExitCode::SUCCESS })
}

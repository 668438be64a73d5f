//! `epr events …`

use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use epr_core::Epr;
use epr_core::domain::{DeliveryState, EventFilter};
use epr_core::store::Page;
use uuid::Uuid;

use crate::Outcome;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show events with the state of their delivery, newest first
    List {
        /// Only events in this state
        #[arg(long)]
        state: Option<State>,
        /// At most this many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
        /// One JSON object a line, with all fields
        #[arg(long)]
        json: bool,
    },
    /// Put failed events back, so that the relay tries them again
    Requeue {
        /// The event to put back
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        event_id: Option<Uuid>,
        /// Put back every failed event
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

/// Nothing was there to be put back.
const NOTHING: u8 = 1;

pub(crate) async fn run(epr: &Epr, command: &Command) -> Outcome {
    match command {
        Command::List { state, limit, json } => list(epr, state.map(Into::into), *limit, *json).await,
        Command::Requeue { event_id, .. } => requeue(epr, *event_id).await,
    }
}

async fn list(epr: &Epr, delivery_state: Option<DeliveryState>, limit: u32, json: bool) -> Outcome {
    let filter = EventFilter { delivery_state, ..EventFilter::default() };
    for event in epr.events_list(&filter, &Page { limit, after: None }).await? {
        if json {
            println!("{}", serde_json::to_string(&event)?);
            continue;
        }
        let state = serde_json::to_value(event.delivery_state)?;
        let state = state.as_str().unwrap_or_default();
        println!(
            "{}  {}  {state:<9}  {:>3} attempts  {}",
            event.event_id, event.occurred_at, event.delivery_attempts, event.event_type
        );
        if let Some(why) = event.last_error {
            println!("    {why}");
        }
    }
    if !json {
        let backlog = epr.event_backlog().await?;
        eprintln!("{} pending, {} failed in all.", backlog.pending, backlog.failed);
    }
    Ok(ExitCode::SUCCESS)
}

async fn requeue(epr: &Epr, event_id: Option<Uuid>) -> Outcome {
    let count = epr.requeue_events(event_id).await?;
    println!("{count} events put back.");
    Ok(if count == 0 { ExitCode::from(NOTHING) } else { ExitCode::SUCCESS })
}

//! The progress of a takeover and of filling history, as lines on standard error: both can take minutes.

use epr_boot::stdio;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::Registry;

/// Prints the progress from now on.
pub(crate) fn show_progress() {
    // This program installs no other subscriber.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(Progress));
}

struct Progress;

impl<S: Subscriber> Layer<S> for Progress {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        if line.message == "takeover_progress" {
            stdio::complain(&format!("{}: {} of {} rows copied", line.table, line.copied, line.rows));
        }
        if line.message == "history_filling" {
            stdio::complain(&format!("history: {} entries replayed", line.entries));
        }
    }
}

/// The fields of one event.
#[derive(Default)]
struct Line {
    message: String,
    table: String,
    copied: i64,
    rows: i64,
    entries: u64,
}

impl Visit for Line {
    fn record_i64(&mut self, field: &Field, value: i64) {
        match field.name() {
            "copied" => self.copied = value,
            "rows" => self.rows = value,
            _ => {}
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "entries" {
            self.entries = value;
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "table" {
            value.clone_into(&mut self.table);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}

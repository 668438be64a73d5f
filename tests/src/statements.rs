//! The statements that the store runs, recorded from the echo of the driver: `scripts/record-program.sh`.
//!
//! Must never record unless the variable asks for it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::sync::{Mutex, Once};

use epr_core::store::STATEMENT_LOGGER;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// The variable that names the file to record into: a JSON text per line, each statement once.
pub const VARIABLE: &str = "EPR_TEST_RECORD";

/// Whether the statements of stores are recorded in this process.
#[must_use]
pub fn are_recorded() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Begins recording, once in a process, if [`VARIABLE`] is set.
pub fn record_if_asked() {
    static BEGUN: Once = Once::new();
    let Some(path) = std::env::var_os(VARIABLE) else { return };
    BEGUN.call_once(|| {
        let file = File::create(path).expect("the file to record into");
        let recorder = Recorder(Mutex::new((BTreeSet::new(), file)));
        tracing::subscriber::set_global_default(Registry::default().with(recorder)).expect("no other subscriber");
    });
}

struct Recorder(Mutex<(BTreeSet<String>, File)>);

impl<S: Subscriber> Layer<S> for Recorder {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // The level of a store that echoes: the statements of tests, on connections of their own, have another one.
        if event.metadata().target() != STATEMENT_LOGGER || *event.metadata().level() != Level::INFO {
            return;
        }
        let mut echoed = Echoed::default();
        event.record(&mut echoed);
        let statement = if echoed.whole.is_empty() { echoed.summary } else { echoed.whole.trim().to_owned() };
        let mut recorded = self.0.lock().expect("no panic while recording");
        if recorded.0.insert(statement.clone()) {
            writeln!(recorded.1, "{}", serde_json::json!(statement)).expect("a line of the record");
        }
    }
}

/// The fields of the driver's event.
#[derive(Default)]
struct Echoed {
    /// The first words of the statement, or all of a short one.
    summary: String,
    /// Empty if the summary is the whole statement.
    whole: String,
}

impl Visit for Echoed {
    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.whole),
            _ => {}
        }
    }
}

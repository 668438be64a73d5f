//! Log lines: one JSON object each, or plain text for a terminal.
//!
//! A line has `timestamp`, `level`, `logger`, `message` and `service`, and the event's fields under `extra`. Messages
//! of the service's own events are stable words (`entity_created`); their logger is `entity_permissions_core.` and the
//! module, or `audit_consumer`. Must never log a secret, a token or a message body, and must never wait for standard
//! output: lines go through a queue.

use std::fmt::{self, Write as _};
use std::sync::{Arc, OnceLock};

use epr_core::clock::{Clock as _, SystemClock};
use epr_core::settings::{Level, LoggingSettings};
use epr_core::store::STATEMENT_LOGGER;
use serde::{Serialize, Serializer};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Event, Level as TraceLevel, Metadata, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::log_queue::LogQueue;
use crate::stdio;

/// The logger of modules of this program that have none of their own.
const LOGGER: &str = "entity_permissions_core";

/// The queue of this process, once logging is installed.
static QUEUE: OnceLock<Arc<LogQueue>> = OnceLock::new();

/// Another layer that receives spans and events.
pub type ExtraLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Installs logging to standard output for the whole process; a second call changes nothing.
pub fn install(settings: &LoggingSettings, service: &str) {
    install_with(settings, service, None);
}

/// [`install`], with a layer that receives everything, whatever the level of the log.
pub fn install_with(settings: &LoggingSettings, service: &str, extra: Option<ExtraLayer>) {
    let queue = LogQueue::new(epr_core::log_lines_dropped());
    let layer = LineLayer { settings: *settings, service: service.to_owned(), queue: Arc::clone(&queue) };
    let filter = match settings.level {
        Level::Debug => LevelFilter::DEBUG,
        Level::Info => LevelFilter::INFO,
        Level::Warning => LevelFilter::WARN,
        Level::Error => LevelFilter::ERROR,
    };
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let error = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(place, error, "panic");
    }));
    let registry = tracing_subscriber::registry();
    // A filter of a single layer costs time for each event, which only a log beside traces needs.
    let installed = match extra {
        None => tracing::subscriber::set_global_default(registry.with(filter).with(layer)),
        Some(extra) => tracing::subscriber::set_global_default(registry.with(extra).with(layer.with_filter(filter))),
    };
    if installed.is_err() {
        return;
    }
    let (settings, service) = (*settings, service.to_owned());
    let dropped_notice = move |lines: u64| {
        let extra = Members(vec![("lines", lines.into())]);
        line(settings, &service, "WARNING", LOGGER, "log_lines_dropped", &extra)
    };
    match queue.start(dropped_notice) {
        Ok(()) => drop(QUEUE.set(queue)),
        Err(error) => stdio::complain(&format!("log lines cannot be written: {error}")),
    }
}

/// Waits until the log lines so far are written: a second at most, and a quarter of a second when standard output takes
/// nothing. For the end of a program, or of an invocation after which the process is frozen.
pub fn flush() {
    if let Some(queue) = QUEUE.get() {
        queue.flush();
    }
}

struct LineLayer {
    settings: LoggingSettings,
    service: String,
    queue: Arc<LogQueue>,
}

/// One line.
#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    level: &'static str,
    logger: &'a str,
    message: &'a str,
    service: &'a str,
    #[serde(skip_serializing_if = "Members::is_empty")]
    extra: &'a Members,
}

impl LineLayer {
    fn write(&self, event: &Event<'_>, extra: Members) {
        let mut fields = Fields { message: String::new(), extra };
        event.record(&mut fields);
        let Fields { message, extra } = fields;
        let (level, logger) = (level_name(event.metadata()), logger(event.metadata()));
        let line = line(self.settings, &self.service, level, logger, &message, &extra);
        self.queue.push(line.as_bytes());
    }
}

/// A line with its end.
fn line(
    settings: LoggingSettings,
    service: &str,
    level: &'static str,
    logger: &str,
    message: &str,
    extra: &Members,
) -> String {
    let timestamp = SystemClock.now().to_string();
    let mut line = if settings.json {
        let line = Line { timestamp, level, logger, message, service, extra };
        // Texts and numbers under names: nothing that JSON could not hold.
        serde_json::to_string(&line).unwrap_or_default()
    } else {
        let mut line = format!("{timestamp} {level:<7} {logger} {message}");
        for (name, value) in &extra.0 {
            let _ = write!(line, " {name}={value}");
        }
        line
    };
    line.push('\n');
    line
}

fn level_name(of: &Metadata<'_>) -> &'static str {
    match *of.level() {
        TraceLevel::ERROR => "ERROR",
        TraceLevel::WARN => "WARNING",
        TraceLevel::INFO => "INFO",
        TraceLevel::DEBUG | TraceLevel::TRACE => "DEBUG",
    }
}

/// Modules with a logger of their own, the longest paths first.
const LOGGERS: [(&str, &str); 15] = [
    ("epr_core::audit", "entity_permissions_core.audit"),
    ("epr_core::handlers::assignments", "entity_permissions_core.assignments"),
    ("epr_core::handlers::check", "entity_permissions_core.authorization"),
    ("epr_core::handlers::explain", "entity_permissions_core.authorization"),
    ("epr_core::handlers::entities", "entity_permissions_core.entities"),
    ("epr_core::handlers::events", "entity_permissions_core.events"),
    ("epr_core::handlers::roles", "entity_permissions_core.roles"),
    ("epr_core::authn", "entity_permissions_core.authentication"),
    ("epr_core::cache", "entity_permissions_core.cache"),
    ("epr_core::outbox", "entity_permissions_core.events"),
    ("epr_core::publish", "entity_permissions_core.events"),
    ("epr_core::relay", "entity_permissions_core.events"),
    ("epr_core::store", "entity_permissions_core.database"),
    ("epr_api::access", "entity_permissions_core.access"),
    ("epr_api", "entity_permissions_core.api"),
];

fn logger<'a>(of: &Metadata<'a>) -> &'a str {
    if !of.target().starts_with("epr") {
        return of.target();
    }
    LOGGERS.iter().find(|(module, _)| of.target().starts_with(module)).map_or(LOGGER, |(_, logger)| logger)
}

/// Whether an event is logged: of libraries only warnings and errors, and SQL statements where the settings ask for
/// them.
fn is_logged(of: &Metadata<'_>) -> bool {
    *of.level() <= TraceLevel::WARN
        || of.target().starts_with("epr")
        || of.target().starts_with(STATEMENT_LOGGER)
        || of.target() == "audit_consumer"
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LineLayer {
    fn enabled(&self, of: &Metadata<'_>, _: Context<'_, S>) -> bool {
        is_logged(of)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        // Names with a dot are for traces.
        fields.extra.0.retain(|(name, _)| !name.contains('.'));
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields.extra);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut extra = Members::default();
        for span in context.event_scope(event).into_iter().flat_map(tracing_subscriber::registry::Scope::from_root) {
            if let Some(fields) = span.extensions().get::<Members>() {
                for (name, value) in &fields.0 {
                    extra.put(name, value.clone());
                }
            }
        }
        self.write(event, extra);
    }
}

/// The fields beside the message, each name once. A list, because there are few of them, and every request and every
/// line has one.
#[derive(Default)]
struct Members(Vec<(&'static str, Value)>);

impl Members {
    /// Sets `name`, replacing its value.
    fn put(&mut self, name: &'static str, value: Value) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, present)) => *present = value,
            None => self.0.push((name, value)),
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    extra: Members,
}

impl Fields {
    fn keep(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => self.extra.put(name, value),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.keep(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.keep(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.keep(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.keep(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.keep(field, value.into());
    }
}

//! Log lines: one JSON object each, or plain text for a terminal.
//!
//! A line has `timestamp`, `level`, `logger`, `message` and `service`, and the event's fields under `extra`. Messages
//! of the service's own events are stable words (`entity_created`); their logger is `entity_permissions_core.` and the
//! module, or `audit_consumer`. Must never log a secret, a token or a message body, and must never wait for standard
//! output: lines go through a queue.

use std::cell::RefCell;
use std::fmt;
use std::io::Write as _;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use epr_core::clock::{Clock as _, SystemClock};
use epr_core::settings::{Level, LoggingSettings};
use epr_core::store::STATEMENT_LOGGER;
use serde::Serialize;
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
        let mut extra = Members::default();
        extra.put("lines", &lines);
        let mut line = Vec::new();
        write_line(&mut line, settings, &service, ("WARNING", LOGGER, "log_lines_dropped"), &extra);
        line
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

/// Memory that a thread keeps from line to line; a longer line is rare.
const MAX_KEPT_BYTES: usize = 16 << 10;

/// What a thread needs to write lines, kept from line to line: every request has one.
#[derive(Default)]
struct Scratch {
    fields: Fields,
    line: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl LineLayer {
    fn write<S: Subscriber + for<'a> LookupSpan<'a>>(
        &self,
        event: &Event<'_>,
        context: &Context<'_, S>,
        to: &mut Scratch,
    ) {
        let Scratch { fields, line } = to;
        fields.clear();
        for span in context.event_scope(event).into_iter().flat_map(tracing_subscriber::registry::Scope::from_root) {
            if let Some(members) = span.extensions().get::<Members>() {
                fields.extra.put_all(members);
            }
        }
        event.record(fields);
        line.clear();
        let head = (level_name(event.metadata()), logger(event.metadata()), fields.message.as_str());
        write_line(line, self.settings, &self.service, head, &fields.extra);
        self.queue.push(line);
        if line.capacity() > MAX_KEPT_BYTES {
            *to = Scratch::default();
        }
    }
}

/// Writes a line with its end. `head`: level, logger and message.
fn write_line(
    line: &mut Vec<u8>,
    settings: LoggingSettings,
    service: &str,
    (level, logger, message): (&str, &str, &str),
    extra: &Members,
) {
    let timestamp = SystemClock.now();
    // Writing to memory cannot fail.
    if settings.json {
        let _ =
            write!(line, "{{\"timestamp\":\"{timestamp}\",\"level\":\"{level}\",\"logger\":\"{logger}\",\"message\":");
        write_json(line, message);
        line.extend_from_slice(b",\"service\":");
        write_json(line, service);
        for (at, (name, value)) in extra.iter().enumerate() {
            // Names are identifiers of the program: none needs an escape.
            line.extend_from_slice(if at == 0 { b",\"extra\":{\"" } else { b",\"" });
            line.extend_from_slice(name.as_bytes());
            line.extend_from_slice(b"\":");
            line.extend_from_slice(value);
        }
        line.extend_from_slice(if extra.is_empty() { b"}" } else { b"}}" });
    } else {
        let _ = write!(line, "{timestamp} {level:<7} {logger} {message}");
        for (name, value) in extra.iter() {
            let _ = write!(line, " {name}=");
            line.extend_from_slice(value);
        }
    }
    line.push(b'\n');
}

/// Writes a value as JSON. Texts, numbers and words are nothing that JSON could not hold.
fn write_json<T: Serialize + ?Sized>(to: &mut Vec<u8>, value: &T) {
    let _ = serde_json::to_writer(to, value);
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
        fields.extra.retain(|name| !name.contains('.'));
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields.extra);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
            Ok(mut scratch) => self.write(event, &context, &mut scratch),
            // A value that logs while it is written.
            Err(_) => self.write(event, &context, &mut Scratch::default()),
        });
    }
}

/// The fields beside the message, each name once, with their values as JSON. A list, because there are few of them.
#[derive(Default)]
struct Members {
    /// Each name with the place of its value in `values`.
    places: Vec<(&'static str, Range<usize>)>,
    values: Vec<u8>,
}

impl Members {
    /// Sets `name`, replacing its value.
    fn put<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) {
        let begin = self.values.len();
        write_json(&mut self.values, value);
        self.place(name, begin);
    }

    /// Sets each of `others`.
    fn put_all(&mut self, others: &Self) {
        for (name, value) in others.iter() {
            let begin = self.values.len();
            self.values.extend_from_slice(value);
            self.place(name, begin);
        }
    }

    /// The value of `name` is what was written from `begin` on.
    fn place(&mut self, name: &'static str, begin: usize) {
        let place = begin..self.values.len();
        match self.places.iter_mut().find(|(known, _)| *known == name) {
            Some((_, present)) => *present = place,
            None => self.places.push((name, place)),
        }
    }

    fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.places.retain(|(name, _)| wanted(name));
    }

    fn iter(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let value = |place: &Range<usize>| self.values.get(place.clone()).unwrap_or_default();
        self.places.iter().map(move |(name, place)| (*name, value(place)))
    }

    fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    fn clear(&mut self) {
        self.places.clear();
        self.values.clear();
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    extra: Members,
}

impl Fields {
    fn clear(&mut self) {
        self.message.clear();
        self.extra.clear();
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => {
                self.message.clear();
                let _ = fmt::Write::write_fmt(&mut self.message, format_args!("{value:?}"));
            }
            name => self.extra.put(name, &format_args!("{value:?}")),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => self.extra.put(name, value),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.extra.put(field.name(), &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.extra.put(field.name(), &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.extra.put(field.name(), &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.extra.put(field.name(), &value);
    }
}

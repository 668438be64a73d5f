//! Traces over OTLP, as the standard `OTEL_*` variables say; off, and free, unless an endpoint is set.
//!
//! Knows nothing of HTTP: it reads and returns a `traceparent`. Fields with a dot in their name are for traces only and
//! do not get into the log.

use std::sync::OnceLock;

use epr_boot::logging::ExtraLayer;
use epr_core::domain::TraceParent;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::filter_fn;

static ON: OnceLock<()> = OnceLock::new();

/// Why traces cannot be exported: a sentence for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracesError(pub String);

impl std::fmt::Display for TracesError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for TracesError {}

/// The export of spans.
pub struct Traces {
    provider: SdkTracerProvider,
}

/// Starts to export if the environment sets an endpoint. Must be called before any runtime is entered: the exporter has
/// a thread of its own.
///
/// # Errors
/// The variables demand something that is not supported, or do not parse.
pub fn start(service: &str) -> Result<Option<Traces>, TracesError> {
    let get = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let endpoint = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"].into_iter().find_map(get);
    let off = get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || get("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
    if endpoint.is_none() || off {
        return Ok(None);
    }
    for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
        if let Some(given) = get(name).filter(|given| given != "http/protobuf") {
            return Err(TracesError(format!("{name} is `{given}`; allowed: http/protobuf")));
        }
    }
    let exporter =
        SpanExporter::builder().with_http().with_protocol(opentelemetry_otlp::Protocol::HttpBinary).build().map_err(
            |error| TracesError(format!("traces cannot be exported as the OTEL_ variables demand: {error}")),
        )?;
    let mut resource = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    let named = get("OTEL_SERVICE_NAME").is_some()
        || get("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|attributes| attributes.contains("service.name="));
    if !named {
        resource = resource.with_service_name(service.to_owned());
    }
    // The sampler and the batches are read from the environment by the SDK.
    let provider = SdkTracerProvider::builder().with_resource(resource.build()).with_batch_exporter(exporter).build();
    let _ = ON.set(());
    Ok(Some(Traces { provider }))
}

impl epr_boot::Traces for Traces {
    fn layer(&self) -> ExtraLayer {
        let tracer = self.provider.tracer("epr");
        let layer = tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_threads(false);
        // Spans only: log lines stay in the log.
        let ours =
            filter_fn(|of| of.is_span() && of.target().starts_with("epr") && *of.level() <= tracing::Level::INFO);
        layer.with_filter(ours).boxed()
    }

    fn finish(self: Box<Self>) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(error = %error, "traces_not_exported");
        }
    }
}

/// Whether spans are exported.
#[must_use]
pub fn on() -> bool {
    ON.get().is_some()
}

/// Makes `span` a child of the caller's span.
pub fn adopt(span: &Span, caller: Option<TraceParent>) {
    let Some(caller) = caller else { return };
    let (trace, parent) = (TraceId::from_bytes(caller.trace_id()), SpanId::from_bytes(caller.span_id()));
    let context = SpanContext::new(trace, parent, TraceFlags::new(caller.flags()), true, TraceState::NONE);
    let _ = span.set_parent(Context::new().with_remote_span_context(context));
}

/// The `traceparent` to pass on from within the current span: that span's where spans are exported, else the caller's.
#[must_use]
pub fn outgoing(caller: Option<TraceParent>) -> Option<TraceParent> {
    if !on() {
        return caller;
    }
    let context = Span::current().context();
    let span = context.span();
    let own = span.span_context();
    TraceParent::new(own.trace_id().to_bytes(), own.span_id().to_bytes(), own.trace_flags().to_u8()).or(caller)
}

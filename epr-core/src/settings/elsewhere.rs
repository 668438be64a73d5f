//! Variables of EPR that other programs and crates read. They are declared here so that the page is complete and none
//! is reported as unknown.

use super::variable::{Section, Variable};

const ACTOR_ID: Variable = Variable::optional(
    "EPR_ACTOR_ID",
    "a UUID",
    "The actor that the ledger names for changes by the command `epr`, as `--actor` does.",
);
const API_TOKEN: Variable = Variable::optional(
    "EPR_API_TOKEN",
    "a token",
    "The token that the command `epr` sends with `--url`, as `--token-file` does.",
)
.secret();

pub(super) const COMMAND: Section = Section { title: "The command `epr`", variables: &[ACTOR_ID, API_TOKEN] };

const OTLP_ENDPOINT: Variable = Variable::optional(
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "a URL",
    "Collector that the API sends traces to, as OTLP over HTTP. Not set: no traces. \
     `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_TRACES_SAMPLER`, `OTEL_SERVICE_NAME` \
     and the other standard variables are read, too: see [METRICS.md](METRICS.md).",
);

pub(super) const TRACES: Section = Section { title: "Traces", variables: &[OTLP_ENDPOINT] };

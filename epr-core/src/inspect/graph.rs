//! The registry in memory: whether it fits.

use super::cause::cause;
use super::{Finding, State};
use crate::Epr;
use crate::settings::GraphSettings;

const GRAPH: &str = "graph";

/// How much memory the registry needs in a process, and whether it may have it.
pub(super) async fn graph(epr: &Epr, settings: GraphSettings) -> Finding {
    if settings == GraphSettings::Off {
        let seen = "EPR_GRAPH or EPR_DECISION_CACHE is off: checks read the database";
        return Finding::new(GRAPH, State::Unused, seen);
    }
    match epr.graph_bytes().await {
        Err(error) => Finding::new(GRAPH, State::Doubtful, cause(&error))
            .advise("until the registry can be read into memory, checks read the database"),
        Ok(bytes) => {
            let needed = bytes.div_ceil(1 << 20);
            match settings.max_bytes() {
                Some(most) if bytes > most => {
                    let seen = format!("the registry needs {needed} MiB in memory, EPR_GRAPH_MB is {}", most >> 20);
                    Finding::new(GRAPH, State::Doubtful, seen)
                        .advise("checks read the database: raise EPR_GRAPH_MB, or set EPR_GRAPH=off")
                }
                Some(_) | None => {
                    Finding::new(GRAPH, State::Fine, format!("the registry needs {needed} MiB in each process"))
                }
            }
        }
    }
}

//! The hierarchy of entities: cycles, and entities deeper than new ones can be.

use super::cause::cause;
use super::{Finding, State};
use crate::Epr;
use crate::store::{HierarchyState, MAX_LEVELS, chain_text};

/// Maximum number of cycles that are named.
const MAX_NAMED_CYCLES: usize = 5;

/// The state of the hierarchy.
pub(super) async fn hierarchy(epr: &Epr) -> Finding {
    match epr.hierarchy().await {
        Err(error) => Finding::new("hierarchy", State::Wrong, cause(&error)),
        Ok(state) => of_state(&state),
    }
}

fn of_state(state: &HierarchyState) -> Finding {
    let mut seen = Vec::new();
    if state.rootless > 0 {
        let named: Vec<_> = state.cycles.iter().take(MAX_NAMED_CYCLES).map(|cycle| chain_text(cycle)).collect();
        let more = match state.cycles.len().saturating_sub(MAX_NAMED_CYCLES) {
            0 => String::new(),
            more => format!("; and {more} more cycles"),
        };
        seen.push(format!("{} entities are in or below a cycle: {}{more}", state.rootless, named.join("; ")));
    }
    if state.too_deep > 0 {
        let named: Vec<_> = state.examples.iter().map(ToString::to_string).collect();
        seen.push(format!(
            "{} entities are deeper than {MAX_LEVELS} levels, the deepest on level {}; the first: {}",
            state.too_deep,
            state.levels,
            named.join(", ")
        ));
    }
    if state.rootless > 0 {
        Finding::new("hierarchy", State::Wrong, seen.join("; ")).advise(
            "detach one entity of each cycle: `epr entities update ID --no-parent`; an assignment above it does not \
             reach its members",
        )
    } else if state.too_deep > 0 {
        Finding::new("hierarchy", State::Doubtful, seen.join("; "))
            .advise("they keep working, but every check of them reads all levels; move them closer to the root")
    } else {
        Finding::new("hierarchy", State::Fine, format!("{} levels, no cycle", state.levels))
    }
}

//! The health of this process and of what it depends on, as far as it is known without a long look: `epr doctor` looks
//! longer.

use epr_core::TierState;
use epr_core::authn::Scope;

use crate::Page;
use crate::blocks::{Cell, Facts, Look, Notice};
use crate::page::{Answer, Page as Shown};
use crate::visitor::Ask;

pub(crate) const TAB: &str = "/console/health";
/// The largest offset of the clock that needs no attention, in seconds.
const MAX_CLOCK_OFFSET: f64 = 1.0;

pub(crate) fn pages() -> Vec<Page> {
    vec![Page::get(TAB, show)]
}

/// The state of one thing.
pub(super) struct Finding {
    pub(super) label: &'static str,
    look: Look,
    seen: String,
}

impl Finding {
    pub(super) fn cell(&self) -> Cell {
        Cell::new(self.look, &self.seen)
    }
}

/// What this process knows without asking.
pub(super) fn findings(ask: &Ask) -> Vec<Finding> {
    let t = ask.texts();
    let epr = ask.epr();
    let look = |state: TierState| match state {
        TierState::Ok => Look::Good,
        TierState::Bypassed => Look::Warning,
        TierState::Off => Look::Muted,
    };
    let (memory, shared) = epr.cache_state();
    let mut findings = vec![Finding { label: t.cache, look: look(memory), seen: memory.word().to_owned() }];
    if let Some((kind, state)) = shared {
        let seen = format!("{kind}: {}", state.word());
        findings.push(Finding { label: t.shared_cache, look: look(state), seen });
    }
    findings.push(match epr.checkpoint_status() {
        None => Finding { label: t.checkpoints, look: Look::Muted, seen: t.not_configured.to_owned() },
        Some(status) => {
            let (look, seen) = match (&status.inconsistent, &status.failing, status.newest) {
                (Some(why), ..) => (Look::Bad, why.clone()),
                (None, Some(why), _) => (Look::Warning, why.clone()),
                (None, None, Some((size, at))) => (Look::Good, format!("{size} · {}", crate::format::time(at))),
                (None, None, None) => (Look::Muted, t.none.to_owned()),
            };
            Finding { label: t.checkpoints, look, seen }
        }
    });
    findings.extend(epr.clock_offset().map(|offset| {
        let look = if offset.abs() <= MAX_CLOCK_OFFSET { Look::Good } else { Look::Bad };
        Finding { label: t.clock, look, seen: format!("{offset:+.3} s") }
    }));
    findings
}

async fn show(ask: Ask) -> Answer {
    ask.visitor.require(Scope::Operate)?;
    let t = ask.texts();
    let epr = ask.epr();
    let mut all = vec![match epr.check_ready().await {
        Ok(()) => Finding { label: t.ready, look: Look::Good, seen: t.yes.to_owned() },
        Err(error) => Finding { label: t.ready, look: Look::Bad, seen: epr_core::error::chain(&error) },
    }];
    all.extend(findings(&ask));
    // The schema was compared above; each of these is one statement.
    if let Ok(history) = epr.history_state().await {
        let complete = history.complete_to >= history.registry_sequence && history.is_filled;
        let look = if complete { Look::Good } else { Look::Warning };
        let seen = format!("{} / {}", history.complete_to, history.registry_sequence);
        all.push(Finding { label: t.history, look, seen });
    }
    if let Ok(Some(connections)) = epr.connections().await {
        let seen = format!("{} / {}", connections.used, connections.max);
        all.push(Finding { label: t.connections, look: Look::Plain, seen });
    }
    if let Some(mode) = epr.pooler() {
        all.push(Finding { label: t.pooler, look: Look::Plain, seen: mode.to_owned() });
    }
    let facts = all.iter().map(|finding| (finding.label, finding.cell())).collect();
    let hint = Notice::new(Look::Plain, [t.doctor_hint.to_owned()]);
    Ok(Shown::new(t.health, TAB).section("", vec![Facts::new(facts).into(), hint.into()]).respond(&ask))
}

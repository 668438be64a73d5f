//! The drawing of an explanation: everywhere, the ancestors, and the resource as levels from top to bottom, with the
//! assignments of each level and the gates that they pass.
//!
//! Owns positions and shapes. The table beside it has everything that a drawing leaves out.

use askama::Template;
use epr_core::decision::{ConditionResult, ExplainedAssignment, Explanation, WindowState};

use crate::format::visible;
use crate::texts::Texts;

/// The width of the drawing in its own units.
const WIDTH: u32 = 760;
/// The height of an assignment with the space below it.
const CARD_STEP: u32 = 76;
/// The height of an assignment.
const CARD_HEIGHT: u32 = 64;
/// The space between two levels.
const GAP: u32 = 22;
/// The height of the box of a level: that of an assignment, so that the line between them is straight.
const BOX_HEIGHT: u32 = CARD_HEIGHT;
/// The most characters of a name in the drawing.
const MAX_CHARS: usize = 24;
/// The most assignments of a level that are drawn.
const MAX_CARDS: usize = 6;

/// A drawing.
#[derive(Template)]
#[template(path = "drawing.html")]
pub(crate) struct Drawing {
    t: &'static Texts,
    description: String,
    width: u32,
    height: u32,
    /// Where the line through the levels begins and ends.
    line: (u32, u32),
    levels: Vec<Level>,
}

struct Level {
    name: String,
    /// The whole name.
    title: String,
    kind: String,
    class: &'static str,
    y: u32,
    cards: Vec<Card>,
    /// Where the text about assignments that are not drawn is, and their number.
    more: Option<(u32, usize)>,
}

struct Card {
    role: String,
    title: String,
    class: &'static str,
    y: u32,
    middle: u32,
    verdict: String,
    gates: Vec<Gate>,
}

struct Gate {
    x: u32,
    y: u32,
    class: &'static str,
    /// A sign that says the state without colour.
    sign: &'static str,
    label: &'static str,
}

impl Drawing {
    pub(crate) fn of(t: &'static Texts, explanation: &Explanation) -> Self {
        let resource = &explanation.resource;
        let mut names = vec![(None, t.everywhere.to_owned(), String::new(), "level")];
        for one in resource.ancestors.iter().rev() {
            names.push((Some(one.id), one.name.clone(), one.entity_type.word().to_owned(), "level"));
        }
        names.push((
            Some(resource.id),
            resource.name.clone(),
            resource.entity_type.word().to_owned(),
            "level resource",
        ));
        let mut y = 8;
        let mut levels = Vec::new();
        for (id, name, kind, class) in names {
            let here = explanation.assignments.iter().filter(|one| one.entity.as_ref().map(|entity| entity.id) == id);
            let here: Vec<_> = here.collect();
            let mut card_y = y;
            let mut cards = Vec::new();
            for one in here.iter().take(MAX_CARDS) {
                cards.push(card(t, one, card_y));
                card_y += CARD_STEP;
            }
            let left = here.len().saturating_sub(MAX_CARDS);
            let more = (left > 0).then_some((card_y + 14, left));
            let used = card_y + if left > 0 { GAP } else { 0 };
            let (shown, title) = (shortened(&name), visible(&name));
            levels.push(Level { name: shown, title, kind, class, y, cards, more });
            y = used.max(y + BOX_HEIGHT) + GAP;
        }
        let last = levels.last().map_or(0, |level| level.y);
        Self {
            t,
            description: visible(&explanation.sentence),
            width: WIDTH,
            height: y,
            line: (8 + BOX_HEIGHT, last),
            levels,
        }
    }
}

fn card(t: &'static Texts, one: &ExplainedAssignment, y: u32) -> Card {
    let states = [
        (t.gate_action, Some(one.holds_action)),
        (t.gate_type, Some(one.in_scope)),
        (t.gate_window, Some(one.window.state == WindowState::InForce)),
        (t.gate_condition, one.condition.as_ref().map(|condition| condition.outcome == ConditionResult::True)),
    ];
    let mut x = 312;
    let mut gates = Vec::new();
    for (label, passed) in states {
        let (class, sign) = match passed {
            Some(true) => ("gate good", "✓"),
            Some(false) => ("gate bad", "✗"),
            None => ("gate none", "–"),
        };
        gates.push(Gate { x, y: y + 46, class, sign, label });
        x += 112;
    }
    let verdict = match one.why_not {
        None => t.applies.to_owned(),
        Some(why) => why.to_string(),
    };
    Card {
        role: shortened(&one.role.name),
        title: visible(&one.role.name),
        class: if one.applies { "card good" } else { "card bad" },
        y,
        middle: y + CARD_HEIGHT / 2,
        verdict,
        gates,
    }
}

fn shortened(text: &str) -> String {
    let text = visible(text);
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

//! Properties over random expressions: time, order, and any text.

use super::random::{Source, seed};
use super::{World, shown};
use crate::decision::condition::{Compiled, Outcome};
use crate::domain::{Condition, Timestamp};

/// How far the clock walks, in microseconds.
const TICKS: i64 = 24;

fn at(world: &World, ticks: i64) -> World {
    let now = Timestamp::from_unix_micros(world.now.unix_micros() + ticks).unwrap();
    World { now, ..world.clone() }
}

/// The outcome without what may depend on the order of operands: which of two errors is reported.
fn class(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Error(_) => "error".into(),
        other => shown(other),
    }
}

#[test]
fn until_the_moment_that_an_evaluation_names_the_outcome_stays_the_same() {
    let mut source = Source::new(seed());
    let (mut changed, mut early) = (0, 0);
    for _ in 0..4_000 {
        let levels = 1 + source.below(4);
        let (condition, world) = (source.condition(levels), source.world());
        let Ok(compiled) = Compiled::new(&condition) else { continue };
        let first = compiled.evaluate(&world.inputs());
        let ticks = first.until.map(|until| until.unix_micros() - world.now.unix_micros());
        assert!(ticks.is_none_or(|ticks| ticks > 0), "{}: until is not after now", condition.expression);
        assert!(ticks.is_none() || compiled.reads().now, "{}: only `now` moves", condition.expression);
        for tick in 1..=TICKS {
            let later = compiled.evaluate(&at(&world, tick).inputs());
            if class(&later.outcome) != class(&first.outcome) {
                changed += 1;
                let foretold = ticks.is_some_and(|ticks| tick >= ticks);
                assert!(
                    foretold,
                    "{} with {:?}: until {ticks:?}, but at {tick} {:?} became {:?}",
                    condition.expression, world.context, first.outcome, later.outcome
                );
                early += i32::from(ticks != Some(tick));
                break;
            }
        }
    }
    // Most changes are foretold exactly, and there are enough of them for the property to mean something.
    assert!(changed > 200 && early * 3 < changed, "{changed} outcomes changed, {early} later than foretold");
}

#[test]
fn the_order_of_operands_does_not_matter() {
    let mut source = Source::new(seed());
    for _ in 0..1_500 {
        let (one, other, world) = (source.condition(2), source.condition(2), source.world());
        for operator in ["&&", "||"] {
            let outcome = |left: &Condition, right: &Condition| {
                let expression = format!("({}) {operator} ({})", left.expression, right.expression);
                let compiled = Compiled::new(&Condition { expression, ..left.clone() }).ok()?;
                let whole = compiled.evaluate(&world.inputs()).outcome;
                let parts: Vec<_> = compiled.parts(&world.inputs()).into_iter().map(|part| part.value).collect();
                assert_eq!(class(&whole), class(&combined(operator, &parts)), "{}", compiled.source().expression);
                Some(class(&whole))
            };
            assert_eq!(outcome(&one, &other), outcome(&other, &one), "{one:?} {operator} {other:?}");
        }
    }
}

/// What the outcomes of two operands make together.
fn combined(operator: &str, parts: &[Outcome]) -> Outcome {
    let (decides, otherwise) =
        if operator == "&&" { (Outcome::False, Outcome::True) } else { (Outcome::True, Outcome::False) };
    if parts.contains(&decides) {
        return decides;
    }
    if let Some(error) = parts.iter().find(|part| matches!(part, Outcome::Error(_))) {
        return error.clone();
    }
    let names =
        parts.iter().filter_map(|part| if let Outcome::Missing(names) = part { Some(names.clone()) } else { None });
    names.reduce(|one, more| &one | &more).map_or(otherwise, Outcome::Missing)
}

#[test]
fn no_text_makes_the_compiler_or_the_evaluator_panic() {
    let mut source = Source::new(seed());
    let pieces = [
        "(", ")", "[", "]", "{", "}", "'", "\"\"\"", "\\", "!", "-", "?", ":", " in ", "&&", ".", ",", "é", "0x", "1e",
        "r'", "//", "\n",
    ];
    let mut accepted = 0;
    for _ in 0..10_000 {
        let mut condition = source.condition(2);
        for _ in 0..source.below(4) {
            let mut text: Vec<char> = condition.expression.chars().collect();
            let from = source.below(text.len() + 1);
            let to = (from + source.below(4)).min(text.len());
            text.splice(from..to, pieces[source.below(pieces.len())].chars());
            condition.expression = text.into_iter().collect();
        }
        match Compiled::new(&condition) {
            Ok(compiled) => {
                accepted += 1;
                let world = source.world();
                let _ = (compiled.evaluate(&world.inputs()), compiled.parts(&world.inputs()));
            }
            Err(error) => assert!(error.position <= condition.expression.chars().count() && !error.reason.is_empty()),
        }
    }
    assert!(accepted > 500, "only {accepted} expressions were accepted");
}

//! Walks the clock: a decision stays the same until the moment that it names, and what the facts say whatever the
//! context is, within its span.

use proptest::prelude::*;
use uuid::Uuid;

use super::{
    AskedAction, AssignmentFacts, ConditionFacts, ConditionOwner, Facts, PrincipalFacts, Question, ResourceFacts,
    decide,
};
use crate::domain::json::object;
use crate::domain::{EntityType, Timestamp};

const PRINCIPAL: Uuid = Uuid::from_u128(9);
const RESOURCE: Uuid = Uuid::from_u128(1);
/// The time that is walked, in microseconds.
const LENGTH: i64 = 40;

fn instant(micros: i64) -> Timestamp {
    Timestamp::from_unix_micros(1_700_000_000_000_000 + micros).unwrap()
}

/// A condition on the time, one on the context, or both.
fn condition() -> impl Strategy<Value = String> {
    let comparison = prop_oneof![Just("<"), Just("<="), Just(">"), Just(">="), Just("=="), Just("!=")];
    let timed =
        (comparison, 0..LENGTH).prop_map(|(comparison, at)| format!("now {comparison} timestamp('{}')", instant(at)));
    let leaf = prop_oneof![
        4 => timed,
        1 => (0..LENGTH).prop_map(|at| format!("now - timestamp('{}') > duration('5us')", instant(at))),
        1 => Just("context.open".to_owned()),
        1 => Just("context.absent".to_owned()),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one}) && ({other})")),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one}) || ({other})")),
            inner.prop_map(|one| format!("!({one})")),
        ]
    })
}

fn assignment() -> impl Strategy<Value = AssignmentFacts> {
    let window = (0..LENGTH, proptest::option::of(1..LENGTH));
    (any::<u128>(), window, proptest::option::of(condition())).prop_map(|(id, (from, lasts), expression)| {
        let stored = expression.map(|expression| {
            object([
                ("expression", expression.into()),
                ("parameters", object([("open", "bool".into()), ("absent", "bool".into())]).into()),
            ])
        });
        AssignmentFacts {
            assignment_id: Uuid::from_u128(id),
            principal_id: PRINCIPAL,
            principal_type: "user".into(),
            role_id: Uuid::nil(),
            entity_id: None,
            effective_at: instant(from),
            expires_at: lasts.map(|lasts| instant(from + lasts)),
            scope_types: [].into(),
            held_action: Some("a:b".into()),
            conditions: stored
                .into_iter()
                .map(|stored| {
                    ConditionFacts::of(ConditionOwner::Assignment, &crate::domain::Json::from(stored).to_string())
                })
                .collect(),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_decision_changes_by_itself_before_the_moment_that_it_names(
        assignments in proptest::collection::vec(assignment(), 1..4),
        start in -2..LENGTH,
        open in any::<bool>(),
    ) {
        let facts = Facts {
            principal: PrincipalFacts::default(),
            resource: ResourceFacts::of(EntityType::Spv),
            assigned_entities: vec![],
            assignments,
        };
        let question = Question::new(PRINCIPAL, AskedAction::new("a:b").unwrap(), RESOURCE);
        let context = object([("open", open.into())]);
        let first = decide(&question, &facts, &context, instant(start)).unwrap();
        for error in facts.assignments.iter().flat_map(|assignment| &assignment.conditions) {
            prop_assert!(error.compiled.is_ok(), "{error:?}");
        }
        let (resolved, span) = (facts.resolve(&question, instant(start)), facts.span(instant(start)));
        for micros in start..3 * LENGTH {
            let now = instant(micros);
            if first.until.is_none_or(|until| now < until) {
                let later = decide(&question, &facts, &context, now).unwrap();
                prop_assert_eq!(later.decision, first.decision, "{} after {}: {:?}", micros, start, facts);
            }
            if span.contains(now) {
                prop_assert_eq!(&facts.resolve(&question, now), &resolved);
            }
        }
    }
}

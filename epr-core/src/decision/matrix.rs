//! Compares [`decide`] with the checked-in table of decisions, `matrix.tsv`.

use uuid::Uuid;

use super::{
    AskedAction, AssignmentFacts, ConditionFacts, ConditionOwner, Facts, PrincipalFacts, Question, ResourceFacts,
    decide,
};
use crate::domain::json::object;
use crate::domain::{EntityType, Json, JsonObject, Timestamp};

const MATRIX: &str = include_str!("matrix.tsv");
const RESOURCE: Uuid = Uuid::from_u128(1);
const PARENT: Uuid = Uuid::from_u128(2);
const UNRELATED: Uuid = Uuid::from_u128(3);
const CHILD: Uuid = Uuid::from_u128(4);
const PRINCIPAL: Uuid = Uuid::from_u128(9);

fn moment(second: i64) -> Timestamp {
    Timestamp::from_unix_micros(1_700_000_000_000_000 + second * 1_000_000).unwrap()
}

fn condition(stored: &str) -> ConditionFacts {
    ConditionFacts::of(ConditionOwner::Assignment, stored)
}

/// The condition of a row, and the context of its question.
fn conditioned(outcome: &str) -> (Vec<ConditionFacts>, JsonObject) {
    let limit = r#"{"expression":"context.amount <= 100","parameters":{"amount":"int"}}"#;
    let amount = |amount: i64| object([("amount", Json::Int(amount))]);
    match outcome {
        "none" => (Vec::new(), JsonObject::new()),
        "true" => (vec![condition(limit)], amount(100)),
        "false" => (vec![condition(limit)], amount(101)),
        "missing" => (vec![condition(limit)], JsonObject::new()),
        "error" => {
            let divided = r#"{"expression":"1 / context.amount == 1","parameters":{"amount":"int"}}"#;
            (vec![condition(divided)], amount(0))
        }
        "wrong_type" => (vec![condition(limit)], object([("amount", "100".into())])),
        other => panic!("{other}"),
    }
}

#[test]
fn every_row_of_the_matrix_holds() {
    let mut rows = 0;
    for line in MATRIX.lines().filter(|line| !line.starts_with('#')).skip(1) {
        let [reach, action, scope, window, principal, _status, standing, outcome, decision, reason] =
            <[&str; 10]>::try_from(line.split('\t').collect::<Vec<_>>()).unwrap();
        let now = match window {
            "before" => moment(0).plus_seconds(-1),
            "at_start" => moment(0),
            "inside" | "endless" => moment(5),
            "at_end" => moment(10),
            "after" => moment(11),
            other => panic!("{other}"),
        };
        let (conditions, context) = conditioned(outcome);
        let assignment = AssignmentFacts {
            assignment_id: Uuid::from_u128(100),
            principal_id: PRINCIPAL,
            principal_type: if principal == "same" { "user" } else { "service" }.into(),
            role_id: Uuid::from_u128(200),
            entity_id: match reach {
                "direct" => Some(RESOURCE),
                "inherited" => Some(PARENT),
                "global" => None,
                "elsewhere" => Some(UNRELATED),
                "below" => Some(CHILD),
                other => panic!("{other}"),
            },
            effective_at: moment(0),
            expires_at: (window != "endless").then(|| moment(10)),
            scope_types: match scope {
                "any" => [].into(),
                "matching" => [EntityType::Offering, EntityType::Spv].into(),
                "parent_only" => [EntityType::Issuer].into(),
                other => panic!("{other}"),
            },
            held_action: (action == "held").then(|| "document:download".into()),
            conditions,
        };
        let facts = Facts {
            principal: PrincipalFacts { is_suspended: standing == "suspended", ..PrincipalFacts::default() },
            resource: ResourceFacts::of(EntityType::Spv),
            assigned_entities: vec![RESOURCE, PARENT],
            assignments: vec![assignment],
        };
        let question = Question::new(PRINCIPAL, AskedAction::new("document:download").unwrap(), RESOURCE);
        let decided = match decide(&question, &facts, &context, now) {
            Ok(evaluated) if evaluated.decision.allowed => ("allow", evaluated.decision.reason.code()),
            Ok(evaluated) => ("deny", evaluated.decision.reason.code()),
            Err(_) => ("refuse", "parameter_type"),
        };
        assert_eq!(decided, (decision, reason), "{line}");
        rows += 1;
    }
    assert_eq!(rows, 3060);
}

fn held(entity_id: Option<Uuid>) -> AssignmentFacts {
    AssignmentFacts {
        assignment_id: Uuid::nil(),
        principal_id: PRINCIPAL,
        principal_type: "user".into(),
        role_id: Uuid::nil(),
        entity_id,
        effective_at: moment(0),
        expires_at: None,
        scope_types: [].into(),
        held_action: Some("a:b".into()),
        conditions: vec![],
    }
}

fn facts(assignments: Vec<AssignmentFacts>) -> Facts {
    Facts {
        principal: PrincipalFacts::default(),
        resource: ResourceFacts::of(EntityType::Spv),
        assigned_entities: vec![RESOURCE, PARENT],
        assignments,
    }
}

fn question() -> Question {
    Question::new(PRINCIPAL, AskedAction::new("a:b").unwrap(), RESOURCE)
}

#[test]
fn one_microsecond_decides() {
    let instant = |micros: i64| Timestamp::from_unix_micros(1_700_000_000_000_000 + micros).unwrap();
    let facts = facts(vec![AssignmentFacts { expires_at: Some(instant(2)), ..held(None) }]);
    let allowed = |micros| decide(&question(), &facts, &JsonObject::new(), instant(micros)).unwrap().decision.allowed;
    assert_eq!((-1..=2).map(allowed).collect::<Vec<_>>(), [false, true, true, false]);
}

#[test]
fn the_best_of_several_assignments_counts() {
    let not_held = |entity_id| AssignmentFacts { held_action: None, ..held(entity_id) };
    let facts = facts(vec![not_held(None), held(Some(PARENT)), not_held(Some(RESOURCE))]);
    assert!(decide(&question(), &facts, &JsonObject::new(), moment(1)).unwrap().decision.allowed);
}

/// The reason with these outcomes on one assignment each; `None` when the context is refused.
fn reason_of(outcomes: &[&str]) -> Option<&'static str> {
    let limit =
        |name: &str| format!(r#"{{"expression":"context.is_{name} <= 100","parameters":{{"is_{name}":"int"}}}}"#);
    let stored = |outcome: &str| match outcome {
        "error" => r#"{"expression":"1 / context.zero == 1","parameters":{"zero":"int"}}"#.to_owned(),
        "later" => r#"{"expression":"true","parameters":{"a":"type of a later version"}}"#.to_owned(),
        outcome => limit(outcome),
    };
    let context = object([
        ("is_true", Json::Int(1)),
        ("is_false", Json::Int(101)),
        ("zero", Json::Int(0)),
        ("is_wrong_type", "1".into()),
    ]);
    let conditional = |(at, outcome): (usize, &&str)| AssignmentFacts {
        assignment_id: Uuid::from_u128(at as u128),
        conditions: if *outcome == "none" { vec![] } else { vec![condition(&stored(outcome))] },
        ..held(None)
    };
    let facts = facts(outcomes.iter().enumerate().map(conditional).collect());
    let decided = decide(&question(), &facts, &context, moment(1)).ok()?;
    Some(decided.decision.reason.code())
}

#[test]
fn of_several_conditions_the_one_that_got_furthest_gives_the_reason_in_any_order() {
    for (outcomes, reason) in [
        (&["error", "true"][..], Some("granted")),
        (&["later"], Some("condition_error")),
        (&["error", "false"], Some("condition_not_met")),
        (&["later", "false", "missing"], Some("context_missing")),
        (&["true", "wrong_type"], None),
        (&["none", "wrong_type"], Some("granted")),
    ] {
        let reversed: Vec<_> = outcomes.iter().rev().copied().collect();
        assert_eq!((reason_of(outcomes), reason_of(&reversed)), (reason, reason), "{outcomes:?}");
    }
}

#[test]
fn a_residual_is_the_same_in_any_order_of_its_assignments() {
    let limit = r#"{"expression":"context.amount <= 100","parameters":{"amount":"int"}}"#;
    let at = |id| AssignmentFacts {
        assignment_id: Uuid::from_u128(id),
        conditions: vec![condition(limit)],
        ..held(Some(PARENT))
    };
    let resolve = |ids: &[u128]| facts(ids.iter().copied().map(at).collect()).resolve(&question(), moment(1));
    assert_eq!(resolve(&[1, 2, 3]), resolve(&[3, 1, 2]));
}

#[test]
fn the_conditions_of_an_assignment_and_its_role_must_both_hold() {
    let with = |expression: &str| condition(&format!(r#"{{"expression":"{expression}"}}"#));
    for (own, of_role, allowed) in
        [("true", "true", true), ("true", "false", false), ("false", "true", false), ("1/0 == 1", "false", false)]
    {
        let facts = facts(vec![AssignmentFacts { conditions: vec![with(own), with(of_role)], ..held(None) }]);
        let evaluated = decide(&question(), &facts, &JsonObject::new(), moment(1)).unwrap();
        assert_eq!(evaluated.decision.allowed, allowed, "{own} and {of_role}");
        assert_eq!(evaluated.parameters, Some([].into()));
        // What is false is false, whatever else cannot be evaluated.
        let expected = if allowed { "granted" } else { "condition_not_met" };
        assert_eq!(evaluated.decision.reason.code(), expected, "{own} and {of_role}");
    }
}

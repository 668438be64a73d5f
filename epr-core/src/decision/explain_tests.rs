//! Explanations of every reason, their sentences, and the moment at which they end.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::explain::{NamedFacts, Registration, explain};
use super::explanation::{ConditionResult, ExplainedEntity, Explanation};
use super::{AskedAction, AssignmentFacts, ConditionFacts, ConditionOwner, Denial, Facts, PrincipalFacts, Question};
use super::{ResourceFacts, decide};
use crate::domain::principal::PrincipalStatus;
use crate::domain::{EntityStatus, EntityType, Incarnation, Json, JsonObject, Revision, Timestamp};

const RESOURCE: Uuid = Uuid::from_u128(1);
const PARENT: Uuid = Uuid::from_u128(2);
const PRINCIPAL: Uuid = Uuid::from_u128(9);
const ROLE: Uuid = Uuid::from_u128(200);

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn now() -> Timestamp {
    at("2026-11-23T17:07:00Z")
}

fn question() -> Question {
    Question::new(PRINCIPAL, AskedAction::new("document:download").unwrap(), RESOURCE)
}

/// An assignment on the parent that grants.
fn inherited() -> AssignmentFacts {
    AssignmentFacts {
        assignment_id: Uuid::from_u128(100),
        principal_id: PRINCIPAL,
        principal_type: "user".into(),
        role_id: ROLE,
        entity_id: Some(PARENT),
        effective_at: at("2026-01-01T00:00:00Z"),
        expires_at: None,
        scope_types: [].into(),
        held_action: Some("document:download".into()),
        conditions: vec![],
    }
}

fn with_condition(owner: ConditionOwner, json: &str) -> AssignmentFacts {
    AssignmentFacts { conditions: vec![ConditionFacts::of(owner, json)], ..inherited() }
}

const LIMIT: &str =
    r#"{"expression":"context.amount <= 1000 && principal.id != resource.id","parameters":{"amount":"int"}}"#;

fn world(assignments: Vec<AssignmentFacts>) -> NamedFacts {
    NamedFacts {
        facts: Facts {
            principal: PrincipalFacts::default(),
            resource: ResourceFacts::of(EntityType::Spv),
            assigned_entities: vec![RESOURCE, PARENT],
            assignments,
        },
        resource_type: EntityType::Spv,
        resource_name: "Berlin One".into(),
        resource_external_id: None,
        resource_status: EntityStatus::Active,
        ancestors: vec![ExplainedEntity { id: PARENT, entity_type: EntityType::Issuer, name: "Acme Estates".into() }],
        registration: None,
        role_names: BTreeMap::from([(ROLE, "Document reader".to_owned())]),
        revision: Revision { incarnation: Incarnation(Uuid::from_u128(5)), sequence: 17 },
    }
}

fn context(json: &str) -> JsonObject {
    Json::parse(json.as_bytes()).unwrap().as_object().unwrap().clone()
}

fn explained(assignments: Vec<AssignmentFacts>, context_json: &str) -> Explanation {
    explain(&question(), &world(assignments), &context(context_json), now()).unwrap()
}

#[track_caller]
fn check_sentence(explanation: &Explanation, reason: &str, sentence: &str) {
    assert_eq!((explanation.reason.as_str(), explanation.sentence.as_str()), (reason, sentence));
    assert_eq!(explanation.decision, reason == "granted");
}

#[test]
fn every_reason_has_its_sentence() {
    let assignment = inherited();
    check_sentence(
        &explained(vec![], "{}"),
        "no_assignment",
        "Denied: no role is held on Berlin One, on an ancestor of it, or everywhere.",
    );
    check_sentence(
        &explained(vec![AssignmentFacts { held_action: None, ..assignment.clone() }], "{}"),
        "action_not_held",
        "Denied: the role Document reader is held on Acme Estates, an ancestor, but it does not permit \
         document:download.",
    );
    check_sentence(
        &explained(vec![AssignmentFacts { scope_types: [EntityType::Issuer].into(), ..assignment.clone() }], "{}"),
        "type_out_of_scope",
        "Denied: the role Document reader is held on Acme Estates, an ancestor, but it is not meant for entities of \
         the type spv.",
    );
    let ended = AssignmentFacts { expires_at: Some(at("2026-11-01T12:00:00Z")), ..assignment.clone() };
    check_sentence(
        &explained(vec![ended.clone()], "{}"),
        "expired",
        "Denied: the role Document reader is held on Acme Estates, an ancestor, but its window ended on 2026-11-01 \
         12:00 UTC.",
    );
    let later = AssignmentFacts { effective_at: at("2026-12-01T12:00:30Z"), ..assignment.clone() };
    check_sentence(
        &explained(vec![later], "{}"),
        "not_yet_in_force",
        "Denied: the role Document reader is held on Acme Estates, an ancestor, but its window begins only on \
         2026-12-01 12:00:30 UTC.",
    );
    let before = AssignmentFacts {
        assignment_id: Uuid::from_u128(101),
        entity_id: Some(RESOURCE),
        expires_at: Some(at("2026-10-01T12:00:00Z")),
        ..assignment
    };
    check_sentence(
        &explained(vec![before, ended], "{}"),
        "expired",
        "Denied: the role Document reader is held on Acme Estates, an ancestor, but its window ended on 2026-11-01 \
         12:00 UTC (1 more assignment fails for the same reason).",
    );
}

#[test]
fn every_outcome_of_a_condition_has_its_sentence() {
    let held = "the role Document reader is held on Acme Estates, an ancestor";
    let conditional = with_condition(ConditionOwner::Assignment, LIMIT);
    let code = "`context.amount <= 1000 && principal.id != resource.id`";
    let denied = explained(vec![conditional.clone()], r#"{"amount": 1001}"#);
    check_sentence(&denied, "condition_not_met", &format!("Denied: {held}, but its condition is not met: {code}."));
    let condition = denied.assignments[0].condition.as_ref().unwrap();
    let parts: Vec<_> = condition.parts.iter().map(|part| (part.text.as_str(), part.value)).collect();
    assert_eq!(
        parts,
        [("context.amount <= 1000", ConditionResult::False), ("principal.id != resource.id", ConditionResult::True)]
    );
    let missing = explained(vec![conditional.clone()], "{}");
    check_sentence(
        &missing,
        "context_missing",
        &format!("Denied: {held}, but its condition needs context.amount, which the question does not have: {code}."),
    );
    assert_eq!(missing.assignments[0].condition.as_ref().unwrap().missing, ["context.amount"]);
    let failing =
        with_condition(ConditionOwner::Role, r#"{"expression":"1 / context.n == 1","parameters":{"n":"int"}}"#);
    let error = explained(vec![failing], r#"{"n": 0}"#);
    assert_eq!(error.reason, "condition_error");
    let start = format!("Denied: {held}, but its condition cannot be evaluated (");
    assert!(error.sentence.starts_with(&start), "{}", error.sentence);
    assert!(error.sentence.ends_with("): `1 / context.n == 1`."), "{}", error.sentence);
    let unreadable = with_condition(ConditionOwner::Role, r#"{"expression":"true","parameters":{"x":"decimal"}}"#);
    let error = explained(vec![unreadable], "{}");
    assert_eq!(
        (error.reason.as_str(), error.assignments[0].why_not),
        ("condition_error", Some(Denial::ConditionError))
    );
    let granted = explained(vec![conditional], r#"{"amount": 1000}"#);
    check_sentence(&granted, "granted", &format!("Allowed: {held}, and its condition is met: {code}."));
    assert!(
        explain(
            &question(),
            &world(vec![with_condition(ConditionOwner::Role, LIMIT)]),
            &context(r#"{"amount": "x"}"#),
            now()
        )
        .is_err()
    );
}

#[test]
fn an_allowed_question_names_where_the_role_is_held_and_until_when() {
    let until = AssignmentFacts { expires_at: Some(at("2027-01-01T00:00:00Z")), ..inherited() };
    let sentence = |assignment| explained(vec![assignment], "{}").sentence;
    assert_eq!(
        sentence(until.clone()),
        "Allowed: the role Document reader is held on Acme Estates, an ancestor, until 2027-01-01 00:00 UTC."
    );
    assert_eq!(
        sentence(AssignmentFacts { entity_id: Some(RESOURCE), ..inherited() }),
        "Allowed: the role Document reader is held on Berlin One, the resource itself."
    );
    assert_eq!(
        sentence(AssignmentFacts { entity_id: None, ..inherited() }),
        "Allowed: the role Document reader is held everywhere."
    );
    let both = AssignmentFacts {
        expires_at: until.expires_at,
        ..with_condition(ConditionOwner::Role, r#"{"expression":"1 < 2"}"#)
    };
    assert_eq!(
        sentence(both),
        "Allowed: the role Document reader is held on Acme Estates, an ancestor, until 2027-01-01 00:00 UTC, and its \
         condition is met: `1 < 2`."
    );
}

#[test]
fn of_a_suspended_principal_no_assignment_applies() {
    let mut named = world(vec![inherited(), AssignmentFacts { held_action: None, entity_id: None, ..inherited() }]);
    named.facts.principal.is_suspended = true;
    let status = PrincipalStatus::Suspended;
    named.registration = Some(Registration { external_id: None, display_name: Some("Ada".into()), status });
    let explanation = explain(&question(), &named, &JsonObject::new(), now()).unwrap();
    let sentence = "Denied: the principal is suspended, so that no role applies.";
    check_sentence(&explanation, "principal_suspended", sentence);
    let why: Vec<_> = explanation.assignments.iter().map(|one| (one.applies, one.why_not)).collect();
    // An assignment that would not grant anyway keeps its own reason.
    assert_eq!(why, [(false, Some(Denial::PrincipalSuspended)), (false, Some(Denial::ActionNotHeld))]);
    assert_eq!((explanation.until, explanation.principal.status), (None, status));
}

#[test]
fn an_unreadable_or_foreign_assignment_is_no_part_of_an_explanation() {
    let foreign = AssignmentFacts { principal_type: "service".into(), ..inherited() };
    let elsewhere = AssignmentFacts { entity_id: Some(Uuid::from_u128(77)), ..inherited() };
    assert_eq!(explained(vec![foreign, elsewhere], "{}").assignments, []);
}

#[test]
fn two_conditions_are_shown_as_one() {
    let both = AssignmentFacts {
        conditions: vec![
            ConditionFacts::of(ConditionOwner::Assignment, r#"{"expression":"1 < 2"}"#),
            ConditionFacts::of(ConditionOwner::Role, LIMIT),
        ],
        ..inherited()
    };
    let explanation = explained(vec![both], "{}");
    let condition = explanation.assignments[0].condition.clone().unwrap();
    assert_eq!(condition.expression, "(1 < 2) && (context.amount <= 1000 && principal.id != resource.id)");
    assert_eq!(condition.outcome, ConditionResult::Missing);
    let owners: Vec<_> = condition.parts.iter().map(|part| part.owner).collect();
    assert_eq!(owners, [ConditionOwner::Assignment, ConditionOwner::Role, ConditionOwner::Role]);
}

#[test]
fn assignments_are_in_the_order_of_the_path_to_the_root() {
    let on = |n: u128, entity: Option<Uuid>| AssignmentFacts {
        assignment_id: Uuid::from_u128(n),
        entity_id: entity,
        ..inherited()
    };
    let root = Uuid::from_u128(3);
    let mut named = world(vec![on(1, None), on(2, Some(root)), on(3, Some(PARENT)), on(4, Some(RESOURCE))]);
    named.facts.assigned_entities.push(root);
    named.ancestors.push(ExplainedEntity { id: root, entity_type: EntityType::Other, name: "Root".into() });
    let explanation = explain(&question(), &named, &JsonObject::new(), now()).unwrap();
    let order: Vec<_> = explanation.assignments.iter().map(|one| one.assignment_id.as_u128()).collect();
    assert_eq!(order, [4, 3, 2, 1]);
}

#[test]
fn an_explanation_is_read_back_as_it_was_written() {
    let explanation = explained(vec![with_condition(ConditionOwner::Role, LIMIT), inherited()], r#"{"amount": 1}"#);
    let json = Json::parse(&serde_json::to_vec(&explanation).unwrap()).unwrap();
    assert_eq!(Explanation::from_json(&json).unwrap(), explanation);
}

/// Windows and conditions that read the time, against every second of a minute.
#[test]
fn until_is_the_first_moment_at_which_the_answer_changes() {
    let second = |n: i64| at("2026-01-01T00:00:00Z").plus_seconds(n);
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        i64::try_from(seed % below).unwrap()
    };
    let mut with_change = 0;
    for _ in 0..500 {
        let assignments: Vec<_> = (0..random(5))
            .map(|_| {
                let start = random(60);
                let turn = format!("timestamp('2026-01-01T00:00:{:02}Z')", random(60));
                let condition = match random(4) {
                    0 => vec![ConditionFacts::of(ConditionOwner::Role, &format!(r#"{{"expression":"now < {turn}"}}"#))],
                    1 => {
                        vec![ConditionFacts::of(ConditionOwner::Role, &format!(r#"{{"expression":"now >= {turn}"}}"#))]
                    }
                    _ => vec![],
                };
                AssignmentFacts {
                    effective_at: second(start),
                    expires_at: (random(2) == 0).then(|| second(start + 1 + random(30))),
                    scope_types: if random(4) == 0 { [EntityType::Issuer].into() } else { [].into() },
                    held_action: (random(4) > 0).then(|| "document:download".into()),
                    conditions: condition,
                    ..inherited()
                }
            })
            .collect();
        let named = world(assignments);
        let answer = |n: i64| {
            let decided = decide(&question(), &named.facts, &JsonObject::new(), second(n)).unwrap().decision;
            (decided.allowed, decided.reason.code())
        };
        let from = random(60);
        let until = explain(&question(), &named, &JsonObject::new(), second(from)).unwrap().until;
        let changed = (from + 1..200).find(|n| answer(*n) != answer(from));
        assert_eq!(until, changed.map(second), "{from}: {named:?}");
        with_change += usize::from(changed.is_some());
    }
    assert!(with_change > 100, "{with_change}");
}

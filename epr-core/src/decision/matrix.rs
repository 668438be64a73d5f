//! Compares [`decide`] with the checked-in table of decisions, `matrix.tsv`.

use uuid::Uuid;

use super::{AskedAction, AssignmentFacts, Facts, PrincipalFacts, Question, ResourceFacts, decide};
use crate::domain::{EntityType, Timestamp};

const MATRIX: &str = include_str!("matrix.tsv");
const RESOURCE: Uuid = Uuid::from_u128(1);
const PARENT: Uuid = Uuid::from_u128(2);
const UNRELATED: Uuid = Uuid::from_u128(3);
const CHILD: Uuid = Uuid::from_u128(4);
const PRINCIPAL: Uuid = Uuid::from_u128(9);

fn moment(second: i64) -> Timestamp {
    Timestamp::from_unix_micros(1_700_000_000_000_000 + second * 1_000_000).unwrap()
}

#[test]
fn every_row_of_the_matrix_holds() {
    let mut rows = 0;
    for line in MATRIX.lines().filter(|line| !line.starts_with('#')).skip(1) {
        let [reach, action, scope, window, principal, _status, decision, reason] =
            <[&str; 8]>::try_from(line.split('\t').collect::<Vec<_>>()).unwrap();
        let now = match window {
            "before" => moment(0).plus_seconds(-1),
            "at_start" => moment(0),
            "inside" | "endless" => moment(5),
            "at_end" => moment(10),
            "after" => moment(11),
            other => panic!("{other}"),
        };
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
                "any" => vec![],
                "matching" => vec![EntityType::Offering, EntityType::Spv],
                "parent_only" => vec![EntityType::Issuer],
                other => panic!("{other}"),
            },
            held_action: (action == "held").then(|| "document:download".into()),
        };
        let facts = Facts {
            principal: PrincipalFacts::default(),
            resource: ResourceFacts::of(EntityType::Spv),
            assigned_entities: vec![RESOURCE, PARENT],
            assignments: vec![assignment],
        };
        let question = Question::new(PRINCIPAL, AskedAction::new("document:download").unwrap(), RESOURCE);
        let decided = decide(&question, &facts, now);
        assert_eq!((decided.allowed, decided.reason.code()), (decision == "allow", reason), "{line}");
        rows += 1;
    }
    assert_eq!(rows, 1080);
}

#[test]
fn one_microsecond_decides() {
    let instant = |micros: i64| Timestamp::from_unix_micros(1_700_000_000_000_000 + micros).unwrap();
    let assignment = AssignmentFacts {
        assignment_id: Uuid::nil(),
        principal_id: PRINCIPAL,
        principal_type: "user".into(),
        role_id: Uuid::nil(),
        entity_id: None,
        effective_at: instant(0),
        expires_at: Some(instant(2)),
        scope_types: vec![],
        held_action: Some("a:b".into()),
    };
    let facts = Facts {
        principal: PrincipalFacts::default(),
        resource: ResourceFacts::of(EntityType::Spv),
        assigned_entities: vec![RESOURCE],
        assignments: vec![assignment],
    };
    let question = Question::new(PRINCIPAL, AskedAction::new("a:b").unwrap(), RESOURCE);
    let allowed: Vec<_> = (-1..=2).map(|micros| decide(&question, &facts, instant(micros)).allowed).collect();
    assert_eq!(allowed, [false, true, true, false]);
}

#[test]
fn the_best_of_several_assignments_counts() {
    let assignment = |held: bool, entity_id| AssignmentFacts {
        assignment_id: Uuid::nil(),
        principal_id: PRINCIPAL,
        principal_type: "user".into(),
        role_id: Uuid::nil(),
        entity_id,
        effective_at: moment(0),
        expires_at: None,
        scope_types: vec![],
        held_action: held.then(|| "a:b".into()),
    };
    let question = Question::new(PRINCIPAL, AskedAction::new("a:b").unwrap(), RESOURCE);
    let facts = Facts {
        principal: PrincipalFacts::default(),
        resource: ResourceFacts::of(EntityType::Spv),
        assigned_entities: vec![RESOURCE, PARENT],
        assignments: vec![assignment(false, None), assignment(true, Some(PARENT)), assignment(false, Some(RESOURCE))],
    };
    assert!(decide(&question, &facts, moment(1)).allowed);
}

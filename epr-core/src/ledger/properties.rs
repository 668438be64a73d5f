//! Properties of the canonical form and of the chain, over values of any shape.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use uuid::Uuid;

use super::canonical::text_of;
use super::chain::{Draft, Head, seal};
use crate::domain::{AuditEvent, Json, Timestamp};

fn json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        any::<i64>().prop_map(Json::Int),
        (i64::MAX as u64 + 1..=u64::MAX).prop_map(Json::UInt),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Json::Float),
        ".{0,12}".prop_map(Json::Text),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Json::List),
            btree_map(".{0,6}", inner, 0..4).prop_map(|members| Json::Object(members.into_iter().collect())),
        ]
    })
}

fn event() -> impl Strategy<Value = AuditEvent> {
    let id = proptest::option::of(any::<u128>().prop_map(Uuid::from_u128));
    let texts = (
        "[^\0]{1,20}",
        "[^\0]{1,20}",
        "[^\0]{1,20}",
        proptest::option::of("[^\0]{1,20}"),
        proptest::option::of("[^\0]{1,20}"),
    );
    (id.clone(), id.clone(), id, texts, btree_map(".{0,6}", json(), 0..5), 0..4_000_000_000_000_000_i64).prop_map(
        |(
            event_id,
            actor_id,
            entity_id,
            (source, action, actor_type, entity_type, correlation_id),
            details,
            micros,
        )| AuditEvent {
            event_id,
            source: source.try_into().unwrap(),
            action: action.try_into().unwrap(),
            actor_id,
            actor_type: actor_type.try_into().unwrap(),
            entity_id,
            entity_type: entity_type.map(|text| text.try_into().unwrap()),
            correlation_id: correlation_id.map(|text| text.try_into().unwrap()),
            details: details.into_iter().collect(),
            occurred_at: Timestamp::from_unix_micros(micros).unwrap(),
        },
    )
}

/// Every way to change one leaf (or the shape around it) of a value.
fn changed(value: &Json) -> Vec<Json> {
    match value {
        Json::Null => vec![Json::Bool(false)],
        Json::Bool(truth) => vec![Json::Bool(!truth), Json::Null],
        Json::Int(number) => vec![Json::Int(number.wrapping_add(1)), Json::Text(number.to_string())],
        Json::UInt(number) => vec![Json::UInt(number ^ 1)],
        Json::Float(number) => vec![Json::Float(f64::from_bits(number.to_bits() ^ 1)), Json::Float(-number)],
        Json::Text(text) => vec![Json::Text(format!("{text} ")), Json::Text(format!("\u{e9}{text}"))],
        Json::List(items) => {
            let mut all: Vec<Json> = Vec::new();
            for (at, item) in items.iter().enumerate() {
                for other in changed(item) {
                    let mut items = items.clone();
                    items[at] = other;
                    all.push(Json::List(items));
                }
            }
            all.push(Json::List([items.clone(), vec![Json::Null]].concat()));
            all
        }
        Json::Object(members) => {
            let mut all: Vec<Json> = Vec::new();
            for (key, member) in members {
                for other in changed(member) {
                    let mut members = members.clone();
                    members.insert(key.clone(), other);
                    all.push(Json::Object(members));
                }
                let mut renamed = members.clone();
                let member = renamed.remove(key).unwrap();
                renamed.insert(format!("{key}!new"), member);
                all.push(Json::Object(renamed));
            }
            all
        }
    }
}

/// Every way to change one field.
fn variants(event: &AuditEvent) -> Vec<AuditEvent> {
    let other_id = |id: Option<Uuid>| Some(Uuid::from_u128(id.map_or(1, |id| id.as_u128() ^ 1)));
    let mut all = vec![
        AuditEvent { event_id: other_id(event.event_id), ..event.clone() },
        AuditEvent { actor_id: other_id(event.actor_id), ..event.clone() },
        AuditEvent { entity_id: other_id(event.entity_id), ..event.clone() },
        AuditEvent { source: format!("{}x", event.source).try_into().unwrap(), ..event.clone() },
        AuditEvent { action: format!("{}x", event.action).try_into().unwrap(), ..event.clone() },
        AuditEvent { actor_type: format!("{}x", event.actor_type).try_into().unwrap(), ..event.clone() },
        AuditEvent {
            occurred_at: Timestamp::from_unix_micros(event.occurred_at.unix_micros() + 1).unwrap(),
            ..event.clone()
        },
    ];
    all.push(AuditEvent {
        entity_type: if event.entity_type.is_some() { None } else { Some("x".try_into().unwrap()) },
        ..event.clone()
    });
    all.push(AuditEvent {
        correlation_id: if event.correlation_id.is_some() { None } else { Some("x".try_into().unwrap()) },
        ..event.clone()
    });
    for details in changed(&Json::Object(event.details.clone())) {
        all.push(AuditEvent { details: details.as_object().unwrap().clone(), ..event.clone() });
    }
    all
}

proptest! {
    #[test]
    fn the_canonical_text_reads_back_to_the_same_value(value in json()) {
        let text = text_of(&value);
        prop_assert!(text.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{}", text);
        let read = Json::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(text_of(&read), text);
        prop_assert_eq!(read, value);
    }

    #[test]
    fn every_leaf_changes_the_hash(event in event(), sequence in 1..1000_i64) {
        let previous = "ab".repeat(32);
        let hash = |event: &AuditEvent| Draft::new(event.clone()).unwrap().hash_at(sequence, &previous);
        let own = hash(&event);
        for other in variants(&event) {
            prop_assert_ne!(hash(&other), own.clone(), "{:?}", other);
        }
        let draft = Draft::new(event).unwrap();
        prop_assert_ne!(draft.hash_at(sequence + 1, &previous), own.clone());
        prop_assert_ne!(draft.hash_at(sequence, &"ac".repeat(32)), own);
    }

    #[test]
    fn a_chain_in_pieces_is_the_same_chain(events in vec(event(), 1..8), cut in 0..8_usize) {
        let drafts: Vec<_> = events.into_iter().map(|event| Draft::new(event).unwrap()).collect();
        let mut whole = Head::genesis();
        seal(&mut whole, &drafts);
        let mut pieces = Head::genesis();
        let (first, second) = drafts.split_at(cut.min(drafts.len()));
        seal(&mut pieces, first);
        seal(&mut pieces, second);
        prop_assert_eq!(whole, pieces);
    }
}

#[test]
fn details_that_cannot_be_stored_exactly_are_refused() {
    let event = |details: Json| AuditEvent {
        event_id: None,
        source: "s".try_into().unwrap(),
        action: "a".try_into().unwrap(),
        actor_id: None,
        actor_type: "user".try_into().unwrap(),
        entity_id: None,
        entity_type: None,
        correlation_id: None,
        details: [("k".to_owned(), details)].into(),
        occurred_at: Timestamp::from_unix_micros(0).unwrap(),
    };
    let error = |details| Draft::new(event(details)).unwrap_err().to_string();
    assert!(error(Json::Float(f64::NAN)).contains("not finite"));
    assert!(error(Json::Float(f64::INFINITY)).contains("not finite"));
    assert!(error(Json::Text("é".repeat(200_000))).contains("at most 1048576"));
    let deep = (0..100).fold(Json::Null, |inner, _| Json::List(vec![inner]));
    assert!(error(deep).contains("nested deeper"));
}

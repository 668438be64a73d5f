//! The law of dropping: every reader answers the same before and after it, over random ledgers and borders.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use epr_core::clock::{Clock, ManualClock};
use epr_core::domain::Timestamp;
use epr_core::store::{Appended, ScanRange};
use epr_testkit::database::DatabaseKind;
use epr_testkit::ledger::{draft, grow};
use epr_testkit::seed;
use rand::Rng as _;
use rand::rngs::StdRng;
use rstest::rstest;
use serde_json::{Value, json};

use crate::archive_world::World;

fn event(n: u32, details: u32) -> epr_core::ledger::chain::Draft {
    draft(&json!({
        "event_id": format!("00000000-0000-0000-0000-{n:012}"), "source": "vault", "action": "document.upload",
        "actor_id": "00000000-0000-0000-0000-00000000000a", "actor_type": "service",
        "entity_id": null, "entity_type": "\u{e9}\u{1f600}", "correlation_id": "a \"quoted\" \\ one\n",
        "occurred_at": format!("2026-01-01T00:00:{:02}.{:06}Z", n % 60, n % 3 * 1000),
        "details": {"n": details, "nested": {"z": [1.5, 1e300, -0.0, null], "a": "\u{7f}/\u{2028}"}},
    }))
}

/// Grows the ledger to about `size` by changes of the registry, checks and events of other services.
async fn fill(world: &World, rng: &mut StdRng, size: i64, known: &mut u32) {
    let api = &world.api;
    let store = api.database.store().await;
    loop {
        let head = store.registry_state().await.unwrap().head;
        if head >= size {
            return;
        }
        match rng.random_range(0..5) {
            0 => {
                let entity = api.entity(&format!("entity {head}"), "issuer", None).await;
                let role = api.role(&format!("role {head}"), &[], &["document:download"]).await;
                let user = "00000000-0000-0000-0000-000000000077";
                let assignment = json!({"principal_id": user, "role_id": role, "entity_id": entity});
                let assignment = api.post("/api/v1/assignments", assignment).await.expect(201);
                assert!(api.authorized(user, "document:download", &entity).await);
                if rng.random() {
                    api.delete(&format!("/api/v1/assignments/{}", assignment["id"].as_str().unwrap()))
                        .await
                        .expect(200);
                    let path = format!("/api/v1/entities/{entity}");
                    api.patch(&path, json!({"name": format!("renamed {head}")})).await.expect(200);
                }
            }
            1 => {
                let events: Vec<_> = (*known..*known + 30).map(|n| event(n, n)).collect();
                *known += 30;
                api.epr.record(events).await.unwrap();
            }
            _ => grow(api, head + rng.random_range(1..60)).await,
        }
    }
}

/// The answers of every reader about the first `size` entries.
async fn answers(world: &World, size: i64, places: &[i64]) -> BTreeMap<String, String> {
    let api = &world.api;
    let mut found = BTreeMap::new();
    let text = async |path: String| {
        let (status, headers, body) = api.text(Request::get(&path).body(Body::empty()).unwrap()).await;
        assert_eq!(status, 200, "{path}: {body}");
        assert!(!headers.contains_key("epr-entries-dropped-to"), "{path}");
        (path, body)
    };
    for order in ["asc", "desc"] {
        // Every page of a list.
        let mut path = format!("/api/v1/audit/entries?order={order}&limit=97&to_sequence={size}");
        let mut all = Vec::new();
        loop {
            let answer = api.get(&path).await;
            let next = answer.next_page(&path);
            let page = answer.expect(200);
            all.extend(page.as_array().unwrap().iter().map(Value::to_string));
            match next {
                Some(next) => path = next,
                None => break,
            }
        }
        assert_eq!(i64::try_from(all.len()).unwrap(), size, "{order}");
        found.insert(order.to_owned(), all.join("\n"));
    }
    for pair in places.windows(2) {
        let (from, to) = (pair[0].min(pair[1]), pair[0].max(pair[1]));
        for path in [
            format!("/api/v1/audit/entries?from_sequence={from}&to_sequence={from}"),
            format!("/api/v1/audit/entries?from_sequence={from}&to_sequence={to}&order=asc&limit=7"),
            format!("/api/v1/audit/entries?from_sequence={from}&to_sequence={to}&limit=7"),
        ] {
            found.extend([text(path).await]);
        }
        let proof = api.epr.prove_entry(from).await.unwrap();
        found.insert(format!("entry of the proof {from}"), format!("{:?} {:?}", proof.extra, proof.index));
        let consistency = api.epr.prove_consistency(from.unsigned_abs(), Some(to.unsigned_abs())).await.unwrap();
        found.insert(format!("consistency {from} {to}"), format!("{consistency:?}"));
        let mut exported = String::new();
        let range = ScanRange { from, to };
        let mut take = |entry: epr_core::ExportedEntry<'_>| {
            exported.push_str(&serde_json::to_string(&entry).unwrap());
            exported.push('\n');
            true
        };
        api.epr.copy_ledger(range, &mut take).await.unwrap();
        assert_eq!(exported.lines().count(), usize::try_from(to - from + 1).unwrap());
        found.insert(format!("export {from} {to}"), exported);
        let verified = api.epr.verify_ledger(range, None, &mut |_, _| {}).await.unwrap();
        assert_eq!((verified.valid, verified.dropped), (true, None), "{:?}", verified.finding);
        found.insert(format!("verify {from} {to}"), format!("{} {}", verified.checked, verified.end_sequence));
    }
    for index in 0..size / 256 {
        for level in ["0", "entries"] {
            let path = format!("/api/v1/ledger/tile/{level}/{index:03}");
            let (status, _, body) = api.bytes(Request::get(&path).body(Body::empty()).unwrap()).await;
            assert_eq!(status, 200, "{path}");
            found.insert(path, format!("{body:?}"));
        }
    }
    found.extend([text("/api/v1/changes?limit=500".to_owned()).await]);
    found.extend([text("/api/v1/assignments?limit=100".to_owned()).await]);
    for action in ["entity.create", "role.create", "role_assignment.delete"] {
        // About the registry: in the database.
        let path = format!("/api/v1/audit/entries?action={action}&limit=500");
        found.insert(path.clone(), api.get(&path).await.expect(200).to_string());
    }
    let mut differences = Vec::new();
    let (reconciled, _) = api
        .epr
        .reconcile(&mut |difference| {
            differences.push(format!("{difference:?}"));
            true
        })
        .await
        .unwrap();
    found.insert("reconcile".to_owned(), format!("{reconciled:?} {differences:?}"));
    let (history, _) = api
        .epr
        .verify_history(&mut |difference| {
            differences.push(format!("{difference:?}"));
            true
        })
        .await
        .unwrap();
    assert_eq!(differences, Vec::<String>::new());
    found.insert("history".to_owned(), format!("{history:?}"));
    found
}

fn compare(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>, when: &str) {
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (reader, answer) in before {
        assert!(after[reader] == *answer, "{when}: {reader}: {answer}\n\n{}", after[reader]);
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reader_answers_the_same_before_and_after_a_drop(#[case] kind: DatabaseKind) {
    let mut rng = seed::rng("every_reader_answers_the_same_before_and_after_a_drop");
    let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-03-01T00:00:00Z").unwrap()));
    let world = World::with_clock(kind, Arc::clone(&clock) as Arc<dyn Clock>).await;
    let mut events = 1;
    fill(&world, &mut rng, 900, &mut events).await;
    world.api.epr.make_checkpoint().await.unwrap();
    clock.advance_micros(3 * 86_400_000_000);
    let size = world.api.epr.newest_checkpoint().await.unwrap().size;
    fill(&world, &mut rng, size + 20, &mut events).await;
    world.archive("archive").await.unwrap();
    let head = world.api.database.store().await.registry_state().await.unwrap().head;
    let mut places = vec![1, 256, 257, 512, 513, size];
    places.extend((0..6).map(|_| rng.random_range(1..=size)));
    let before = answers(&world, head, &places).await;
    for border in [256, 512, 768] {
        let dropped = world.drop_to("archive", Some(border)).await.unwrap();
        assert_eq!((dropped.first, dropped.last), (u64::try_from(border - 255).unwrap(), border.unsigned_abs()));
        let rows = format!("SELECT count(*) FROM audit_logs WHERE sequence <= {border}");
        let deleted = world.api.database.number("SELECT count(*) FROM dropped_entries").await;
        assert_eq!(world.api.database.number(&rows).await, border - deleted);
        assert!(deleted > border / 3, "{deleted}");
        compare(&before, &answers(&world, head, &places).await, &format!("up to {border}"));
        assert!(world.check("archive").await.valid);
        // Every event once more, some of them changed.
        for n in 1..events {
            let outcomes = world.api.epr.record(vec![event(n, n), event(n, n + 1)]).await.unwrap();
            assert!(matches!(outcomes[..], [Appended::Duplicate { .. }, Appended::Conflict { .. }]), "{outcomes:?}");
        }
    }
    let rebuilt = world.api.epr.rebuild_history().await.unwrap();
    assert_eq!(rebuilt.unreplayable_count, 0);
    compare(&before, &answers(&world, head, &places).await, "after history was rebuilt");
    let whole = world.api.epr.verify_ledger(ScanRange::ALL, None, &mut |_, _| {}).await.unwrap();
    assert_eq!((whole.valid, whole.checked, whole.dropped), (true, head.unsigned_abs() + 3, None));
}

//! Reads from a replica: which reads come from it, and what they have.

use epr_core::domain::Timestamp;
use epr_testkit::process::{free_port, run};
use epr_testkit::seed;
use rand::Rng as _;
use serde_json::json;

use crate::replica_world::{Replicated, Service, execute, once};

/// While replay stands still, only the replica can give an answer without the last change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_the_ledger_and_the_past_come_from_the_replica() {
    let pair = Replicated::start("").await;
    let service = pair.service(&[]).await;
    let first = service.entity("first").await;
    let role = service.post("/api/v1/roles", json!({"name": "Reader", "permissions": ["a:read"]})).await;
    let past = role.revision().to_owned();
    let held = json!({"principal_id": "aaaaaaaa-0000-4000-8000-000000000001", "role_id": role.id()});
    service.post("/api/v1/assignments", held).await;
    service.post("/api/v1/principals", json!({"display_name": "P"})).await;
    pair.caught_up().await;
    service.until_from_replica().await;
    pair.pause().await;
    service.entity("second").await;
    service.post("/api/v1/roles", json!({"name": "Writer", "permissions": ["a:write"]})).await;

    let names = |path: &'static str, member: &'static str| {
        let service = service.clone();
        async move {
            let (answer, reads) = service.counted(service.get(path)).await;
            assert_eq!(reads, once("replica ok"), "{path}");
            answer.all(member)
        }
    };
    assert_eq!(names("/api/v1/entities", "name").await, ["first"]);
    assert_eq!(names("/api/v1/entities?limit=7", "name").await, ["first"]);
    assert_eq!(names("/api/v1/roles", "name").await, ["Reader"]);
    assert_eq!(names("/api/v1/assignments", "role_id").await, [role.id()]);
    assert_eq!(names("/api/v1/principals", "display_name").await, ["P"]);
    let actions = ["principal.create", "role_assignment.create", "role.create", "entity.create"];
    assert_eq!(names("/api/v1/audit/entries", "action").await, actions);
    let path = format!("/api/v1/entities?revision={past}");
    let (answer, reads) = service.counted(service.get(&path)).await;
    assert_eq!((answer.all("id"), answer.revision(), reads), (vec![first.id()], past.as_str(), once("replica ok")));
    pair.resume().await;
    assert_eq!(names("/api/v1/entities", "name").await, ["second", "first"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_change_feed_comes_from_the_replica_and_names_its_revision() {
    let pair = Replicated::start("").await;
    // It follows no changes of others: what it knows is what it reads.
    let reader = pair.service(&[("EPR_DECISION_CACHE", "false"), ("EPR_GRAPH", "off")]).await;
    let writer = pair.service(&[]).await;
    let first = writer.entity("first").await;
    pair.caught_up().await;
    reader.until_from_replica().await;
    pair.pause().await;
    let second = writer.entity("second").await;

    let (answer, reads) = reader.counted(reader.get("/api/v1/changes")).await;
    assert_eq!(answer.all("action"), ["entity.create"]);
    assert_eq!(answer.revision(), first.revision());
    // One read that looks, and one of a page.
    assert_eq!(reads.into_iter().collect::<Vec<_>>(), [("replica ok".to_owned(), 2)]);
    // A position that the replica has not reached is none that the ledger has not reached.
    let after = format!("/api/v1/changes?after={}", second.revision());
    let (answer, reads) = reader.counted(reader.get(&after)).await;
    assert_eq!((answer.status, answer.revision(), reads), (200, second.revision(), once("primary behind")));
    // From now on this process knows of the second change.
    let (answer, reads) = reader.counted(reader.get("/api/v1/changes?limit=1")).await;
    assert_eq!(answer.all("action").len(), 1);
    assert_eq!(reads.keys().collect::<Vec<_>>(), ["primary behind"]);
    assert_eq!(reader.get(answer.next.as_deref().unwrap()).await.all("revision"), [second.revision()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_has_the_revision_that_the_call_names() {
    let pair = Replicated::start("").await;
    let service = pair.service(&[]).await;
    service.entity("first").await;
    pair.caught_up().await;
    service.until_from_replica().await;
    pair.pause().await;
    let second = service.entity("second").await;
    for path in ["/api/v1/entities", "/api/v1/audit/entries", "/api/v1/changes"] {
        let (answer, reads) = service.counted(service.get_at_least(path, second.revision())).await;
        assert_eq!((answer.status, answer.body.as_array().unwrap().len()), (200, 2), "{path}");
        assert_eq!(reads.keys().collect::<Vec<_>>(), ["primary behind"], "{path}");
    }
    let past = format!("/api/v1/entities?revision={}", second.revision());
    let (answer, reads) = service.counted(service.get(&past)).await;
    assert_eq!((answer.all("name"), reads), (vec!["second".to_owned(), "first".to_owned()], once("primary behind")));
    // A time names a state that the replica may lack a change of, even if the call names no revision.
    let at = second.body["created_at"].as_str().unwrap();
    let later = format!("/api/v1/entities?at={}", Timestamp::parse(at).unwrap().plus_seconds(1));
    let (answer, reads) = service.counted(service.get(&later)).await;
    assert_eq!((answer.all("name"), reads), (vec!["second".to_owned(), "first".to_owned()], once("primary behind")));
    pair.resume().await;
    let (answer, reads) = service.counted(service.get_at_least("/api/v1/entities", second.revision())).await;
    assert_eq!((answer.all("name"), reads), (vec!["second".to_owned(), "first".to_owned()], once("replica ok")));
    // Errors of the header are those of the primary.
    let other = format!("{}{}", "0198c5b2-8a54-4c1e-9d3f-6f2f0d6f1c11", &second.revision()[36..]);
    assert_eq!(service.get_at_least("/api/v1/audit/entries", &other).await.status, 409);
    assert_eq!(service.get_at_least("/api/v1/audit/entries", "nonsense").await.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_page_is_not_older_than_the_first() {
    let pair = Replicated::start("").await;
    let service = pair.service(&[]).await;
    service.until_from_replica().await;
    pair.pause().await;
    service.entity("first").await;
    let second = service.entity("second").await;
    for (path, member, expected) in [
        ("/api/v1/entities?limit=1", "name", ["second", "first"]),
        ("/api/v1/audit/entries?limit=1&order=asc", "sequence", ["1", "2"]),
    ] {
        let page = service.get_at_least(path, second.revision()).await;
        let next = page.next.clone().unwrap();
        // The replica has neither row.
        let (rest, reads) = service.counted(service.get(&next)).await;
        let seen: Vec<_> = [&page, &rest].map(|answer| answer.body[0][member].to_string().replace('"', "")).into();
        assert_eq!((seen, reads), (expected.map(str::to_owned).to_vec(), once("primary behind")), "{path}");
        // A cursor of a process without a replica names no state.
        let plain =
            next.replace(next.rsplit_once('.').map(|(_, position)| format!(".{position}")).unwrap().as_str(), "");
        let (rest, reads) = service.counted(service.get(&plain)).await;
        assert_eq!(
            (rest.body[0][member].to_string().replace('"', ""), reads),
            (expected[1].to_owned(), once("primary cursor"))
        );
    }
    pair.resume().await;
    let page = service.get("/api/v1/entities?limit=1").await;
    let (rest, reads) = service.counted(service.get(page.next.as_deref().unwrap())).await;
    assert_eq!((rest.all("name"), reads), (vec!["first".to_owned()], once("replica ok")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_list_is_read_at_one_state_or_later_ones() {
    let pair = Replicated::start("").await;
    let service = pair.service(&[]).await;
    // More than one chunk.
    let filler = "x".repeat(200_000);
    for n in 0..6 {
        let new = json!({"name": format!("entity {n}"), "type": "spv", "attributes": {"text": filler}});
        assert_eq!(service.post("/api/v1/entities", new).await.status, 201);
    }
    pair.caught_up().await;
    service.until_from_replica().await;
    let (answer, reads) = service.counted(service.get("/api/v1/entities")).await;
    assert_eq!(answer.all("name").len(), 6);
    assert_eq!(reads.keys().collect::<Vec<_>>(), ["replica ok"]);
    assert!(reads["replica ok"] > 2, "{reads:?}");
}

/// The standby logs every statement: none of a check or a change is among them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_changes_and_reads_by_id_never_ask_the_replica() {
    let pair = Replicated::start("-c log_statement=all").await;
    let service = pair.service(&[]).await;
    let entity = service.entity("E").await;
    service.until_from_replica().await;
    let statements = || pair.standby.log().matches("registry_head").count();
    let (before, begun) = (statements(), service.reads().await);
    assert!(before > 0, "the log shows no statement");
    let role = service.post("/api/v1/roles", json!({"name": "Reader", "permissions": ["a:read"]})).await;
    let user = "aaaaaaaa-0000-4000-8000-000000000001";
    let held = json!({"principal_id": user, "role_id": role.id(), "entity_id": entity.id()});
    assert_eq!(service.post("/api/v1/assignments", held).await.status, 201);
    let question = json!({"user_id": user, "action": "a:read", "resource_id": entity.id()});
    assert_eq!(service.post("/api/v1/authorize", question.clone()).await.body["authorized"], true);
    assert_eq!(service.post("/api/v1/explain", question).await.body["decision"], true);
    let asked = json!({"principal_id": user, "action": "a:read"});
    assert_eq!(service.post("/api/v1/access/resources", asked).await.status, 200);
    assert_eq!(service.get(&format!("/api/v1/entities/{}", entity.id())).await.status, 200);
    assert_eq!(service.get("/api/v1/events").await.status, 200);
    assert_eq!(service.reads().await, begun);
    assert_eq!(statements(), before);
}

/// Random changes, and replay that stops and goes on: no answer to a call that names a revision lacks it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_lacks_the_revision_of_its_call_however_replay_goes() {
    const ROUNDS: usize = 60;
    let mut rng = seed::rng("replica_at_least");
    let pair = Replicated::start("").await;
    let service = pair.service(&[]).await;
    service.until_from_replica().await;
    let mut is_paused = false;
    for round in 0..ROUNDS {
        if rng.random_bool(0.3) {
            is_paused = !is_paused;
            execute(
                &pair.standby,
                if is_paused { "SELECT pg_wal_replay_pause()" } else { "SELECT pg_wal_replay_resume()" },
            )
            .await;
        }
        let name = format!("entity {round}");
        let made = service.entity(&name).await;
        let path = match rng.random_range(0..4) {
            0 => "/api/v1/entities?limit=1".to_owned(),
            1 => format!("/api/v1/audit/entries?limit=1&entity_id={}", made.id()),
            2 => format!("/api/v1/entities?limit=1&revision={}", made.revision()),
            _ => "/api/v1/entities".to_owned(),
        };
        let answer = service.get_at_least(&path, made.revision()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.body.to_string().contains(&made.id()), "{path} lacks {name}: {}", answer.body);
    }
    let reads = service.reads().await;
    println!("{reads:?}");
    assert!(reads.get("replica ok").is_some_and(|count| *count > 1), "{reads:?}");
    assert!(reads.contains_key("primary behind"), "{reads:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_list_and_export_the_ledger_from_the_replica() {
    let pair = Replicated::start("-c log_statement=all").await;
    let service = pair.service(&[]).await;
    service.entity("first").await;
    pair.pause().await;
    let (primary, standby) = (pair.primary.url(), pair.standby.url());
    let environment =
        [("EPR_DATABASE_URL", primary.as_str()), ("EPR_DATABASE_READ_URL", &standby), ("EPR_LOG_LEVEL", "CRITICAL")];
    let reads = || pair.standby.log().matches("FROM audit_logs").count();
    for arguments in [&["audit", "list"][..], &["audit", "export"]] {
        let before = reads();
        let (code, out, err) = run("epr", &environment, arguments).await;
        assert_eq!(code, 0, "{err}");
        assert!(out.contains("entity.create"), "{out}");
        assert!(reads() > before, "{arguments:?}");
    }
    // It serves nobody and has followed nothing: a replica that lacks an entry now may be hours behind.
    service.entity("second").await;
    let (code, out, err) = run("epr", &environment, &["audit", "export"]).await;
    assert_eq!((code, out.lines().count()), (0, 2), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_says_what_the_replica_is() {
    let pair = Replicated::start("").await;
    Service::start(&pair.primary.url(), None, &[]).await.entity("first").await;
    pair.caught_up().await;
    let (primary, standby) = (pair.primary.url(), pair.standby.url());
    let seen = async |url: &str| {
        let environment = [("EPR_DATABASE_URL", primary.as_str()), ("EPR_DATABASE_READ_URL", url)];
        let (_, out, err) = run("epr", &environment, &["doctor"]).await;
        let line = out
            .lines()
            .find(|line| line.split_whitespace().any(|word| word == "replica"))
            .unwrap_or_else(|| panic!("{out}{err}"));
        line.to_owned()
    };
    assert!(seen(&standby).await.contains("follows the primary; its last change is entry 1"));
    assert!(seen(&primary).await.contains("the server is a primary"));
    let nobody = format!("postgres://epr@127.0.0.1:{}/postgres", free_port());
    assert!(seen(&nobody).await.contains("refused"));
    pair.pause().await;
    Service::start(&primary, None, &[]).await.entity("second").await;
    assert!(seen(&standby).await.contains("does not reach the newest entry of the primary"));
}

#[tokio::test]
async fn a_replica_needs_postgresql() {
    for (url, replica, sentence) in [
        ("sqlite:///:memory:", "postgres://db/epr", "EPR_DATABASE_URL names SQLite, which has no replicas"),
        ("postgres://db/epr", "sqlite:///copy.db", "only PostgreSQL has replicas"),
        ("postgres://db/epr", "nonsense", "only PostgreSQL has replicas"),
        ("postgres://db/epr", "postgres://one,two/epr", "several hosts are not supported"),
    ] {
        let environment = [("EPR_DATABASE_URL", url), ("EPR_DATABASE_READ_URL", replica)];
        let (code, out, err) = run("epr-api", &environment, &[]).await;
        assert!(code != 0 && format!("{out}{err}").contains(sentence), "{out}{err}");
    }
}

//! `POST /api/v1/explain`: the form of an explanation, and that it never disagrees with a check.

use std::collections::BTreeMap;
use std::sync::Arc;

use epr_core::Call;
use epr_core::clock::{Clock as _, ManualClock};
use epr_core::decision::{Denial, Explanation, Question};
use epr_core::domain::fields::Choice as _;
use epr_core::domain::json::object;
use epr_core::domain::{Json, JsonObject, Revision, Timestamp};
use epr_testkit::api::{Api, id_of};
use epr_testkit::cli::Cli;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::seed;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

const USER: &str = "aaaaaaaa-0000-4000-8000-000000000001";

async fn api_at(kind: DatabaseKind, at: &str) -> (Api, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(Timestamp::parse(at).unwrap()));
    (Api::with_clock(Arc::new(Database::create(kind).await), clock.clone()).await, clock)
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_explanation_names_everything_that_the_decision_rests_on(#[case] kind: DatabaseKind) {
    let (api, _) = api_at(kind, "2026-11-23T17:07:00Z").await;
    let issuer = api.entity("Acme Estates", "issuer", None).await;
    let spv = api.entity("Berlin One", "spv", Some(&issuer)).await;
    let reader = api.role("Document reader", &[], &["document:download"]).await;
    let other = api.role("Archivist", &["issuer"], &["document:archive"]).await;
    let post = async |body: Value| api.post("/api/v1/assignments", body).await.expect(201);
    let ended = post(json!({"principal_id": USER, "role_id": reader, "entity_id": issuer,
        "effective_at": "2026-01-01T00:00:00Z", "expires_at": "2026-11-01T12:00:00Z"}))
    .await;
    let global = post(json!({"principal_id": USER, "role_id": other})).await;
    post(json!({"principal_id": USER, "principal_type": "service", "role_id": reader})).await;
    let body = json!({"user_id": USER, "action": "document:download", "resource_id": spv});
    let explained = api.post("/api/v1/explain", body.clone()).await.expect(200);
    let revision: Revision = explained["revision"].as_str().unwrap().parse().unwrap();
    let newest = "SELECT MAX(sequence) FROM audit_logs WHERE action = 'role_assignment.create'";
    assert_eq!(revision.sequence, api.database.number(newest).await);
    assert_eq!(
        explained,
        json!({
            "decision": false, "reason": "expired",
            "sentence": "Denied: the role Document reader is held on Acme Estates, an ancestor, but its window ended \
                on 2026-11-01 12:00 UTC.",
            "at": "2026-11-23T17:07:00.000000Z", "revision": revision.to_string(), "until": null,
            "resource": {"id": spv, "type": "spv", "name": "Berlin One", "external_id": null, "status": "active",
                "ancestors": [{"id": issuer, "type": "issuer", "name": "Acme Estates"}]},
            "principal": {"id": USER, "type": "user", "registered": false, "external_id": null, "display_name": null,
                "status": "active"},
            "assignments": [
                {"assignment_id": ended["id"], "role": {"id": reader, "name": "Document reader"},
                 "entity": {"id": issuer, "type": "issuer", "name": "Acme Estates"}, "via": "inherited",
                 "holds_action": true, "in_scope": true, "window": {"effective_at": "2026-01-01T00:00:00.000000Z",
                 "expires_at": "2026-11-01T12:00:00.000000Z", "state": "past"}, "condition": null,
                 "applies": false, "why_not": "expired"},
                {"assignment_id": global["id"], "role": {"id": other, "name": "Archivist"}, "entity": null,
                 "via": "global", "holds_action": false, "in_scope": false, "window": {
                 "effective_at": "2026-11-23T17:07:00.000000Z", "expires_at": null, "state": "current"},
                 "condition": null, "applies": false, "why_not": "action_not_held"}
            ]
        })
    );
    // With the time of another moment, the window is in force, and ends. The registry of that time was empty.
    let mut then = body.clone();
    then["at"] = json!("2026-10-01T00:00:00Z");
    let refused = api.post("/api/v1/explain", then.clone()).await.expect(400);
    let first = Revision { sequence: 1, ..revision };
    let refused = refused["detail"].as_str().unwrap();
    // Its time is that of the database.
    assert!(refused.starts_with(&format!("The registry has no history before its first revision, {first}, of 20")));
    then["revision"] = explained["revision"].clone();
    let then = api.post("/api/v1/explain", then).await.expect(200);
    assert_eq!((&then["decision"], &then["until"]), (&json!(true), &json!("2026-11-01T12:00:00.000000Z")));
    assert_eq!(then["assignments"][0]["window"]["state"], "current");
    // The ledger knows who asked about whom and what came out, but nothing personal.
    let entries = api.get("/api/v1/audit/entries?action=authorization.explain&order=asc").await.expect(200);
    assert_eq!(entries.as_array().unwrap().len(), 1);
    let reviews = api.get("/api/v1/audit/entries?action=authorization.review").await.expect(200);
    let review = &reviews[0]["details"];
    assert_eq!(reviews.as_array().unwrap().len(), 1);
    assert_eq!((&review["kind"], &review["decision"]), (&json!("explanation"), &json!(true)));
    assert_eq!((&review["at"], &review["revision"]), (&then["at"], &explained["revision"]));
    let details = &entries[0]["details"];
    assert_eq!((&details["decision"], &details["reason"]), (&json!(false), &json!("expired")));
    assert_eq!((&details["assignments"], &details["applying"]), (&json!(2), &json!(0)));
    assert_eq!(
        details["context_sha256"], "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        "the hash of an empty object"
    );
    assert_eq!((&entries[0]["entity_id"], &entries[0]["entity_type"]), (&json!(spv), &json!("spv")));
    // It counts as no check: nothing else was recorded, and nothing is cached.
    let checks = "SELECT COUNT(*) FROM audit_logs WHERE action = 'authorization.evaluate'";
    assert_eq!(api.database.number(checks).await, 0);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_cannot_be_explained_is_refused_like_a_check(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let spv = api.entity("S", "spv", None).await;
    let unknown = json!({"user_id": USER, "action": "a:do", "resource_id": USER});
    let unknown = api.post("/api/v1/explain", unknown).await.expect(404);
    assert_eq!(unknown["detail"], format!("Entity {USER} not found"));
    let body = json!({"user_id": 1, "context": [], "at": "soon"});
    assert_eq!(
        api.post("/api/v1/explain", body).await.field_errors(),
        [
            "body.user_id: uuid_parsing",
            "body.action: missing",
            "body.resource_id: missing",
            "body.context: dict_type",
            "body.at: datetime_parsing"
        ]
    );
    let role = json!({"name": "Payer", "permissions": ["a:do"],
        "conditions": {"a:do": {"expression": "context.n > 1", "parameters": {"n": "int"}}}});
    let role = id_of(&api.post("/api/v1/roles", role).await.expect(201));
    let held = json!({"principal_id": USER, "role_id": role, "entity_id": spv});
    api.post("/api/v1/assignments", held).await.expect(201);
    let wrong = json!({"user_id": USER, "action": "a:do", "resource_id": spv, "context": {"n": "2"}});
    let wrong = api.post("/api/v1/explain", wrong).await.expect(400);
    assert_eq!(wrong["detail"][0]["loc"], json!(["body", "context", "n"]));
    let large = json!({"user_id": USER, "action": "a:do", "resource_id": spv, "context": {"n": "x".repeat(70_000)}});
    assert_eq!(api.post("/api/v1/explain", large).await.field_errors().len(), 1);
    assert_eq!(api.database.number("SELECT COUNT(*) FROM audit_logs WHERE action = 'authorization.explain'").await, 0);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_and_the_command_show_the_same_explanation(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let client = api.client().await;
    let issuer = api.entity("Acme", "issuer", None).await;
    let spv = api.entity("Berlin", "spv", Some(&issuer)).await;
    let role = api.role("Payer", &[], &["pay:invoice"]).await;
    let condition =
        json!({"expression": "context.amount <= 10 && context.amount > 0", "parameters": {"amount": "int"}});
    let held = json!({"principal_id": USER, "role_id": role, "entity_id": issuer, "condition": condition});
    api.post("/api/v1/assignments", held).await.expect(201);
    let question = Question::new(USER.parse().unwrap(), "pay:invoice".parse().unwrap(), spv.parse().unwrap());
    let context = object([("amount", Json::Int(11))]);
    let explained = client.explain(&question, &context, None).await.unwrap();
    assert_eq!((explained.decision, explained.reason.as_str()), (false, "condition_not_met"));
    let at = explained.at;
    let again = client.explain(&question, &context, Some(at)).await.unwrap();
    assert_eq!(again, explained);

    let at = at.to_string();
    let arguments = ["explain", USER, "pay:invoice", "spv:Berlin", "--context", r#"{"amount": 11}"#, "--at", &at];
    for cli in [Cli::on(&api.database.url), Cli::over(&client.base_url().to_string())] {
        let json = cli.run(&[&arguments[..], &["--json"]].concat()).await;
        assert_eq!(json.code, 1, "{json:?}");
        let parsed = Explanation::from_json(&Json::parse(json.out.trim().as_bytes()).unwrap()).unwrap();
        assert_eq!(parsed, explained);
        let shown = cli.run(&arguments).await;
        assert_eq!(shown.code, 1);
        for line in [
            "DENIED",
            "spv:Berlin  (the resource; no assignment)",
            "issuer:Acme",
            "└─ Payer  does not apply: condition_not_met",
            "     condition false: context.amount <= 10 && context.amount > 0",
            "        false context.amount <= 10",
            "        true context.amount > 0",
            "everywhere  (no assignment)",
        ] {
            assert!(shown.out.lines().any(|shown| shown == line), "{line}\n{}", shown.out);
        }
        assert!(!shown.out.contains('\u{1b}'), "no colours in a pipe");
        let allowed = cli.run(&["explain", USER, "pay:invoice", "spv:Berlin", "--context", r#"{"amount": 9}"#]).await;
        assert_eq!(allowed.code, 0, "{allowed:?}");
        let unknown = cli.run(&["explain", USER, "pay:invoice", USER]).await;
        assert_eq!((unknown.code, unknown.out.as_str()), (2, ""));
        let terminal = cli
            .clone()
            .with("TERM", "xterm-256color")
            .run_on_terminal(&["check", USER, "pay:invoice", "spv:Berlin"])
            .await;
        assert!(terminal.contains("DENIED") && terminal.contains("└─ Payer"), "{terminal}");
        let piped = cli.run(&["check", USER, "pay:invoice", "spv:Berlin"]).await;
        assert!(!piped.out.contains("└─"), "the answer in a pipe stays as it was: {}", piped.out);
    }
}

#[test]
fn every_reason_has_a_row_on_both_pages() {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    for page in ["WHY-DENIED.md", "AUDIT.md"] {
        let text = std::fs::read_to_string(docs.join(page)).unwrap();
        for word in Denial::ALL.iter().map(|denial| denial.word()).chain(["granted"]) {
            assert!(text.contains(&format!("\n| `{word}` | ")), "{page} has no row for {word}");
        }
    }
}

/// Conditions that come out true, false, missing and failing.
const EXPRESSIONS: [&str; 8] = [
    "context.n <= 5",
    "context.n > 5 || context.flag",
    "1 / context.n == 1",
    "principal.attributes.level >= 2",
    "resource.attributes.level >= 2",
    "now < timestamp('2026-06-01T00:00:30Z')",
    "has(principal.attributes.level) && action.name == 'a:do'",
    "resource.type == 'spv' && context.flag",
];

fn condition(rng: &mut StdRng) -> Value {
    json!({"expression": EXPRESSIONS.choose(rng).unwrap(), "parameters": {"n": "int", "flag": "bool"}})
}

/// A registry of every kind of row, at random.
struct World {
    api: Api,
    clock: Arc<ManualClock>,
    entities: Vec<Uuid>,
    principals: Vec<(Uuid, &'static str)>,
}

const ACTIONS: [&str; 3] = ["a:do", "b:do", "c:do"];

impl World {
    async fn random(kind: DatabaseKind, rng: &mut StdRng) -> Self {
        let (api, clock) = api_at(kind, "2026-06-01T00:00:00Z").await;
        let mut entities: Vec<Uuid> = Vec::new();
        for n in 0..7 {
            let parent = entities.choose(rng).filter(|_| rng.random_bool(0.8)).copied();
            let entity_type = ["issuer", "spv", "offering"].choose(rng).unwrap();
            let body = json!({"name": format!("E{n}"), "type": entity_type, "parent_id": parent,
                 "attributes": {"level": rng.random_range(0..4)}});
            let made = api.post("/api/v1/entities", body).await.expect(201);
            entities.push(id_of(&made).parse().unwrap());
        }
        for _ in 0..2 {
            let archived = entities.choose(rng).unwrap();
            api.post(&format!("/api/v1/entities/{archived}/archive"), json!({})).await.expect(200);
        }
        let mut roles = Vec::new();
        for n in 0..5 {
            let held: Vec<_> = ACTIONS.iter().filter(|_| rng.random_bool(0.6)).collect();
            let scope: Vec<_> = ["issuer", "spv", "offering"].iter().filter(|_| rng.random_bool(0.3)).collect();
            let mut conditions = BTreeMap::new();
            for action in &held {
                if rng.random_bool(0.4) {
                    conditions.insert(**action, condition(rng));
                }
            }
            let body = json!({"name": format!("Role {n}"), "permissions": held, "scope_types": scope,
                "conditions": conditions});
            roles.push(id_of(&api.post("/api/v1/roles", body).await.expect(201)));
        }
        let principals = [(1, "user"), (2, "user"), (2, "service"), (3, "user")];
        let principals = principals.map(|(n, kind)| (Uuid::from_u128(n), kind)).to_vec();
        for (at, (id, kind)) in principals.iter().enumerate().skip(1) {
            let (level, status) = (rng.random_range(0..4), if at == 3 { "suspended" } else { "active" });
            let row = format!(
                "INSERT INTO principals (type, id, display_name, attributes, status, created_at, updated_at) VALUES \
                 ('{kind}', '{id}', 'P{at}', '{{\"level\": {level}}}', '{status}', '2026-01-01T00:00:0{at}.000000Z', \
                 '2026-01-01T00:00:00.000000Z')"
            );
            api.database.execute(&row).await.unwrap();
        }
        for _ in 0..30 {
            let (principal, principal_type) = principals.choose(rng).unwrap();
            let start = rng.random_range(-60..30_i64);
            let end = rng.random_bool(0.5).then(|| clock.now().plus_seconds(start + rng.random_range(1..90_i64)));
            let (role, start) = (roles.choose(rng).unwrap(), clock.now().plus_seconds(start));
            let mut body = json!({"principal_id": principal, "principal_type": principal_type, "role_id": role,
                "effective_at": start, "expires_at": end});
            if rng.random_bool(0.8) {
                body["entity_id"] = json!(entities.choose(rng).unwrap());
            }
            if rng.random_bool(0.4) {
                body["condition"] = condition(rng);
            }
            // Some roles are not meant for the type of the entity.
            let answer = api.post("/api/v1/assignments", body).await;
            assert!(matches!(answer.status.as_u16(), 201 | 400), "{answer:?}");
        }
        Self { api, clock, entities, principals }
    }

    fn question(&self, rng: &mut StdRng) -> (Question, JsonObject) {
        let (principal_id, principal_type) = *self.principals.choose(rng).unwrap();
        let question = Question {
            principal_id,
            principal_type: principal_type.parse().unwrap(),
            action: ACTIONS.choose(rng).unwrap().parse().unwrap(),
            resource_id: *self.entities.choose(rng).unwrap(),
        };
        let mut context = JsonObject::new();
        if rng.random_bool(0.7) {
            context.insert("n".into(), Json::Int(rng.random_range(0..10)));
        }
        if rng.random_bool(0.7) {
            context.insert("flag".into(), rng.random_bool(0.5).into());
        }
        (question, context)
    }

    async fn explain(&self, question: &Question, context: &JsonObject) -> Explanation {
        self.api.epr.explain(&Call::default(), question, context, None).await.unwrap()
    }

    async fn allowed(&self, question: &Question, context: &JsonObject) -> bool {
        self.api.epr.check_in_context(&Call::default(), question, context).await.unwrap().allowed
    }

    async fn revoke(&self, assignments: impl Iterator<Item = Uuid>) {
        for id in assignments {
            self.api.epr.revoke(&Call::default(), id).await.unwrap();
        }
    }
}

/// For every question: the explained decision is that of a check, cached or not; it is yes exactly when an assignment
/// applies; and exactly those that apply grant, which removing the others and then them shows.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_explanation_never_disagrees_with_a_check(#[case] kind: DatabaseKind) {
    let mut rng = seed::rng("explain");
    let (mut allowed, mut reasons, mut removed) = (0, BTreeMap::new(), 0);
    for _ in 0..4 {
        let world = World::random(kind, &mut rng).await;
        for _ in 0..100 {
            let (question, context) = world.question(&mut rng);
            let explanation = world.explain(&question, &context).await;
            let case = || format!("{question:?} {context:?}: {explanation:#?}");
            assert_eq!(world.allowed(&question, &context).await, explanation.decision, "{}", case());
            let applying = explanation.assignments.iter().filter(|one| one.applies).count();
            assert_eq!(applying > 0, explanation.decision, "{}", case());
            assert!(explanation.assignments.iter().all(|one| one.applies == one.why_not.is_none()), "{}", case());
            allowed += usize::from(explanation.decision);
            *reasons.entry(explanation.reason).or_insert(0) += 1;
            if rng.random_bool(0.1) {
                world.clock.advance_micros(rng.random_range(0..5_000_000));
            }
        }
        // The last questions are asked with fewer and fewer assignments.
        for _ in 0..12 {
            let (question, context) = world.question(&mut rng);
            let explanation = world.explain(&question, &context).await;
            let (applying, others): (Vec<_>, Vec<_>) = explanation.assignments.iter().partition(|one| one.applies);
            world.revoke(others.iter().map(|one| one.assignment_id)).await;
            assert_eq!(world.allowed(&question, &context).await, explanation.decision, "{explanation:#?}");
            removed += applying.len();
            // One after the other: the last one alone still grants.
            for one in applying {
                assert!(world.allowed(&question, &context).await, "{explanation:#?}");
                world.revoke(std::iter::once(one.assignment_id)).await;
            }
            assert!(!world.allowed(&question, &context).await, "{explanation:#?}");
        }
    }
    println!("allowed {allowed} of 400, {reasons:?}, {removed} removed");
    assert!(allowed > 20 && reasons.len() >= 6 && removed > 0, "the worlds show too little: {reasons:?}");
}

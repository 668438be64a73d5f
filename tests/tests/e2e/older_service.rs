//! The differential table: requests, messages, variables and rows with the answers of the older service as recorded
//! facts (`tests/vectors/older_service`). Every difference has its reason beside it, or it fails.

use axum::http::Method;
use epr_core::ingest::{IngestOutcome, Message};
use epr_core::settings::{Settings, Source};
use epr_testkit::api::Api;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::epr;
use rstest::rstest;
use serde_json::{Value, json};

use crate::adoption::older_tables;

const USER: &str = "aaaaaaaa-0000-4000-8000-00000000000a";

/// The cases of a table by their comparison with the older service.
#[derive(Default)]
struct Tally {
    same: usize,
    better: Vec<String>,
    different: Vec<String>,
}

impl Tally {
    /// Counts a case by what was seen and what `case` says the older service did.
    fn count(&mut self, case: &Value, older: bool, here: Option<bool>, seen: &dyn std::fmt::Debug) {
        let name = case["name"].as_str().expect("a name");
        match (older, here) {
            (true, None) => self.same += 1,
            (_, Some(true)) => {
                let reason = case["here"]["reason"].as_str().expect("a reason");
                self.better.push(format!("{name}: {reason}"));
            }
            _ => self.different.push(format!("{name}: {seen:?}")),
        }
    }

    /// Prints the counts; fails when something differs without a reason.
    fn close(self, table: &str) {
        println!(
            "{table}: {} the same, {} better on purpose, {} different",
            self.same,
            self.better.len(),
            self.different.len()
        );
        for line in &self.better {
            println!("  better: {line}");
        }
        assert!(self.different.is_empty(), "{table}: {:#?}", self.different);
    }
}

fn cases(table: &str) -> Vec<Value> {
    serde_json::from_str(table).expect("a table")
}

/// Whether `seen` has everything that `expected` says.
fn has(seen: &Value, expected: &Value) -> bool {
    match (seen, expected) {
        (Value::Array(_), Value::String(word)) if word == "list" => true,
        (Value::Object(seen), Value::Object(expected)) => {
            expected.iter().all(|(name, value)| seen.get(name).is_some_and(|seen| has(seen, value)))
        }
        (seen, expected) => seen == expected,
    }
}

fn is_answer(status: u16, body: &Value, expected: &Value) -> bool {
    status == expected["status"] && expected.get("answer").is_none_or(|answer| has(body, answer))
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_answered_as_by_the_older_service(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let issuer = api.entity("Issuer", "issuer", None).await;
    let spv = api.entity("Spv", "spv", Some(&issuer)).await;
    let role = api.role("Reader", &[], &["document:download"]).await;
    api.patch(&format!("/api/v1/roles/{role}"), json!({"description": "Reads"})).await.expect(200);
    let other = api.role("Other reader", &[], &["other:read"]).await;
    api.post("/api/v1/assignments", json!({"principal_id": USER, "role_id": role, "entity_id": spv})).await.expect(201);
    let filled = |text: String| {
        let ids = [("{spv}", &spv), ("{issuer}", &issuer), ("{role}", &role), ("{other}", &other)];
        let text = ids.iter().fold(text, |text, (name, id)| text.replace(name, id));
        text.replace("{{", "{").replace("}}", "}")
    };
    let mut tally = Tally::default();
    for case in cases(include_str!("../../vectors/older_service/requests.json")) {
        let text = |name: &str| filled(case[name].as_str().unwrap_or_default().to_owned());
        let headers: Vec<(String, String)> = case
            .get("headers")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        // Braces of JSON are doubled in no case: only texts are filled.
        let body = case.get("body").map_or_else(String::new, |body| replaced(body, &filled).to_string());
        let method: Method = text("method").parse().unwrap();
        let answer = api.raw(method, &text("path"), &headers, body).await;
        let expected = replaced(&case["older"], &filled);
        let older = is_answer(answer.status.as_u16(), &answer.body, &expected);
        let here = case.get("here").map(|here| is_answer(answer.status.as_u16(), &answer.body, here));
        tally.count(&case, older, here, &(answer.status, &answer.body));
    }
    tally.close("requests");
    let (status, headers, _) =
        api.text(axum::http::Request::get("/redoc").body(axum::body::Body::empty()).unwrap()).await;
    assert_eq!((status, headers["location"].to_str().unwrap()), (307, "docs"));
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_recorded_as_by_the_older_service(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let mut tally = Tally::default();
    for (at, case) in cases(include_str!("../../vectors/older_service/messages.json")).iter().enumerate() {
        let message = Message::new(format!("bbbbbbbb-0000-4000-8000-{at:012}"), case["body"].as_str().unwrap());
        let outcome = api.epr.ingest(&[message]).await.outcomes.remove(0);
        let seen = match &outcome {
            IngestOutcome::Recorded { sequence } => {
                let entries = api.get(&format!("/api/v1/audit/entries?from_sequence={sequence}")).await.expect(200);
                json!({"outcome": "recorded", "entry": entries[0]})
            }
            _ => json!({"outcome": "rejected"}),
        };
        let here = case.get("here").map(|here| here["outcome"] == seen["outcome"]);
        tally.count(case, has(&seen, &case["older"]), here, &outcome);
    }
    tally.close("messages");
}

/// `value` with every text in it filled in.
fn replaced(value: &Value, filled: &impl Fn(String) -> String) -> Value {
    match value {
        Value::String(text) => filled(text.clone()).into(),
        Value::Array(items) => items.iter().map(|item| replaced(item, filled)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), replaced(value, filled)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

#[test]
fn variables_are_read_as_by_the_older_service() {
    let mut tally = Tally::default();
    for case in cases(include_str!("../../vectors/older_service/variables.json")) {
        let variables = case["variables"].as_object().unwrap();
        let source = Source::of(variables.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())));
        let read = Settings::from_source(&source);
        let seen = if read.is_ok() { "starts" } else { "refuses" };
        let warnings = read.as_ref().map(|settings| settings.warnings.clone()).unwrap_or_default();
        let warned = match case.get("warns").and_then(Value::as_str) {
            None => warnings.is_empty(),
            Some(name) => warnings.len() == 1 && warnings[0].starts_with(name),
        };
        let here = case.get("here").map(|here| here["outcome"] == seen);
        tally.count(&case, case["older"] == seen && warned, here, &(seen, warnings));
    }
    tally.close("variables");
}

/// The older tables with the changes of each case: what they authorize after the takeover, and what the plan says
/// before it.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn rows_of_the_older_service_are_taken_over(#[case] kind: DatabaseKind) {
    let mut tally = Tally::default();
    let id = |id: &str| if kind == DatabaseKind::Sqlite { id.replace('-', "") } else { id.to_owned() };
    let (role, user) = ("33333333-0000-4000-8000-000000000003", "44444444-0000-4000-8000-000000000004");
    let child = "00000000-0000-4000-8000-000000000002";
    for case in cases(include_str!("../../vectors/older_service/rows.json")) {
        let database = Database::create(kind).await;
        if let Some(file) = database.file() {
            std::fs::write(file, "").unwrap();
        }
        database.execute(&older_tables(kind, true)).await.unwrap();
        for sql in case["sql"].as_array().unwrap() {
            let sql = sql.as_str().unwrap().replace("{id}", &id("77777777-0000-4000-8000-000000000007"));
            let sql = sql.replace("{role}", &id(role)).replace("{user}", &id(user));
            database.execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
        let (code, out, err) = epr(&database.url, &["migrate", "--plan", "--json"]).await;
        let plan: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{code} {out}{err}"));
        let misfits = plan["misfits"].as_array().unwrap();
        let mut named: Vec<String> = misfits
            .iter()
            .map(|one| format!("{}.{}", one["table"].as_str().unwrap(), one["column"].as_str().unwrap()))
            .collect();
        named.sort_unstable();
        let list = |value: &Value| {
            value.as_array().into_iter().flatten().map(|one| one.as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let blocked = database.execute("SELECT 1 FROM audit_chain_head").await.is_err();
        assert!(blocked, "the plan changed something");
        if let Some(here) = case.get("here") {
            let refused = epr(&database.url, &["migrate"]).await.0 == 2 && code == 1;
            tally.count(&case, false, Some(refused && named == list(&here["blocks"])), &(code, &named, misfits));
            continue;
        }
        let (migrated, _, err) = epr(&database.url, &["migrate"]).await;
        assert_eq!((code, migrated), (0, 0), "{}: {named:?} {err}", case["name"]);
        let api = Api::on(database.into()).await;
        let authorized = api.authorized(user, "document:download", child).await;
        let same = case["authorized"] == authorized && named == list(case.get("adjusts").unwrap_or(&Value::Null));
        tally.count(&case, same, None, &(authorized, &named));
    }
    tally.close(&format!("rows on {kind:?}"));
}

//! The commands of docs/LISTS.md, as they are written there, and the answers that the page shows.

use epr_testkit::api::{Api, id_of};
use epr_testkit::database::DatabaseKind;
use epr_testkit::process::Process;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::process::Command;

const PAGE: &str = include_str!("../../../docs/LISTS.md");
const ADA: &str = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11";

/// The commands of the page with the answers below them.
fn examples() -> Vec<(&'static str, Value)> {
    let blocks = PAGE.split("```console\n$ ").skip(1).map(|rest| rest.split_once("```").expect("the end").0);
    let example = |block: &'static str| {
        let (command, answer) = block.split_once("\n{\"items\"").expect("an answer");
        let answer = format!("{{\"items\"{answer}");
        (command, serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}")))
    };
    blocks.map(example).collect()
}

/// The ids, the revision and the time that the page shows, beside those that they stand for.
struct Shown(Vec<(&'static str, String)>);

impl Shown {
    /// Runs a command of the page; returns its answer, with the names of the page.
    async fn run(&self, base: &str, command: &str) -> Value {
        let command = self.0.iter().fold(command.to_owned(), |text, (shown, real)| text.replace(shown, real));
        let mut shell = Command::new("bash");
        let output = shell.args(["-euo", "pipefail", "-c", &command]).env("EPR", base).output().await.unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let text = self.0.iter().fold(text, |text, (shown, real)| text.replace(real, shown));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{command}: {error}: {text}"))
    }
}

/// An answer without what differs from one run to the next: the revision and the time.
fn lasting(mut answer: Value) -> Value {
    for name in ["revision", "as_of"] {
        assert!(answer[name].is_string(), "{answer}");
        answer[name] = json!(null);
    }
    answer
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_of_the_page_answer_what_it_shows(#[case] kind: DatabaseKind) {
    let examples = examples();
    let [principals, subtrees] = &examples[..] else { panic!("{} examples", examples.len()) };
    let api = Api::start(kind).await;
    let issuer = api.entity("Acme Estates", "issuer", None).await;
    let spv = api.entity("Berlin One", "spv", Some(&issuer)).await;
    let archived = api.entity("Berlin Two", "spv", Some(&issuer)).await;
    api.post(&format!("/api/v1/entities/{archived}/archive"), json!({})).await.expect(200);
    api.post("/api/v1/principals", json!({"id": ADA, "display_name": "Ada Lovelace"})).await.expect(201);
    let reader = api.role("Reader", &["issuer", "spv"], &["document:download"]).await;
    let auditor = api.role("Auditor", &[], &["document:download"]).await;
    let assign = async |body: Value| id_of(&api.post("/api/v1/assignments", body).await.expect(201));
    let direct = assign(json!({"principal_id": ADA, "role_id": reader, "entity_id": issuer})).await;
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &api.database.url)]).await;
    let mut shown = Shown(vec![
        ("01a20864-7750-7688-ae30-e4554a6f9d96", issuer),
        ("01a20864-775e-7192-9677-77033a7b75da", spv),
        ("01a20864-7a01-7c52-8a0d-0f6f1a9e2f10", archived),
        ("01a20864-7790-7c51-a0e3-c4d9a4c1d8c2", reader),
        ("01a20864-77a1-7e0b-8f39-2f5d0c5b4f10", direct),
    ]);
    let (command, answer) = principals;
    assert_eq!(lasting(shown.run(&base, command).await), lasting(answer.clone()), "{command}");
    let everywhere = assign(json!({"principal_id": ADA, "role_id": auditor})).await;
    shown.0.extend([
        ("01a20864-7795-7d03-b1f8-5a60c1e7d2b4", auditor),
        ("01a20864-77c5-7a90-9d1e-3c7b42f8a605", everywhere),
    ]);
    let (command, answer) = subtrees;
    assert_eq!(lasting(shown.run(&base, command).await), lasting(answer.clone()), "{command}");
    process.terminate().await;
}

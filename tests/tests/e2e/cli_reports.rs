//! `epr report …`: the rows of each report, on the database and over the API.

use epr_testkit::api::Api;
use epr_testkit::cli::{Cli, normalized};
use epr_testkit::database::DatabaseKind;
use epr_testkit::process::Process;
use rstest::rstest;
use serde_json::{Value, json};

const USER: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const OTHER: &str = "aaaaaaaa-0000-4000-8000-000000000002";

fn in_days(days: i64) -> String {
    use epr_core::clock::{Clock as _, SystemClock};
    SystemClock.now().plus_seconds(days * 86_400).to_string()
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_report_shows_exactly_its_rows(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let cli = Cli::on(&api.database.url);
    reports_show_exactly_their_rows(&api, &cli).await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_report_shows_the_same_rows_over_the_api(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &api.database.url)]).await;
    reports_show_exactly_their_rows(&api, &Cli::over(&base)).await;
    process.terminate().await;
}

async fn reports_show_exactly_their_rows(api: &Api, cli: &Cli) {
    let issuer = api.entity("Acme", "issuer", None).await;
    let spv = api.entity("Berlin", "spv", Some(&issuer)).await;
    let below = api.entity("Series A", "offering", Some(&spv)).await;
    api.entity("Put away", "spv", Some(&issuer)).await;
    let (reader, writer) = (api.role("Reader", &[], &["a:read"]).await, api.role("Writer", &[], &["a:write"]).await);
    let past = api.role("Past", &[], &["a:past"]).await;
    api.role("Unused", &["spv"], &[]).await;
    let assign = async |user: &str, role: &str, entity: Option<&str>, from: Option<String>, until: Option<String>| {
        let mut body = json!({"principal_id": user, "role_id": role, "entity_id": entity, "expires_at": until});
        if let Some(from) = from {
            body["effective_at"] = json!(from);
        }
        api.post("/api/v1/assignments", body).await.expect(201)["id"].as_str().unwrap().to_owned()
    };
    let forever = assign(USER, &reader, Some(&issuer), None, None).await;
    let soon = assign(USER, &writer, Some(&spv), None, Some(in_days(10))).await;
    let later = assign(OTHER, &writer, Some(&spv), None, Some(in_days(29))).await;
    let much_later = assign(OTHER, &reader, Some(&spv), None, Some(in_days(40))).await;
    let future = assign(USER, &reader, Some(&below), Some(in_days(5)), Some(in_days(20))).await;
    let stillborn = assign(USER, &past, Some(&spv), Some(in_days(-20)), Some(in_days(-10))).await;
    let everywhere = assign(USER, &reader, None, None, None).await;
    let everywhere_too = assign(USER, &writer, None, None, Some(in_days(300))).await;
    let other_everywhere = assign(OTHER, &reader, None, Some(in_days(60)), None).await;
    let was_everywhere = assign(OTHER, &past, None, Some(in_days(-20)), Some(in_days(-10))).await;
    assert!(!forever.is_empty() && !much_later.is_empty());

    let ids = |rows: Vec<Value>| rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(cli.json(&["report", "expiring"]).await), [soon.clone(), future.clone(), later.clone()]);
    assert_eq!(ids(cli.json(&["report", "expiring", "--within", "2w"]).await), std::slice::from_ref(&soon));
    let mut never = ids(cli.json(&["report", "never-effective"]).await);
    assert_eq!(never.split_off(2), [future, other_everywhere.clone()], "those to come follow those that never were");
    never.sort();
    let mut expected = vec![stillborn, was_everywhere];
    expected.sort();
    assert_eq!(never, expected);
    let global = cli.json(&["report", "global-roles"]).await;
    assert_eq!(ids(global.clone()), [everywhere, everywhere_too, other_everywhere]);
    assert_eq!((&global[0]["role_name"], &global[0]["entity_type"]), (&json!("Reader"), &json!(null)));
    let unheld = cli.json(&["report", "unheld-roles"]).await;
    assert_eq!(unheld.iter().map(|role| &role["name"]).collect::<Vec<_>>(), ["Past", "Unused"]);
    assert_eq!((&unheld[0]["ended_assignments"], &unheld[1]["ended_assignments"]), (&json!(2), &json!(0)));
    assert_eq!(cli.json(&["report", "orphaned"]).await, Vec::<Value>::new());
    cli.ok(&["entities", "archive", "spv:Put away"]).await;
    cli.ok(&["entities", "archive", "issuer:Acme"]).await;
    let orphaned = cli.json(&["report", "orphaned"]).await;
    assert_eq!(ids(orphaned.clone()), std::slice::from_ref(&spv), "not what is archived itself, not the grandchild");
    assert_eq!((&orphaned[0]["parent_name"], &orphaned[0]["parent_type"]), (&json!("Acme"), &json!("issuer")));

    let output = cli.run(&["report", "global-roles"]).await;
    assert_eq!((output.code, output.err.as_str()), (0, "2 principals have a global assignment.\n"));
    assert_eq!(
        normalized(&output.out),
        "\
user 00000000-0000-0000-0000-000000000001
  00000000-0000-0000-0000-000000000002  Reader  in force
  00000000-0000-0000-0000-000000000003  Writer  until 0000-00-00 00:00 UTC
user 00000000-0000-0000-0000-000000000004
  00000000-0000-0000-0000-000000000005  Reader  from 0000-00-00 00:00 UTC
"
    );
    assert_eq!(
        normalized(&cli.ok(&["report", "unheld-roles"]).await),
        "\
00000000-0000-0000-0000-000000000001  Past
  a:past
  2 assignments have expired, the last on 0000-00-00 00:00 UTC
00000000-0000-0000-0000-000000000002  Unused
  for spv: no actions
"
    );
    assert_eq!(
        normalized(&cli.ok(&["report", "orphaned"]).await),
        "00000000-0000-0000-0000-000000000001  spv:Berlin\n  below 00000000-0000-0000-0000-000000000002  issuer:Acme\n"
    );
    assert_eq!(cli.run(&["report", "expiring"]).await.err, "3 assignments expire within 30 days.\n");
    assert_eq!(cli.run(&["report", "expiring", "--within", "1h"]).await.err, "No assignments expire within 1 hour.\n");
    assert_eq!(cli.run(&["report", "expiring", "--within", "soon"]).await.code, 2);
}

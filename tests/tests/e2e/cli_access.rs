//! `epr who-can` and `epr what-can`: complete lists, the same on the database and over the API, harmless in every
//! format.

use std::collections::BTreeSet;

use epr_testkit::api::Api;
use epr_testkit::cli::{Cli, normalized};
use epr_testkit::database::DatabaseKind;
use epr_testkit::process::Process;
use rstest::rstest;
use serde_json::{Value, json};

pub(crate) const ADA: &str = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a01";
pub(crate) const BEN: &str = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a02";
pub(crate) const CLEO: &str = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a03";
pub(crate) const DAN: &str = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a04";
pub(crate) const EVE: &str = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a05";
pub(crate) const HOSTILE: &str = "=cmd|' /C calc'!A0;\u{1b}[31m\u{202e}";

/// Ada reads everything below the issuer and is registered, Ben reads on the SPV only until 2101, a service named Cleo
/// reads everywhere, Dan reads only up to an amount, Eve is suspended.
async fn world(api: &Api) -> String {
    let issuer = api.entity("Acme", "issuer", None).await;
    let spv = api.entity("Berlin", "spv", Some(&issuer)).await;
    let reader = api.role("Reader", &[], &["document:download"]).await;
    let manager = api.role("Manager", &["spv"], &["document:archive", "document:download"]).await;
    let assign = async |body: Value| api.post("/api/v1/assignments", body).await.expect(201);
    assign(json!({"principal_id": ADA, "role_id": reader, "entity_id": issuer})).await;
    assign(json!({"principal_id": BEN, "role_id": manager, "entity_id": spv, "expires_at": "2101-01-01T00:00:00Z"}))
        .await;
    assign(json!({"principal_id": CLEO, "principal_type": "service", "role_id": reader})).await;
    let condition = json!({"expression": "context.amount <= 10", "parameters": {"amount": "int"}});
    assign(json!({"principal_id": DAN, "role_id": reader, "entity_id": spv, "condition": condition})).await;
    assign(json!({"principal_id": EVE, "role_id": reader, "entity_id": spv})).await;
    let register = async |body: Value| api.post("/api/v1/principals", body).await.expect(201);
    register(json!({"id": ADA, "external_id": "auth0|ada", "display_name": HOSTILE})).await;
    register(json!({"id": EVE, "status": "suspended"})).await;
    spv
}

/// The command ends with `code`, prints no rows, and explains it by `sentence`: alone, if that ends with an X.
pub(crate) async fn assert_without_rows(cli: &Cli, arguments: &[&str], code: i32, sentence: &str) {
    let output = cli.run(arguments).await;
    let expected = sentence.trim_end_matches('X');
    assert!(output.code == code && output.err.contains(expected), "{arguments:?}: {output:?}");
    assert!(expected == sentence || output.err == expected, "nothing more: {output:?}");
    assert_eq!(output.out, "", "{arguments:?}");
}

/// Runs `test` on the database and over the API.
pub(crate) async fn on_both(kind: DatabaseKind, test: impl AsyncFn(&Api, &str, Cli)) {
    let api = Api::start(kind).await;
    let spv = world(&api).await;
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &api.database.url)]).await;
    test(&api, &spv, Cli::on(&api.database.url)).await;
    test(&api, &spv, Cli::over(&base)).await;
    process.terminate().await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_name_the_assignment_behind_each_row(#[case] kind: DatabaseKind) {
    on_both(kind, async |_, _, cli| {
        let listed = cli.run(&["who-can", "document:download", "spv:Berlin"]).await;
        assert_eq!(
            (listed.code, normalized(&listed.out).as_str()),
            (
                0,
                "\
user 00000000-0000-0000-0000-000000000001  =cmd|' /C calc'!A0;\\u{1b}[31m\\u{202e…
  Reader on issuer:Acme, an ancestor
user 00000000-0000-0000-0000-000000000002
  Manager on spv:Berlin, until 0000-00-00 00:00 UTC
service 00000000-0000-0000-0000-000000000003
  Reader everywhere
"
            )
        );
        assert!(listed.err.starts_with("3 principals, as of 2") && listed.err.contains(", revision "), "{listed:?}");
        let listed = cli.run(&["what-can", BEN, "--on", "spv:Berlin"]).await;
        assert_eq!(
            (listed.code, normalized(&listed.out).as_str()),
            (
                0,
                "\
document:archive
  Manager on spv:Berlin, until 0000-00-00 00:00 UTC
document:download
  Manager on spv:Berlin, until 0000-00-00 00:00 UTC
"
            )
        );
        assert!(listed.err.starts_with("2 actions, as of 2"), "{listed:?}");
        let conditional = cli.ok(&["what-can", DAN, "--on", "spv:Berlin", "--include", "conditional"]).await;
        assert!(conditional.contains("\n  conditional: needs context.amount\n"), "{conditional}");
    })
    .await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_exactly_those_that_a_check_allows(#[case] kind: DatabaseKind) {
    on_both(kind, async |_, spv, cli| {
        for context in ["{}", r#"{"amount": 10}"#, r#"{"amount": 11}"#] {
            let listed = cli.json(&["who-can", "document:download", spv, "--context", context]).await;
            let listed: BTreeSet<_> = listed.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect();
            let mut expected = BTreeSet::new();
            for (principal, kind) in [(ADA, "user"), (BEN, "user"), (CLEO, "service"), (DAN, "user"), (EVE, "user")] {
                let check =
                    ["check", principal, "document:download", spv, "--principal-type", kind, "--context", context];
                if cli.run(&check).await.code == 0 {
                    expected.insert(principal.to_owned());
                }
            }
            assert_eq!(listed, expected, "{context}");
        }
        let ids = async |options: &[&str]| {
            let listed = cli.json(&[&["who-can", "document:download", "spv:Berlin"], options].concat()).await;
            listed.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(ids(&["--type", "service"]).await, [CLEO]);
        assert_eq!(ids(&["--principal-type", "group"]).await, Vec::<String>::new());
        assert_eq!(ids(&["--include", "conditional,archived"]).await, [ADA, BEN, CLEO, DAN]);
        assert_eq!(ids(&["--limit", "2"]).await, [ADA, BEN]);
        let csv = cli.ok(&["who-can", "document:download", "spv:Berlin", "--format", "csv"]).await;
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!((&rows[0][1], &rows[0][2], &rows[0][6]), (ADA, "auth0|ada", "inherited"), "{csv}");
        assert_eq!((&rows[1][5], &rows[1][10]), ("Manager", "2101-01-01T00:00:00.000000Z"), "{csv}");
        for part in rows.iter().flat_map(|row| row.iter()).flat_map(|cell| cell.split([';', '\t', '\n', '\r'])) {
            assert!(!part.trim_start_matches(['"', ' ']).starts_with(['=', '+', '-', '@']), "a formula: {part}");
        }
    })
    .await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_lists_and_wrong_arguments_say_why(#[case] kind: DatabaseKind) {
    on_both(kind, async |_, spv, cli| {
        let unknown = "00000000-0000-4000-8000-000000000000";
        for (arguments, code, sentence) in [
            (
                &["who-can", "document:upload", "spv:Berlin"][..],
                0,
                "No principals.\nNo role has the action document:up",
            ),
            (&["who-can", "document:archive", "issuer:Acme"], 0, "No principals.\n"),
            (&["what-can", EVE, "--on", spv], 0, "No actions.\nThe principal is suspended"),
            (&["what-can", unknown, "--on", spv], 0, "No actions.\nX"),
            (
                &["who-can", "document:download", unknown],
                2,
                "epr: Entity 00000000-0000-4000-8000-000000000000 not found",
            ),
            (&["who-can", "document:download", "spv:Nowhere"], 2, "epr: there is no spv named `Nowhere`"),
            (&["who-can", "document:download"], 2, "required arguments were not provided"),
            (&["who-can", "document:download", spv, "--include", "everything"], 2, "invalid value 'everything'"),
            (&["who-can", "document:download", spv, "--context", "[]"], 2, "give a file, or a JSON object"),
            (&["who-can", "document:download", spv, "--context", r#"{"amount": "x"}"#], 2, "amount"),
            (&["who-can", "", spv], 2, "at least 1 character"),
            (&["what-can", "ada", "--on", spv], 2, "invalid value 'ada'"),
            (&["what-can", ADA, "document:download", "--on", spv], 2, "is a check: epr check"),
            (&["what-can", ADA, "--on", spv, "--within", spv], 2, "cannot be used with"),
        ] {
            assert_without_rows(&cli, arguments, code, sentence).await;
        }
    })
    .await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_several_pages_is_complete_and_leaves_an_entry_for_each(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let spv = world(&api).await;
    api.database.execute(&many(2_100, &spv)).await.unwrap();
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &api.database.url)]).await;
    for cli in [Cli::on(&api.database.url), Cli::over(&base)] {
        let entries = async || cli.json(&["audit", "list", "--action", "authorization.list"]).await.len();
        let before = entries().await;
        let listed = cli.json(&["who-can", "document:download", &spv]).await;
        let ids: BTreeSet<_> = listed.iter().map(|item| item["id"].to_string()).collect();
        assert_eq!((listed.len(), ids.len()), (2_103, 2_103), "no gap and no duplicate");
        assert_eq!(entries().await, before + 3, "pages of 1,000");
        let some = cli.run(&["who-can", "document:download", &spv, "--limit", "1001", "--format", "csv"]).await;
        assert_eq!((some.out.lines().count(), some.err.as_str()), (1_002, "More exist: raise --limit to see them.\n"));
        let all = cli.run(&["who-can", "document:download", &spv, "--limit", "2103"]).await;
        assert!(all.err.starts_with("2103 principals, as of "), "{}", all.err);
    }
    process.terminate().await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_of_access_has_a_row_for_each_check_that_says_yes(#[case] kind: DatabaseKind) {
    on_both(kind, async |api, _, cli| {
        if api.get("/api/v1/entities?type=offering").await.expect(200).as_array().unwrap().is_empty() {
            let spv = api.get("/api/v1/entities?type=spv").await.expect(200)[0]["id"].as_str().unwrap().to_owned();
            api.entity(HOSTILE, "offering", Some(&spv)).await;
            api.entity("Elsewhere", "issuer", None).await;
            // Below an archived entity, where checks go on.
            let archived = api.entity("Archived", "spv", Some(&spv)).await;
            let below = api.entity("Below", "spv", Some(&archived)).await;
            api.entity("Deep", "spv", Some(&below)).await;
            api.post(&format!("/api/v1/entities/{archived}/archive"), json!({})).await.expect(200);
        }
        let csv = cli.ok(&["report", "access", "--entity", "issuer:Acme"]).await;
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        assert_eq!(
            reader.headers().unwrap().iter().collect::<Vec<_>>().join(","),
            "entity_id,entity_type,entity_name,principal_type,principal_id,principal_external_id,principal_name,action,\
             assignment_id,role,via,until"
        );
        let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
        let listed: Vec<_> = rows.iter().map(|row| [&row[0], &row[4], &row[7]].map(str::to_owned)).collect();
        let mut expected = BTreeSet::new();
        for entity in cli.json(&["entities", "list"]).await.iter().filter(|entity| entity["name"] != "Elsewhere") {
            let entity = entity["id"].as_str().unwrap();
            for (principal, kind) in [(ADA, "user"), (BEN, "user"), (CLEO, "service"), (DAN, "user"), (EVE, "user")] {
                for action in ["document:archive", "document:download"] {
                    if cli.run(&["check", principal, action, entity, "--principal-type", kind]).await.code == 0 {
                        expected.insert([entity, principal, action].map(str::to_owned));
                    }
                }
            }
        }
        assert_eq!((listed.len(), listed.iter().cloned().collect::<BTreeSet<_>>()), (expected.len(), expected));
        let names: Vec<_> = rows.iter().map(|row| row[2].to_owned()).collect();
        let first = |name: &str| names.iter().position(|one| one == name).unwrap();
        assert!(first("Acme") == 0 && first("Below") < first("Deep"), "an entity comes before what is below it");
        for part in rows.iter().flat_map(|row| row.iter()).flat_map(|cell| cell.split([';', '\t', '\n', '\r'])) {
            assert!(!part.trim_start_matches(['"', ' ']).starts_with(['=', '+', '-', '@']), "a formula: {part}");
        }
        assert_eq!(cli.json(&["report", "access", "--entity", "issuer:Acme"]).await.len(), rows.len());
        let table = cli.ok(&["report", "access", "--entity", "issuer:Acme", "--format", "table"]).await;
        assert!(!table.contains('\u{1b}') && table.lines().count() == 2 * rows.len(), "{table}");
        let unknown = cli.run(&["report", "access", "--entity", "issuer:Nobody"]).await;
        assert!(unknown.code == 2 && unknown.err.contains("there is no issuer named `Nobody`"), "{unknown:?}");
    })
    .await;
}

/// So many assignments of the role Reader on an entity, behind the service's back.
fn many(count: usize, entity: &str) -> String {
    let moment = "2026-01-01T00:00:00.000000Z";
    let row = |n| {
        format!(
            "('10000000-0000-4000-8000-{n:012}', '20000000-0000-4000-8000-{n:012}', 'user', '{entity}', '{moment}', \
             '{moment}', '{moment}', (SELECT id FROM roles WHERE name = 'Reader'))"
        )
    };
    let rows: Vec<_> = (0..count).map(row).collect();
    format!(
        "INSERT INTO role_assignments (id, principal_id, principal_type, entity_id, effective_at, created_at, \
         updated_at, role_id) VALUES {}",
        rows.join(", ")
    )
}

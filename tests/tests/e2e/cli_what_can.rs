//! `epr what-can` for one action, for every action, and as subtrees: what checks say, on the database and over the API.

use std::collections::{BTreeMap, BTreeSet};

use epr_testkit::cli::{Cli, normalized};
use epr_testkit::database::DatabaseKind;
use rstest::rstest;
use serde_json::Value;

use crate::cli_access::{ADA, BEN, CLEO, DAN, EVE, HOSTILE, assert_without_rows, on_both};

const ACTIONS: [&str; 2] = ["document:archive", "document:download"];

/// The id, the parent and the type of every entity that is not archived.
async fn entities(cli: &Cli) -> BTreeMap<String, (Option<String>, String)> {
    let listed = cli.json(&["entities", "list"]).await;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let of =
        |entity: &Value| (text(&entity["id"]).unwrap(), (text(&entity["parent_id"]), text(&entity["type"]).unwrap()));
    listed.iter().map(of).collect()
}

/// Whether an item of subtrees covers an entity, as docs/LISTS.md says.
fn covers(item: &Value, id: &str, entities: &BTreeMap<String, (Option<String>, String)>) -> bool {
    let path = std::iter::successors(Some(id.to_owned()), |id| entities.get(id)?.0.clone());
    let is_below = item["everything"] == true || path.into_iter().any(|ancestor| item["id"] == ancestor.as_str());
    let has = |list: &Value, text: &str| list.as_array().unwrap().iter().any(|one| one == text);
    let types = &item["types"];
    is_below
        && (types.as_array().unwrap().is_empty() || has(types, &entities[id].1))
        && !has(&item["exclusions"], id)
        && item["conditional"] != true
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_form_lists_what_checks_allow(#[case] kind: DatabaseKind) {
    on_both(kind, async |_, _, cli| {
        let entities = entities(&cli).await;
        let mut seen = 0;
        for (principal, kind) in [(ADA, "user"), (BEN, "user"), (CLEO, "service"), (DAN, "user"), (EVE, "user")] {
            let of = ["--principal-type", kind];
            let mut allowed = BTreeSet::new();
            for action in ACTIONS {
                let mut ids = BTreeSet::new();
                for id in entities.keys() {
                    if cli.run(&[&["check", principal, action, id][..], &of].concat()).await.code == 0 {
                        ids.insert(id.clone());
                        allowed.insert((action.to_owned(), id.clone()));
                    }
                }
                let listed = cli.json(&[&["what-can", principal, action][..], &of].concat()).await;
                let listed: Vec<_> = listed.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect();
                assert_eq!(listed, ids.into_iter().collect::<Vec<_>>(), "{principal} {action}: ordered by id");
            }
            let listed = cli.json(&[&["what-can", principal][..], &of].concat()).await;
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let rows: Vec<_> = listed.iter().map(|item| (text(&item["action"]), text(&item["id"]))).collect();
            assert_eq!(rows, allowed.iter().cloned().collect::<Vec<_>>(), "{principal}");
            seen += rows.len();
            let subtrees = cli.json(&[&["what-can", principal, "--form", "subtrees"][..], &of].concat()).await;
            let mut covered = BTreeSet::new();
            for item in &subtrees {
                let ids = entities.keys().filter(|id| covers(item, id, &entities));
                covered.extend(ids.map(|id| (text(&item["action"]), id.clone())));
            }
            assert_eq!(covered, allowed, "{principal}: {subtrees:?}");
        }
        assert!(seen >= 6, "the worlds allow something: {seen}");
        let ids = async |options: &[&str]| {
            let listed = cli.json(&[&["what-can", ADA, "document:download"], options].concat()).await;
            listed.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(ids(&["--within", "issuer:Acme"]).await, ["Berlin"]);
        assert_eq!(ids(&["--resource-type", "issuer"]).await, ["Acme"]);
        assert_eq!(ids(&["--resource-type", "offering"]).await, Vec::<String>::new());
    })
    .await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_form_is_a_table_and_csv(#[case] kind: DatabaseKind) {
    on_both(kind, async |api, _, cli| {
        if api.get("/api/v1/entities?type=offering").await.expect(200).as_array().unwrap().is_empty() {
            let spv = api.get("/api/v1/entities?type=spv").await.expect(200)[0]["id"].as_str().unwrap().to_owned();
            api.entity(HOSTILE, "offering", Some(&spv)).await;
        }
        let listed = cli.run(&["what-can", BEN]).await;
        assert_eq!(
            (listed.code, normalized(&listed.out).as_str()),
            (
                0,
                "\
document:archive  00000000-0000-0000-0000-000000000001  spv:Berlin
  Manager on spv:Berlin, until 0000-00-00 00:00 UTC
document:download  00000000-0000-0000-0000-000000000001  spv:Berlin
  Manager on spv:Berlin, until 0000-00-00 00:00 UTC
"
            )
        );
        assert!(listed.err.starts_with("2 rows, as of 2") && listed.err.contains(", revision "), "{listed:?}");
        let listed = cli.run(&["what-can", BEN, "--form", "subtrees"]).await;
        assert_eq!(
            (listed.code, normalized(&listed.out).as_str()),
            (
                0,
                "\
document:archive  spv:Berlin and below, only spv
  Manager, until 0000-00-00 00:00 UTC
document:download  spv:Berlin and below, only spv
  Manager, until 0000-00-00 00:00 UTC
"
            )
        );
        assert!(listed.err.starts_with("2 subtrees, as of 2"), "{listed:?}");
        let everywhere =
            cli.ok(&["what-can", CLEO, "document:download", "--type", "service", "--form", "subtrees"]).await;
        assert_eq!(everywhere, "document:download  everywhere\n  Reader\n");
        let options = ["--form", "subtrees", "--include", "conditional"];
        let conditional = cli.ok(&[&["what-can", DAN, "document:download"][..], &options].concat()).await;
        assert!(conditional.ends_with("\n  conditional: needs context.amount\n"), "{conditional}");
        let some = cli.run(&["what-can", BEN, "--limit", "1", "--format", "csv"]).await;
        assert_eq!((some.out.lines().count(), some.err.as_str()), (2, "More exist: raise --limit to see them.\n"));
        let read = async |arguments: &[&str]| {
            let csv = cli.ok(&[arguments, &["--format", "csv"]].concat()).await;
            let mut reader = csv::Reader::from_reader(csv.as_bytes());
            let headers = reader.headers().unwrap().iter().collect::<Vec<_>>().join(",");
            let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
            for part in rows.iter().flat_map(|row| row.iter()).flat_map(|cell| cell.split([';', '\t', '\n', '\r'])) {
                assert!(!part.trim_start_matches(['"', ' ']).starts_with(['=', '+', '-', '@']), "a formula: {part}");
            }
            (headers, rows)
        };
        let (headers, rows) = read(&["what-can", ADA]).await;
        assert_eq!(
            headers,
            "action,entity_type,entity_id,entity_external_id,entity_name,assignment_id,role,via,assigned_on_type,\
             assigned_on_id,assigned_on_name,until,missing"
        );
        let cells: Vec<_> = rows.iter().map(|row| [&row[0], &row[1], &row[7]].join(" ")).collect();
        assert_eq!(
            cells,
            ["issuer direct", "spv inherited", "offering inherited"].map(|rest| format!("document:download {rest}"))
        );
        let (headers, rows) = read(&["what-can", ADA, "--form", "subtrees", "--within", "issuer:Acme"]).await;
        assert_eq!(
            headers,
            "action,everything,root_type,root_id,root_external_id,root_name,types,exclusions,more_exclusions,\
             assignment_id,role,via,until,missing"
        );
        assert_eq!((rows.len(), &rows[0][1], &rows[0][5], &rows[0][10]), (1, "false", "Acme", "Reader"));
        assert_eq!(rows[0][3], rows[0][7], "the entity itself is not below it");
    })
    .await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_principal_without_access_is_described(#[case] kind: DatabaseKind) {
    on_both(kind, async |_, _, cli| {
        let unknown = "00000000-0000-4000-8000-000000000000";
        for (arguments, code, sentence) in [
            (&["what-can", unknown][..], 0, "No entities.\nX"),
            (&["what-can", EVE], 0, "No entities.\nThe principal is suspended"),
            (&["what-can", EVE, "--form", "subtrees"], 0, "No entities.\nThe principal is suspended"),
            (&["what-can", EVE, "document:download"], 0, "No entities.\nThe principal is suspended"),
            (&["what-can", ADA, "document:upload"], 0, "No entities.\nNo role has the action document:upload"),
            (&["what-can", ADA, "document:upload", "--form", "subtrees"], 0, "No entities.\nNo role has the action"),
            (&["what-can", ADA, "--within", unknown], 2, "Entity 00000000-0000-4000-8000-000000000000 not found"),
            (&["what-can", ADA, "--form", "trees"], 2, "invalid value 'trees'"),
            (&["what-can", ADA, "--on", "spv:Berlin", "--form", "items"], 2, "cannot be used with"),
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
async fn lists_of_the_registry_take_every_filter(#[case] kind: DatabaseKind) {
    on_both(kind, async |api, _, cli| {
        if api.get("/api/v1/entities?type=offering").await.expect(200).as_array().unwrap().is_empty() {
            let spv = api.get("/api/v1/entities?type=spv").await.expect(200)[0]["id"].as_str().unwrap().to_owned();
            let archived = api.entity("Berlin offering", "offering", Some(&spv)).await;
            api.entity("Berlin below", "offering", Some(&archived)).await;
            api.post(&format!("/api/v1/entities/{archived}/archive"), serde_json::json!({})).await.expect(200);
        }
        for (options, names) in [
            (&["--below", "issuer:Acme"][..], &["Berlin below", "Berlin"][..]),
            (&["--below", "issuer:Acme", "--status", "archived"], &["Berlin offering"]),
            (&["--name-prefix", "Berlin"], &["Berlin below", "Berlin"]),
            (&["--name-prefix", "Berlin", "--below", "spv:Berlin"], &["Berlin below"]),
            (&["--type", "spv", "--name", "Berlin"], &["Berlin"]),
            (&["--parent", "issuer:Acme"], &["Berlin"]),
            (&["--status", "inactive"], &[]),
        ] {
            let listed = cli.json(&[&["entities", "list"], options].concat()).await;
            let listed: Vec<_> = listed.iter().map(|entity| entity["name"].as_str().unwrap()).collect();
            assert_eq!(listed, names, "{options:?}");
        }
        // Newest first. Only Ben's assignment has an end.
        for (options, principals) in [
            (&["--role", "Manager"][..], &[BEN][..]),
            (&["--principal-type", "service"], &[CLEO]),
            (&["--role", "Reader", "--entity", "spv:Berlin"], &[EVE, DAN]),
            (&["--in-force", "true"], &[EVE, DAN, CLEO, BEN, ADA]),
            (&["--in-force", "false"], &[]),
            (&["--in-force", "2102-01-01"], &[EVE, DAN, CLEO, ADA]),
            (&["--in-force", "-30d"], &[]),
            (&["--principal", BEN, "--in-force", "now"], &[BEN]),
        ] {
            let listed = cli.json(&[&["assignments", "list"], options].concat()).await;
            let listed: Vec<_> = listed.iter().map(|one| one["principal_id"].as_str().unwrap()).collect();
            assert_eq!(listed, principals, "{options:?}");
        }
        for (option, value, sentence) in [
            ("--in-force", "soon", "30d"),
            ("--in-force", "30d", "needs a sign"),
            ("--role", "Nobody", "there is no role named `Nobody`"),
        ] {
            let refused = cli.run(&["assignments", "list", option, value]).await;
            assert!(refused.code == 2 && refused.err.contains(sentence), "{refused:?}");
        }
    })
    .await;
}

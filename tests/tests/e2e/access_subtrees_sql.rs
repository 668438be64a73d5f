//! The subtrees form as a filter of callers' own SQL: the statements of `examples/` on PostgreSQL.

use std::path::Path;

use epr_testkit::api::Api;
use epr_testkit::database::{Database, DatabaseKind};
use rstest::rstest;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use uuid::Uuid;

const USER: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const PATH: &str = "/api/v1/access/resources";

/// The tables and the query of an example, which docs/LISTS.md shows.
fn example(name: &str) -> (String, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = std::fs::read_to_string(root.join("examples").join(name)).unwrap();
    let page = std::fs::read_to_string(root.join("docs/LISTS.md")).unwrap();
    let (tables, query) = text.split_once("-- query: $1 is the JSON text of the list of items\n").unwrap();
    assert!(page.contains(&format!("```sql\n{query}```")), "docs/LISTS.md lacks the query of {name}");
    (tables.to_owned(), query.to_owned())
}

/// All items of a list, page by page; items whose exclusions are on several pages are joined.
async fn list(api: &Api, form: &str) -> Vec<Value> {
    let mut body = json!({"principal_id": USER, "action": "document:read", "form": form, "limit": 3});
    let mut items: Vec<Value> = Vec::new();
    loop {
        let page = api.post(PATH, body.clone()).await.expect(200);
        for item in page["items"].as_array().unwrap() {
            match items.last_mut().filter(|before| before["more_exclusions"] == true) {
                Some(before) => {
                    let more = item["exclusions"].as_array().unwrap().clone();
                    before["exclusions"].as_array_mut().unwrap().extend(more);
                    before["more_exclusions"] = item["more_exclusions"].clone();
                }
                None => items.push(item.clone()),
            }
        }
        if page["complete"] == true {
            return items;
        }
        body["next"] = page["next"].clone();
    }
}

#[rstest]
#[case::closure("subtrees-closure.sql")]
#[case::ltree("subtrees-ltree.sql")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callers_statement_filtered_by_subtrees_returns_the_rows_of_listed_resources(#[case] name: &str) {
    let api = Api::start(DatabaseKind::Postgres).await;
    let mut nodes: Vec<(String, &str, Vec<String>)> = Vec::new();
    for tree in 0..4 {
        let issuer = api.entity(&format!("issuer {tree}"), "issuer", None).await;
        nodes.push((issuer.clone(), "issuer", vec![issuer.clone()]));
        for n in 0..3 {
            let spv = api.entity(&format!("spv {tree} {n}"), "spv", Some(&issuer)).await;
            let attributes = json!({"attributes": {"open": n == 0}});
            api.patch(&format!("/api/v1/entities/{spv}"), attributes).await.expect(200);
            nodes.push((spv.clone(), "spv", vec![issuer.clone(), spv.clone()]));
            let offering = api.entity(&format!("offering {tree} {n}"), "offering", Some(&spv)).await;
            nodes.push((offering.clone(), "offering", vec![issuer.clone(), spv, offering.clone()]));
            if n == 2 {
                api.post(&format!("/api/v1/entities/{offering}/archive"), json!({})).await.expect(200);
            }
        }
    }
    let every = api.role("Reader", &[], &["document:read"]).await;
    let spvs = api.role("SPV reader", &["issuer", "spv"], &["document:read"]).await;
    let root = |n: usize| nodes[n * 7].0.as_str();
    for (role, entity, condition) in [
        (&every, root(0), Value::Null),
        (&spvs, root(1), Value::Null),
        (&spvs, root(2), json!({"expression": "resource.attributes.open", "parameters": {}})),
    ] {
        let held = json!({"principal_id": USER, "role_id": role, "entity_id": entity, "condition": condition});
        api.post("/api/v1/assignments", held).await.expect(201);
    }
    let (tables, query) = example(name);
    let own = Database::create(DatabaseKind::Postgres).await;
    own.execute(&tables).await.unwrap();
    for (id, kind, path) in &nodes {
        let labels: Vec<String> = path.iter().map(|id| id.replace('-', "")).collect();
        let insert = if name.contains("ltree") {
            format!("INSERT INTO nodes VALUES ('{id}', '{kind}', '{}')", labels.join("."))
        } else {
            let paths: Vec<String> = path.iter().map(|above| format!("('{above}', '{id}')")).collect();
            format!("INSERT INTO nodes VALUES ('{id}', '{kind}'); INSERT INTO node_paths VALUES {}", paths.join(", "))
        };
        own.execute(&insert).await.unwrap();
        own.execute(&format!("INSERT INTO documents (node_id, title) VALUES ('{id}', 'one'), ('{id}', 'two')"))
            .await
            .unwrap();
    }
    let mut conn = PgConnection::connect(&own.url).await.unwrap();
    let mut compare = async |expected: usize| {
        let items = Value::Array(list(&api, "subtrees").await).to_string();
        let rows = sqlx::query(AssertSqlSafe(query.clone())).bind(items).fetch_all(&mut conn).await.unwrap();
        let mut found: Vec<String> = rows.iter().map(|row| row.get::<Uuid, _>("node_id").to_string()).collect();
        assert_eq!(found.len(), 2 * expected, "each node has two documents");
        found.sort();
        found.dedup();
        let listed: Vec<String> =
            list(&api, "items").await.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(found, listed);
    };
    // All of the first tree but its archived offering; issuer and SPVs of the second one; the open SPV of the third.
    compare(6 + 4 + 1).await;
    api.post("/api/v1/assignments", json!({"principal_id": USER, "role_id": every})).await.expect(201);
    compare(4 * 7 - 4).await;
}

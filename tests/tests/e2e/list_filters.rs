//! The filters of lists of entities and assignments over HTTP: what each finds, how they combine and page, and which
//! values are refused.

use epr_testkit::api::{Api, id_of};
use epr_testkit::database::DatabaseKind;
use rstest::rstest;
use serde_json::{Value, json};

const UNKNOWN: &str = "11111111-2222-4333-8444-555555555555";
const USER: &str = "aaaaaaaa-0000-4000-8000-000000000001";

fn ids(body: &Value) -> Vec<String> {
    body.as_array().unwrap().iter().map(id_of).collect()
}

async fn found(api: &Api, path: &str) -> Vec<String> {
    ids(&api.get(path).await.expect(200))
}

/// The ids of all pages, each with at most two rows.
async fn paged(api: &Api, path: &str) -> Vec<String> {
    let mut next = Some(format!("{path}&limit=2"));
    let mut seen = Vec::new();
    while let Some(path) = next {
        let page = api.get(&path).await;
        next = page.next_page(&path);
        let rows = ids(&page.expect(200));
        assert!(!rows.is_empty() || seen.is_empty(), "an empty page after {seen:?}");
        seen.extend(rows);
    }
    seen
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entities_are_found_by_name_status_and_ancestor(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let root = api.entity("Acme", "issuer", None).await;
    let one = api.entity("Acme One", "spv", Some(&root)).await;
    let deep = api.entity("acme one", "offering", Some(&one)).await;
    let same = api.entity("Acme One", "offering", Some(&deep)).await;
    let gone = api.entity("Acme Gone", "spv", Some(&root)).await;
    let below_gone = api.entity("Ä", "agent", Some(&gone)).await;
    let idle = api.entity("50% _x", "spv", None).await;
    api.post(&format!("/api/v1/entities/{gone}/archive"), json!({})).await.expect(200);
    api.patch(&format!("/api/v1/entities/{idle}"), json!({"status": "inactive"})).await.expect(200);
    let list = async |query: &str| found(&api, &format!("/api/v1/entities?{query}")).await;

    assert_eq!(list("name=Acme%20One&type=spv").await, [one.as_str()]);
    assert_eq!(list("name=Acme%20One&type=spv&type=offering").await, [same.as_str(), &one]);
    assert_eq!(list("name=Acme&type=spv").await, [""; 0], "exactly this name");
    assert_eq!(list("name=Acme%20Gone&type=spv").await, [""; 0], "archived");
    assert_eq!(list("name=Acme%20Gone&type=spv&status=archived").await, [gone.as_str()]);

    assert_eq!(list("name_prefix=Acme").await, [same.as_str(), &one, &root]);
    assert_eq!(list("name_prefix=acme").await, [deep.as_str()], "case-sensitive");
    assert_eq!(list("name_prefix=Acme&type=spv&status=archived").await, [gone.as_str()]);
    // No character of a prefix has a meaning.
    assert_eq!(list("name_prefix=50%25%20_").await, [idle.as_str()]);
    for nothing in ["%25", "_", "50_", "%5C", "*", "Acme%2520"] {
        assert_eq!(list(&format!("name_prefix={nothing}")).await, [""; 0], "{nothing}");
    }
    assert_eq!(list("name_prefix=%C3%84").await, [below_gone.as_str()]);

    assert_eq!(list("status=archived").await, [gone.as_str()]);
    assert_eq!(list("status=inactive").await, [idle.as_str()]);
    assert_eq!(list("status=active").await, [below_gone.as_str(), &same, &deep, &one, &root]);
    assert_eq!(list("status=").await.len(), 6, "an empty filter is no filter");

    assert_eq!(list(&format!("ancestor_id={root}")).await, [below_gone.as_str(), &same, &deep, &one]);
    assert_eq!(list(&format!("ancestor_id={root}&status=archived")).await, [gone.as_str()]);
    assert_eq!(list(&format!("ancestor_id={gone}")).await, [below_gone.as_str()], "below an archived one");
    assert_eq!(list(&format!("ancestor_id={root}&type=offering")).await, [same.as_str(), &deep]);
    assert_eq!(list(&format!("ancestor_id={root}&parent_id={one}")).await, [deep.as_str()]);
    assert_eq!(list(&format!("ancestor_id={root}&parent_id={root}")).await, [one.as_str()]);
    assert_eq!(list(&format!("ancestor_id={one}&parent_id={root}")).await, [""; 0]);
    assert_eq!(list(&format!("ancestor_id={one}&name=Acme%20One&type=spv&type=offering")).await, [same.as_str()]);
    assert_eq!(list(&format!("ancestor_id={root}&name_prefix=Acme")).await, [same.as_str(), &one]);
    assert_eq!(list(&format!("ancestor_id={idle}")).await, [""; 0], "an entity is not below itself");
    for unknown in ["ancestor_id", "parent_id"] {
        assert_eq!(list(&format!("{unknown}={UNKNOWN}")).await, [""; 0]);
    }
    for query in ["name_prefix=Acme", &format!("ancestor_id={root}"), "status=active"] {
        let path = format!("/api/v1/entities?{query}");
        assert_eq!(paged(&api, &path).await, found(&api, &path).await, "{query}");
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_that_are_not_valid_are_refused(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let long = "x".repeat(256);
    for (query, errors) in [
        ("entities?name=x", "query.type: missing"),
        ("entities?name=x&type=", "query.type: missing"),
        ("entities?name=x&type=moon", "query.type: enum"),
        ("entities?name=a%00b&type=spv", "query.name: string_nul"),
        (&format!("entities?name_prefix={long}"), "query.name_prefix: string_too_long"),
        ("entities?name_prefix=a&name_prefix=b", "query.name_prefix: string_type"),
        ("entities?status=deleted", "query.status: enum"),
        ("entities?ancestor_id=x", "query.ancestor_id: uuid_parsing"),
        ("entities?ancestor=x", "query.ancestor: extra_forbidden"),
        ("assignments?role_id=x", "query.role_id: uuid_parsing"),
        (&format!("assignments?principal_type={}", &long[..65]), "query.principal_type: string_too_long"),
        ("assignments?in_force=yes", "query.in_force: in_force"),
        ("assignments?in_force=True", "query.in_force: in_force"),
    ] {
        assert_eq!(api.get(&format!("/api/v1/{query}")).await.field_errors(), [errors], "{query}");
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn assignments_are_found_by_role_type_and_window(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let spv = api.entity("S", "spv", None).await;
    let reader = api.role("Reader", &[], &["a:read"]).await;
    let writer = api.role("Writer", &[], &["a:write"]).await;
    let assign = async |more: Value| {
        let mut body = json!({"principal_id": USER, "role_id": reader});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        id_of(&api.post("/api/v1/assignments", body).await.expect(201))
    };
    let always = assign(json!({})).await;
    let service = assign(json!({"principal_type": "service", "entity_id": spv})).await;
    let write = assign(json!({"role_id": writer})).await;
    let ended =
        assign(json!({"entity_id": spv, "effective_at": "2020-01-01T00:00:00Z", "expires_at": "2021-01-01T00:00:00Z"}))
            .await;
    let later = assign(json!({"role_id": writer, "entity_id": spv, "effective_at": "2999-01-01T00:00:00Z"})).await;
    let list = async |query: &str| found(&api, &format!("/api/v1/assignments?{query}")).await;

    assert_eq!(list(&format!("role_id={writer}")).await, [later.as_str(), &write]);
    assert_eq!(list(&format!("role_id={UNKNOWN}")).await, [""; 0]);
    assert_eq!(list("principal_type=service").await, [service.as_str()]);
    assert_eq!(list("principal_type=user").await, [later.as_str(), &ended, &write, &always]);
    assert_eq!(list("principal_type=Service").await, [""; 0]);
    assert_eq!(list("in_force=true").await, [write.as_str(), &service, &always]);
    assert_eq!(list("in_force=false").await, [later.as_str(), &ended]);
    assert_eq!(list("in_force=2020-06-01T00:00:00Z").await, [ended.as_str()]);
    assert_eq!(list("in_force=2020-01-01T01:00:00%2B01:00").await, [ended.as_str()], "the start is included");
    assert_eq!(list("in_force=2021-01-01").await, [""; 0], "the end is excluded");
    assert_eq!(list("in_force=2999-01-01T00:00:00Z").await, [later.as_str(), &write, &service, &always]);
    assert_eq!(list(&format!("in_force=false&entity_id={spv}&role_id={reader}")).await, [ended.as_str()]);
    assert_eq!(list("in_force=false&principal_type=service").await, [""; 0]);
    assert_eq!(
        list(&format!("in_force=true&principal_id={USER}&principal_type=user&role_id={reader}")).await,
        [always.as_str()]
    );
    for query in ["in_force=false", "in_force=true", "principal_type=user", &format!("role_id={reader}")] {
        let path = format!("/api/v1/assignments?{query}");
        assert_eq!(paged(&api, &path).await, found(&api, &path).await, "{query}");
    }
}

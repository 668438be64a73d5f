//! The pages of the console: each shows the deployment's own data, to those whose scopes allow it, with few statements.

use std::collections::BTreeMap;

use epr_core::Epr;
use epr_core::settings::{Settings, Source};
use epr_core::store::ScanRange;
use epr_testkit::browser::Browser;
use epr_testkit::console::missing_pages;
use epr_testkit::database::DatabaseKind;
use rstest::rstest;
use serde_json::{Value, json};

use crate::console_world::World;

/// The most statements that a page may cost, besides the one that reads the session.
const MAX_STATEMENTS: usize = 8;
/// The most statements of the file with a proof: the entry is verified before it is proved.
const MAX_PROOF_STATEMENTS: usize = 9;

/// Every page, by its address, with parts of what it shows.
pub fn pages(world: &World) -> Vec<(String, Vec<String>)> {
    let World { acme, berlin, ada, role, assignment, .. } = world;
    let page = |path: String, parts: &[&str]| (path, parts.iter().map(|part| (*part).to_owned()).collect());
    let question = format!("user_id={ada}&principal_type=user&resource_id={berlin}");
    vec![
        page(
            "/console".into(),
            &["Needs attention", "Global roles", "Document reader", "Newest checkpoint", "Registry"],
        ),
        page("/console/entities".into(), &["Berlin One", "Acme Estates", "crm:4711"]),
        page("/console/entities?type=spv".into(), &["Berlin One"]),
        page(format!("/console/entities?parent_id={acme}"), &["Berlin One"]),
        page(format!("/console/entities?ancestor_id={acme}"), &["Berlin One"]),
        page("/console/entities?q=B".into(), &[]),
        page(format!("/console/entities/{acme}"), &["Acme Estates", "Berlin One", "Document reader", "entity.create"]),
        page(
            format!("/console/entities/{berlin}"),
            &["DE000A1EWWW0", acme, "Acme Estates", "crm:4711", "authorization.evaluate"],
        ),
        page("/console/tree".into(), &["Acme Estates", "issuer", "hx-trigger=\"toggle\""]),
        page(format!("/console/tree?under={acme}"), &["Berlin One", "Acme Estates", "Open the entity"]),
        page(format!("/console/tree?under={berlin}"), &["Nothing is below"]),
        page(format!("/console/entities/{berlin}/assignments/here"), &["Assignments on this entity"]),
        page(format!("/console/entities/{berlin}/assignments/inherited"), &["Document reader", "everywhere", acme]),
        page(format!("/console/entities/{acme}/assignments/below"), &["Assignments below"]),
        page(format!("/console/entities/{berlin}?at=2099-01-01"), &["This is not the present state", "Berlin One"]),
        page("/console/principals".into(), &["Ada Lovelace", "auth0|ada"]),
        page(
            format!("/console/principal?type=user&id={ada}"),
            &["Ada Lovelace", "Document reader", "Acme Estates", "role_assignment.create"],
        ),
        page(format!("/console/principal?id={}", uuid::Uuid::from_u128(7)), &["not registered"]),
        page("/console/roles".into(), &["Document reader"]),
        page(
            format!("/console/roles/{role}"),
            &["document:print", "context.pages &#60;= 10", "Acme Estates", "Compare"],
        ),
        page(format!("/console/roles/{role}/difference?from=4&to=7"), &["document:verify", "permitted"]),
        page(format!("/console/assignments/{assignment}"), &["ticket 42", crate::console_world::OPERATOR_ID]),
        page("/console/attention/expiring".into(), &["Ends within seven days"]),
        page("/console/attention/never-effective".into(), &["Never in force"]),
        page("/console/attention/global".into(), &["everywhere", "Document reader"]),
        page("/console/attention/orphans".into(), &["Active below an archived parent"]),
        page("/console/check".into(), &["Check and explain"]),
        page(
            format!("/console/check?{question}&action=document%3Adownload"),
            &[
                "Allowed: the role Document reader is held on Acme Estates, an ancestor",
                "<svg",
                "Ada Lovelace",
                "applies",
            ],
        ),
        page(format!("/console/check?{question}&action=document%3Aprint"), &["context_missing", "context.pages"]),
        page(format!("/console/check?{question}&action=document%3Aprint&context=%7B%22pages%22%3A3%7D"), &["Allowed"]),
        page(format!("/console/check?{question}&action=document%3Adownload&at=2025-01-01"), &[]),
        page("/console/access".into(), &["Who can do it", "What can a principal do"]),
        page(
            format!("/console/access?list=principals&resource_id={berlin}&action=document%3Adownload"),
            &["Ada Lovelace", "Acme Estates", "inherited"],
        ),
        page(
            format!("/console/access?list=resources&principal_id={ada}&action=document%3Adownload"),
            &["Berlin One", "Acme Estates"],
        ),
        page(format!("/console/access?list=actions&principal_id={ada}&resource_id={berlin}"), &["document:verify"]),
        page("/console/ledger".into(), &["role_assignment.create", "entity.create"]),
        page(format!("/console/ledger?assignment_id={assignment}"), &["role_assignment.create"]),
        page("/console/ledger/1".into(), &["entity.create", "matches the text", "Acme Estates", "Download the proof"]),
        page("/console/ledger/8".into(), &["action_not_held", "Explain this decision"]),
        page("/console/ledger/1/proof".into(), &["c2sp.org/tlog-proof@v1"]),
        page("/console/ledger/checkpoint".into(), &["epr.test/ledger"]),
        page("/console/events".into(), &["role.assignment.changed", "Rejected messages"]),
        page("/console/health".into(), &["Ready", "epr doctor"]),
    ]
}

/// The forms for changes, and the page after one.
pub fn forms(world: &World) -> Vec<String> {
    let World { acme, berlin, ada, role, assignment, .. } = world;
    vec![
        "/console/change/entity".into(),
        format!("/console/change/entity?parent_id={acme}"),
        format!("/console/change/entity?id={berlin}"),
        "/console/change/role".into(),
        format!("/console/change/role?id={role}"),
        format!("/console/change/assignment?entity_id={berlin}&role_id={role}"),
        format!("/console/change/revoke?id={assignment}"),
        format!("/console/change/suspension?type=user&id={ada}&status=suspended"),
        "/console/change/import".into(),
        "/console/change/requeue?all=1".into(),
        "/console/changed?form=none".into(),
    ]
}

/// Gives many principals a role with a condition on an entity. Returns the list of those that may do what it permits.
async fn crowd(world: &World) -> String {
    let condition = json!({"a:b": {"expression": "context.n < 3", "parameters": {"n": "int"}}});
    let role = json!({"name": "Crowded", "permissions": ["a:b"], "conditions": condition});
    let role = world.create("/api/v1/roles", &role).await;
    let entity = json!({"name": "Crowded", "type": "other", "parent_id": world.acme});
    let entity = world.create("/api/v1/entities", &entity).await;
    for n in 0..60 {
        let held = json!({"principal_id": uuid::Uuid::from_u128(n + 100), "role_id": role, "entity_id": entity});
        world.create("/api/v1/assignments", &held).await;
    }
    format!("/console/access?list=principals&resource_id={entity}&action=a%3Ab&context=%7B%22n%22%3A1%7D")
}

/// The statements of each request, by its id, from the echo of the database driver.
fn statements(log: &[Value]) -> BTreeMap<String, Vec<String>> {
    let mut by_request: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in log.iter().filter(|line| line["logger"] == "sqlx::query") {
        let Some(request) = line["extra"]["request_id"].as_str() else { continue };
        let text = line.to_string();
        let is_transaction =
            ["BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "SET ", "SELECT set_config"].iter().any(|word| {
                line["extra"]["summary"].as_str().is_some_and(|summary| summary.trim_start().starts_with(word))
            });
        if !is_transaction {
            by_request.entry(request.to_owned()).or_default().push(text);
        }
    }
    by_request
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_shows_the_deployments_own_data_with_at_most_eight_statements(#[case] kind: DatabaseKind) {
    let mut world = World::with(kind, &[("EPR_LOG_LEVEL", "DEBUG"), ("EPR_SQL_ECHO", "true")]).await;
    world.process.first_log("ledger_checkpoint_signed").await;
    let (browser, operator) = (world.browser(&world.auditor).await, world.browser(&world.operator).await);
    let crowd = crowd(&world).await;
    let (mut pages, forms) = (pages(&world), forms(&world));
    pages.push((crowd, vec!["00000064".into(), "More rows".into()]));
    // The first list of a database creates the key of page tokens.
    for (path, _) in pages.iter().filter(|(path, _)| path.contains("list=principals")) {
        browser.get(path).await.expect(200);
    }
    let mut ids = Vec::new();
    for (at, (path, parts)) in pages.iter().enumerate() {
        let id = format!("page-{at}");
        let shown = browser.get_with(path, &[("x-request-id", &id)]).await;
        if path.ends_with("at=2025-01-01") {
            assert_eq!(shown.status, 400, "before the first revision: {}", shown.body);
        } else if path.ends_with("?q=B") {
            assert_eq!((shown.status, shown.location()), (303, format!("/console/entities/{}", world.berlin).as_str()));
        } else {
            let body = shown.expect(200);
            for part in parts {
                assert!(body.contains(part.as_str()), "{path} lacks {part}: {body}");
            }
            assert!(!body.contains("<form method=\"post\" action=\"/console/change"), "an auditor changes nothing");
        }
        ids.push((id, path));
    }
    for (at, path) in forms.iter().enumerate() {
        let id = format!("form-{at}");
        operator.get_with(path, &[("x-request-id", &id)]).await.expect(200);
        ids.push((id, path));
    }
    let named: Vec<_> = ids.iter().map(|(_, path)| path.as_str()).collect();
    assert_eq!(missing_pages(&named), [""; 0], "every page is counted");
    let (_, log) = world.process.terminate().await;
    let statements = statements(&log);
    assert!(statements.values().map(Vec::len).sum::<usize>() > pages.len(), "the echo is not found any more");
    for (id, path) in ids {
        let all = statements.get(&id).map_or(&[][..], Vec::as_slice);
        let (of_session, cost): (Vec<_>, Vec<_>) = all.iter().partition(|text| text.contains("browser_sessions"));
        assert_eq!(of_session.len(), 1, "{path} reads the session once: {of_session:#?}");
        let most = if path.ends_with("/proof") { MAX_PROOF_STATEMENTS } else { MAX_STATEMENTS };
        assert!(cost.len() <= most, "{path} costs {}: {cost:#?}", cost.len());
    }
}

#[tokio::test]
async fn hostile_names_are_text() {
    let world = World::new(DatabaseKind::Sqlite).await;
    let hostile = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "{{7*7}}",
        "\u{202e}txt.exe\u{200f}",
        "\u{1b}[31mred\u{7}",
        "😀👩‍👩‍👧‍👦",
        &"ü".repeat(255),
        "javascript:alert(1)",
    ];
    for name in hostile {
        let id =
            world.create("/api/v1/entities", &json!({"name": name, "type": "spv", "attributes": {"n": name}})).await;
        let principal = json!({"display_name": name, "external_id": format!("x{name}")});
        let principal = world.create("/api/v1/principals", &principal).await;
        let cut = |chars: usize| name.chars().take(chars).collect::<String>();
        let role = json!({"name": format!("ab {}", cut(110)), "description": cut(200),
            "permissions": [format!("x:{}", cut(200))]});
        let role = world.create("/api/v1/roles", &role).await;
        let browser = world.browser(&world.auditor).await;
        let held = json!({"principal_id": principal, "role_id": role, "entity_id": id});
        world.create("/api/v1/assignments", &held).await;
        for path in [
            "/console".to_owned(),
            "/console/entities".to_owned(),
            format!("/console/entities/{id}"),
            format!("/console/entities/{id}/assignments/here"),
            "/console/tree".to_owned(),
            format!("/console/tree?under={id}"),
            format!("/console/principal?id={principal}"),
            "/console/principals".to_owned(),
            format!("/console/roles/{role}"),
            "/console/ledger".to_owned(),
            format!("/console/check?user_id={principal}&action=x&resource_id={id}"),
        ] {
            let body = browser.get(&path).await.expect(200);
            for part in ["<script>", "<img", "\u{1b}", "\u{7}", "href=\"javascript:"] {
                assert!(!body.contains(part), "{path} has {part:?}");
            }
        }
        let page = browser.get(&format!("/console/entities/{id}")).await.expect(200);
        let shown = name.replace('&', "&#38;").replace('<', "&#60;").replace('>', "&#62;").replace('"', "&#34;");
        let shown = shown.replace('\u{1b}', "␛").replace('\u{7}', "␇");
        assert!(page.contains(&format!("<bdi>{shown}</bdi>")), "{shown}: {page}");
    }
}

#[tokio::test]
async fn lists_have_pages_and_csv() {
    let world = World::new(DatabaseKind::Sqlite).await;
    let mut expected = vec!["Acme Estates".to_owned(), "Berlin One".to_owned()];
    for n in 0..120 {
        let name = format!("entity {n}");
        world.create("/api/v1/entities", &json!({"name": name, "type": "other"})).await;
        expected.push(name);
    }
    let browser = world.browser(&world.auditor).await;
    let csv = async |path: &str| {
        let shown = browser.get(path).await;
        assert!(shown.headers["content-type"].to_str().unwrap().starts_with("text/csv"));
        shown.expect(200)
    };
    let first = browser.get("/console/entities").await.expect(200);
    let next = next_page(&first).expect("a next page");
    let second = browser.get(&format!("/console/entities{next}")).await.expect(200);
    assert_eq!(next_page(&second), None);
    let rows = [csv("/console/entities?csv=1").await, csv(&format!("/console/entities{next}&csv=1")).await].concat();
    let found = expected.iter().filter(|name| rows.lines().any(|line| line.starts_with(&format!("{name} ")))).count();
    assert_eq!((found, rows.lines().count()), (expected.len(), expected.len() + 2));
    assert_eq!(browser.get("/console/entities?csv=2").await.status, 404);
    // The tree has the roots: all but one.
    let first = browser.get("/console/tree").await.expect(200);
    let next = next_page(&first).expect("a next page");
    let second = browser.get(&next).await.expect(200);
    assert_eq!(next_page(&second), None);
    assert!(!first.contains("Berlin One") && !second.contains("Berlin One"));
    let rows = [csv("/console/tree?csv=1").await, csv(&format!("{next}&csv=1")).await].concat();
    assert_eq!(rows.lines().count(), expected.len() - 1 + 2);
    // And the assignments around an entity.
    for n in 0..110 {
        let held =
            json!({"principal_id": uuid::Uuid::from_u128(n + 1), "role_id": world.role, "entity_id": world.berlin});
        world.create("/api/v1/assignments", &held).await;
    }
    for (entity, reach, count) in
        [(&world.berlin, "here", 110), (&world.acme, "below", 110), (&world.berlin, "inherited", 2)]
    {
        let path = format!("/console/entities/{entity}/assignments/{reach}");
        let first = browser.get(&path).await.expect(200);
        let mut rows = csv(&format!("{path}?csv=1")).await;
        if let Some(next) = next_page(&first) {
            rows.push_str(&csv(&format!("{path}{next}&csv=1")).await);
        }
        let rows = rows.lines().filter(|line| !line.starts_with("Assignment")).count();
        assert_eq!(rows, count, "{path}");
    }
    assert_eq!(browser.get(&format!("/console/entities/{}/assignments/above", world.berlin)).await.status, 404);
    let ledger = browser.get("/console/ledger").await.expect(200);
    let older = next_page(&ledger).expect("older entries");
    assert!(browser.get(&format!("/console/ledger{older}")).await.expect(200).contains("entity.create"));
}

/// The address of the next page, if there is one.
fn next_page(page: &str) -> Option<String> {
    let (before, _) = page.split_once("\" rel=\"next\"")?;
    let (_, address) = before.rsplit_once("href=\"")?;
    Some(address.replace("&#38;", "&").replace("&amp;", "&"))
}

#[tokio::test]
async fn the_auditors_questions_are_answered_by_links() {
    let mut world = World::new(DatabaseKind::Sqlite).await;
    world.process.first_log("ledger_checkpoint_signed").await;
    let browser = world.browser(&world.auditor).await;
    // Who can download documents of Berlin One: the search of the first page leads to the entity, whose form asks.
    let entity = browser.open("/console/entities?q=Berlin+One").await.expect(200);
    assert!(entity.contains(&format!("name=\"resource_id\" value=\"{}\"", world.berlin)));
    // Why was she refused: the decision leads to its explanation at its time.
    let entry = browser.get("/console/ledger/8").await.expect(200);
    let (_, link) = entry.split_once("href=\"/console/check?").expect("an explanation");
    let link = link.split('"').next().unwrap().replace("&#38;", "&").replace("&amp;", "&");
    let why = browser.get(&format!("/console/check?{link}")).await.expect(200);
    assert!(why.contains("but it does not permit document:shred"), "{why}");
    // Prove an entry: the file that the command verifies.
    let proof = browser.get("/console/ledger/1/proof").await;
    assert!(proof.headers["content-disposition"].to_str().unwrap().contains("entry-1.tlog-proof"));
    assert!(proof.expect(200).starts_with("c2sp.org/tlog-proof@v1"));
    let open = Browser::new(&world.base).open("/console/ledger/1/proof").await;
    assert!(open.expect(200).contains("API token"), "a proof needs a session too");
}

#[tokio::test]
async fn home_says_when_the_ledger_was_verified_and_what_was_found() {
    let world = World::new(DatabaseKind::Sqlite).await;
    let browser = world.browser(&world.auditor).await;
    assert!(browser.get("/console").await.expect(200).contains("<span class=\"badge warning\">never</span>"));
    let source = Source::of([("EPR_DATABASE_URL", world.database.url.as_str())]);
    let epr = Epr::from_settings(&Settings::from_source(&source).unwrap()).await.unwrap();
    let verify = async || epr.verify_ledger(ScanRange::ALL, None, &mut |_, _| {}).await.unwrap();
    let entries = verify().await.end_sequence;
    let home = browser.get("/console").await.expect(200);
    assert!(home.contains("the chain holds") && home.contains(&format!("1–{entries}")), "{home}");
    world.database.remove_ledger_triggers().await;
    world.database.execute("UPDATE audit_logs SET action = '<u>x</u>' WHERE sequence = 2").await.unwrap();
    assert!(!verify().await.valid);
    let home = browser.get("/console").await.expect(200);
    let broken = epr.last_verification().await.unwrap();
    assert!(home.contains("<span class=\"badge bad\">") && !home.contains("the chain holds"), "{home}");
    assert!(!browser.get("/console").await.expect(200).contains("<u>"));
    // What holds of a part, what verifies nothing, and a range that the ledger does not have: none says more.
    for (from, to, valid) in [(3, i64::MAX, true), (entries + 50, i64::MAX, true), (3, entries + 50, false)] {
        let part = epr.verify_ledger(ScanRange { from, to }, None, &mut |_, _| {}).await.unwrap();
        assert_eq!(part.valid, valid, "{from}: {part:?}");
        assert_eq!(epr.last_verification().await.unwrap(), broken, "{from}");
    }
    assert_eq!(browser.get("/console").await.expect(200), home, "the break stays until all entries hold");
}

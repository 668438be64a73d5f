//! Changes in the console: forms that operators send and auditors do not have, each with the entry that it made.

use epr_testkit::browser::{Browser, Shown, form_token};
use epr_testkit::database::DatabaseKind;
use rstest::rstest;
use serde_json::{Value, json};

use crate::console_world::{OPERATOR_ID, World};

/// The forms that change something.
const FORMS: [&str; 8] = [
    "/console/change/import",
    "/console/change/condition",
    "/console/change/requeue",
    "/console/change/entity",
    "/console/change/role",
    "/console/change/assignment",
    "/console/change/revoke",
    "/console/change/suspension",
];

/// Sends a form of the operator with the token of its session.
async fn send(browser: &Browser, path: &str, fields: &[(&str, &str)]) -> Shown {
    let token = form_token(&browser.get("/console").await.expect(200));
    browser.post(path, &[&[("form_token", token.as_str())], fields].concat()).await
}

/// The ledger entry that a change made, by the page that it led to.
async fn entry(world: &World, browser: &Browser, shown: Shown) -> Value {
    assert_eq!(shown.status, 303, "{}", shown.body);
    let page = browser.get(shown.location()).await.expect(200);
    let (_, rest) = page.split_once("The change is recorded as entry ").unwrap_or_else(|| panic!("no entry: {page}"));
    let sequence: String = rest.chars().take_while(char::is_ascii_digit).collect();
    assert!(page.contains(&format!("href=\"/console/ledger/{sequence}\"")), "{page}");
    let path = format!("/api/v1/audit/entries?from_sequence={sequence}&to_sequence={sequence}");
    world.call(reqwest::Method::GET, &path, &Value::Null).await[0].clone()
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn every_form_makes_the_entry_that_it_shows(#[case] kind: DatabaseKind) {
    let world = World::new(kind).await;
    let browser = world.browser(&world.operator).await;
    let expect = async |path: &str, fields: &[(&str, &str)], action: &str| {
        let fields = [&[("reason", "because of 7")], fields].concat();
        let made = entry(&world, &browser, send(&browser, path, &fields).await).await;
        let (found, actor) = (made["action"].as_str().unwrap(), made["actor_id"].as_str().unwrap());
        assert_eq!((found, actor), (action, OPERATOR_ID), "{made}");
        assert_eq!(made["details"]["stated_reason"], "because of 7", "{made}");
        made
    };
    let entity =
        [("name", "Berlin Two"), ("type", "spv"), ("parent_id", world.acme.as_str()), ("attributes", "{\"a\": 1}")];
    let made = expect("/console/change/entity", &entity, "entity.create").await;
    let id = made["entity_id"].as_str().unwrap();
    let changed = [("id", id), ("name", "Berlin 2"), ("status", "inactive"), ("attributes", "{}")];
    expect("/console/change/entity", &changed, "entity.update").await;
    let read = world.call(reqwest::Method::GET, &format!("/api/v1/entities/{id}"), &Value::Null).await;
    assert_eq!(
        (&read["name"], &read["status"], &read["parent_id"]),
        (&json!("Berlin 2"), &json!("inactive"), &Value::Null)
    );
    let conditions = "{\"a:b\": {\"expression\": \"context.n < 3\", \"parameters\": {\"n\": \"int\"}}}";
    let role = [("name", "Auditor"), ("permissions", "a:b\r\nc:d"), ("scope_types", "spv"), ("conditions", conditions)];
    let made = expect("/console/change/role", &role, "role.create").await;
    let role_id = made["entity_id"].as_str().unwrap();
    let read = world.call(reqwest::Method::GET, &format!("/api/v1/roles/{role_id}"), &Value::Null).await;
    assert_eq!((&read["permissions"], &read["scope_types"]), (&json!(["a:b", "c:d"]), &json!(["spv"])));
    assert_eq!(read["conditions"]["a:b"]["expression"], "context.n < 3");
    let changed = [("id", role_id), ("permissions", "a:b"), ("description", "of documents")];
    expect("/console/change/role", &changed, "role.update").await;
    let assign = [
        ("principal_id", world.ada.as_str()),
        ("role_id", role_id),
        ("entity_id", id),
        ("expires_at", "2099-01-01"),
        ("condition", "{\"expression\": \"now < timestamp('2100-01-01T00:00:00Z')\"}"),
    ];
    let made = expect("/console/change/assignment", &assign, "role_assignment.create").await;
    let assignment = made["details"]["assignment_id"].as_str().unwrap();
    expect("/console/change/revoke", &[("id", assignment)], "role_assignment.delete").await;
    let suspend =
        [("type", "user"), ("id", world.ada.as_str()), ("status", "suspended"), ("typed", world.ada.as_str())];
    expect("/console/change/suspension", &suspend, "principal.update").await;
    let page = browser.get(&format!("/console/principal?id={}", world.ada)).await.expect(200);
    assert!(page.contains("This principal is suspended") && page.contains("End the suspension"), "{page}");
    let active = [("type", "user"), ("id", world.ada.as_str()), ("status", "active")];
    expect("/console/change/suspension", &active, "principal.update").await;
    // A change that changes nothing makes no entry.
    let same = send(&browser, "/console/change/suspension", &active).await;
    assert!(browser.get(same.location()).await.expect(200).contains("Nothing was changed"));
}

#[tokio::test]
async fn wrong_input_comes_back_with_what_is_wrong_and_changes_nothing() {
    let world = World::new(DatabaseKind::Sqlite).await;
    let browser = world.browser(&world.operator).await;
    let entries = "SELECT COUNT(*) FROM audit_logs";
    let before = world.database.number(entries).await;
    let ada = world.ada.as_str();
    for (path, fields, status, part) in [
        ("/console/change/entity", &[("name", "Berlin One"), ("type", "spv")][..], 409, "Berlin One"),
        ("/console/change/entity", &[("name", "x"), ("type", "castle")], 400, "type: "),
        ("/console/change/entity", &[("name", "x"), ("type", "spv"), ("attributes", "[")], 400, "attributes: "),
        ("/console/change/role", &[("name", "ab"), ("permissions", "a:b")], 400, "name: "),
        (
            "/console/change/assignment",
            &[("principal_id", "x"), ("role_id", world.role.as_str())],
            400,
            "principal_id: ",
        ),
        (
            "/console/change/assignment",
            &[("principal_id", ada), ("role_id", world.role.as_str()), ("condition", "{\"expression\": \"1 +\"}")],
            400,
            "condition.expression: ",
        ),
        (
            "/console/change/suspension",
            &[("type", "user"), ("id", ada), ("status", "suspended"), ("typed", OPERATOR_ID)],
            400,
            "This is not the id of the principal",
        ),
        ("/console/change/suspension", &[("id", ada), ("status", "suspended")], 400, "This is not the id"),
    ] {
        let shown = send(&browser, path, fields).await;
        assert_eq!(shown.status, status, "{path} {fields:?}: {}", shown.body);
        assert!(shown.body.contains(part), "{path} {fields:?}: {}", shown.body);
        assert!(shown.body.contains(&format!("<form method=\"post\" action=\"{path}\"")), "the form is there again");
        if let Some((_, name)) = fields.iter().find(|(field, _)| *field == "name") {
            assert!(shown.body.contains(&format!("name=\"name\" value=\"{name}\"")), "as it was sent");
        }
    }
    assert_eq!(world.database.number(entries).await, before);
}

#[tokio::test]
async fn an_auditor_has_no_form_that_changes_something_and_its_post_is_refused() {
    let world = World::new(DatabaseKind::Sqlite).await;
    let auditor = world.browser(&world.auditor).await;
    let operator = world.browser(&world.operator).await;
    for path in [
        "/console/entities".to_owned(),
        format!("/console/entities/{}", world.berlin),
        "/console/roles".to_owned(),
        format!("/console/roles/{}", world.role),
        format!("/console/principal?id={}", world.ada),
        format!("/console/assignments/{}", world.assignment),
    ] {
        assert!(!auditor.get(&path).await.expect(200).contains("/console/change"), "{path}");
        assert!(operator.get(&path).await.expect(200).contains("/console/change"), "{path}");
    }
    let (entries, token) = ("SELECT COUNT(*) FROM audit_logs", form_token(&auditor.get("/console").await.expect(200)));
    let before = world.database.number(entries).await;
    for form in FORMS {
        if form != "/console/change/condition" {
            assert_eq!(auditor.get(form).await.status, 403, "{form}");
        }
        let fields = [("form_token", token.as_str()), ("name", "x"), ("type", "spv"), ("id", &world.assignment)];
        assert_eq!(auditor.post(form, &fields).await.status, 403, "{form}");
        // An operator's form needs the token of its session.
        assert_eq!(operator.post(form, &fields).await.status, 403, "{form}");
        assert_eq!(operator.post(form, &fields[1..]).await.status, 403, "{form}");
    }
    assert_eq!(auditor.get("/console/changed?form=x").await.status, 403);
    assert_eq!(world.database.number(entries).await, before);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn failed_events_are_delivered_again_one_or_all_by_those_who_may_change_something(#[case] kind: DatabaseKind) {
    let world = World::new(kind).await;
    let failed = "UPDATE platform_events SET delivery_state = 'failed', last_error = '<b>no topic</b>'";
    world.database.execute(failed).await.unwrap();
    let of_state = async |state: &str| {
        let count = format!("SELECT COUNT(*) FROM platform_events WHERE delivery_state = '{state}'");
        world.database.number(&count).await
    };
    let all = of_state("failed").await;
    assert!(all > 1, "{all} events");
    let (auditor, operator) = (world.browser(&world.auditor).await, world.browser(&world.operator).await);
    let page = auditor.get("/console/events?delivery_state=failed").await.expect(200);
    assert!(page.contains("&#60;b&#62;no topic") && !page.contains("/console/change"), "{page}");
    let page = operator.get("/console/events?delivery_state=failed").await.expect(200);
    let (_, one) = page.split_once("/console/change/requeue?event_id=").expect("a link for one event");
    let one = one.split('"').next().unwrap();
    assert!(page.contains("href=\"/console/change/requeue?all=1\""), "a link for all");
    let form = operator.get(&format!("/console/change/requeue?event_id={one}")).await.expect(200);
    assert!(form.contains("Deliver this event again") && form.contains(one), "{form}");
    let shown = send(&operator, "/console/change/requeue", &[("event_id", one)]).await;
    assert_eq!((shown.status, shown.location()), (303, "/console/events?requeued=1"));
    assert_eq!((of_state("failed").await, of_state("pending").await), (all - 1, 1));
    let page = operator.get(shown.location()).await.expect(200);
    assert!(page.contains("Events that are pending again: 1"), "{page}");
    assert_eq!(send(&operator, "/console/change/requeue", &[("event_id", "x")]).await.status, 404);
    assert_eq!(of_state("pending").await, 1);
    // An id that got lost is not all of them.
    for lost in [&[][..], &[("event_id", "")], &[("all", "")], &[("event_id", one), ("all", "1")]] {
        assert_eq!(send(&operator, "/console/change/requeue", lost).await.status, 404, "{lost:?}");
    }
    operator.get("/console/change/requeue").await.expect(404);
    assert_eq!(of_state("pending").await, 1);
    let form = operator.get("/console/change/requeue?all=1").await.expect(200);
    assert!(form.contains(&format!("Deliver all failed events again: {}", all - 1)), "{form}");
    let shown = send(&operator, "/console/change/requeue", &[("all", "1")]).await;
    assert_eq!(shown.location(), format!("/console/events?requeued={}", all - 1));
    assert_eq!((of_state("failed").await, of_state("pending").await), (0, all));
    let page = operator.get("/console/events").await.expect(200);
    assert!(!page.contains("/console/change/requeue"), "nothing has failed");
}

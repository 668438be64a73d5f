//! The import of the console: its difference first, then the changes, and only those that were shown.

use epr_testkit::browser::{Browser, Shown, form_token};
use epr_testkit::database::DatabaseKind;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::console_world::{OPERATOR_ID, World};

const PATH: &str = "/console/change/import";

/// Sends the form with these fields; JSON unless they name a format.
async fn send(browser: &Browser, fields: &[(&str, &str)]) -> Shown {
    let token = form_token(&browser.get(PATH).await.expect(200));
    browser.post(PATH, &[&[("form_token", token.as_str())], fields, &[("format", "json")]].concat()).await
}

/// The hash of the plan that a page asks to confirm.
fn plan(page: &str) -> Option<&str> {
    let (_, rest) = page.split_once("name=\"plan\" value=\"")?;
    rest.split('"').next()
}

/// A new principal, a new role, a change of the role of the world, and an assignment of each of the two roles.
fn records(world: &World) -> String {
    let records = [
        json!({"kind": "principal", "external_id": "hr:7", "display_name": "<b>Grace</b>"}),
        json!({"kind": "role", "name": "Imported role", "permissions": ["a:b"], "scope_types": ["spv"]}),
        json!({"kind": "role", "name": "Document reader", "permissions": ["document:download"]}),
        json!({"kind": "assignment", "principal_external_id": "hr:7", "role": "Imported role", "entity_type": "spv",
            "entity_name": "Berlin One"}),
        json!({"kind": "assignment", "principal_id": world.ada, "role": "Document reader", "entity_id": world.acme,
            "effective_at": "2026-01-01T00:00:00Z", "expires_at": "2099-01-01T00:00:00Z"}),
    ];
    records.map(|record| record.to_string()).join("\n")
}

async fn entries(world: &World) -> i64 {
    world.database.number("SELECT COUNT(*) FROM audit_logs").await
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn an_import_shows_its_difference_and_makes_those_changes_when_it_is_confirmed(#[case] kind: DatabaseKind) {
    let world = World::new(kind).await;
    let operator = world.browser(&world.operator).await;
    let (text, before) = (records(&world), entries(&world).await);
    let fields = [("text", text.as_str()), ("reason", "ticket 8")];
    let page = send(&operator, &fields).await.expect(200);
    for part in ["Imported role", "action - document:print", "on spv:Berlin One", "Nothing is changed yet", "unchanged"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("<b>Grace"), "{page}");
    assert_eq!(entries(&world).await, before, "a difference changes nothing");
    let plan = plan(&page).expect("a form that confirms");
    let shown = send(&operator, &[&fields[..], &[("plan", plan)]].concat()).await;
    assert_eq!(shown.status, 303, "{}", shown.body);
    let page = operator.get(shown.location()).await.expect(200);
    assert!(page.contains("The change is recorded as entry") && page.contains("correlation_id="), "{page}");
    assert_eq!(entries(&world).await, before + 4);
    let path = format!("/api/v1/audit/entries?from_sequence={}", before + 1);
    let made = world.call(Method::GET, &path, &Value::Null).await;
    for entry in made.as_array().unwrap() {
        let (actor, reason) = (&entry["actor_id"], &entry["details"]["stated_reason"]);
        assert_eq!((actor, reason), (&json!(OPERATOR_ID), &json!("ticket 8")), "{entry}");
    }
    // Once more, there is nothing to do, and nothing to confirm.
    let page = send(&operator, &fields).await.expect(200);
    assert!(page.contains("An import would change nothing") && self::plan(&page).is_none(), "{page}");
}

#[tokio::test]
async fn only_the_difference_that_was_shown_is_made() {
    let world = World::new(DatabaseKind::Sqlite).await;
    let operator = world.browser(&world.operator).await;
    let text = records(&world);
    let page = send(&operator, &[("text", &text)]).await.expect(200);
    let plan = plan(&page).expect("a form that confirms").to_owned();
    // Another text.
    let other = text.replace("\"a:b\"", "\"a:b\",\"c:d\"");
    let before = entries(&world).await;
    let page = send(&operator, &[("text", &other), ("plan", &plan)]).await.expect(409);
    assert!(page.contains("has changed since the difference was shown") && page.contains("c:d"), "{page}");
    assert_eq!(entries(&world).await, before);
    // Another value of a field that the difference only names.
    let other = text.replace("Grace", "Mallory");
    send(&operator, &[("text", &other), ("plan", &plan)]).await.expect(409);
    assert_eq!(entries(&world).await, before);
    // Another registry.
    let role = json!({"name": "Imported role", "permissions": ["x:y"], "scope_types": ["spv"]});
    world.create("/api/v1/roles", &role).await;
    let before = entries(&world).await;
    let page = send(&operator, &[("text", &text), ("plan", &plan)]).await.expect(409);
    assert!(page.contains("action - x:y"), "{page}");
    assert_eq!(entries(&world).await, before);
    let again = self::plan(&page).expect("the difference now can be confirmed").to_owned();
    assert_ne!(again, plan);
    assert_eq!(send(&operator, &[("text", &text), ("plan", &again)]).await.status, 303);
}

#[tokio::test]
async fn records_that_do_not_fit_are_refused_with_their_reason_and_nothing_is_changed() {
    let world = World::new(DatabaseKind::Sqlite).await;
    let operator = world.browser(&world.operator).await;
    let ada = world.ada.as_str();
    let suspended = json!({"status": "suspended"});
    world.call(Method::PATCH, &format!("/api/v1/principals/{ada}"), &suspended).await;
    let before = entries(&world).await;
    let on_castle = json!({"kind": "assignment", "principal_id": ada, "role": "Document reader", "entity_type": "spv",
        "entity_name": "<i>Castle</i>"});
    let activated = json!({"kind": "principal", "principal_id": ada, "status": "active"});
    let good = json!({"kind": "role", "name": "Good role", "permissions": ["a:b"]});
    for (record, part) in [
        (on_castle.to_string(), "entity_name: there is no spv:&#60;i&#62;Castle"),
        ("{".to_owned(), "not a JSON object"),
        (json!({"kind": "castle"}).to_string(), "kind: "),
        (good.to_string(), "duplicate of line 1"),
        (activated.to_string(), "is suspended here"),
    ] {
        let text = format!("{good}\n{record}");
        let page = send(&operator, &[("text", &text), ("plan", "x")]).await.expect(400);
        assert!(page.contains(part) && page.contains("refused"), "{record}: {page}");
        assert!(plan(&page).is_none(), "{page}");
    }
    let role = |n| json!({"kind": "role", "name": format!("Role {n}"), "permissions": ["a:b"]}).to_string();
    let many: Vec<String> = (0..201).map(role).collect();
    assert!(
        send(&operator, &[("text", &many.join("\n"))]).await.expect(400).contains("Too many records. At most: 200")
    );
    assert!(send(&operator, &[("text", "")]).await.expect(200).contains("An import would change nothing"));
    assert_eq!(entries(&world).await, before);
    // With leave, a suspension is ended.
    let text = activated.to_string();
    let page = send(&operator, &[("text", &text), ("activate", "1")]).await.expect(200);
    let plan = plan(&page).expect("a form that confirms");
    let shown = send(&operator, &[("text", &text), ("activate", "1"), ("plan", plan)]).await;
    assert_eq!(shown.status, 303, "{}", shown.body);
    let csv = "kind,name,permissions\r\nrole,Of a table,a:b;c:d\r\n";
    let page = send(&operator, &[("format", "csv"), ("text", csv)]).await.expect(200);
    assert!(page.contains("Of a table") && page.contains("actions: a:b, c:d"), "{page}");
}

//! The import of the console: its difference first, then the changes, and only those that were shown.

use epr_core::domain::assignment::PrincipalType;
use epr_core::domain::{BulkStep, RolePatch, Timestamp};
use epr_core::settings::{Settings, Source};
use epr_core::{Call, Epr};
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
    for value in ["external_id: &#34;hr:7&#34;", "display_name: &#34;&#60;b&#62;Grace&#60;/b&#62;&#34;"] {
        assert!(page.contains(value), "{value}: {page}");
    }
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

/// What somebody else does between the difference and its confirmation.
async fn change_registry(world: &World, calls: &[(&str, Value)]) {
    for (path, change) in calls {
        world.call(Method::PATCH, path, change).await;
    }
}

#[tokio::test]
async fn what_has_changed_since_the_difference_was_shown_is_not_overwritten() {
    let world = World::new(DatabaseKind::Sqlite).await;
    let operator = world.browser(&world.operator).await;
    let principal = async |external_id: &str| {
        let new = json!({"external_id": external_id, "attributes": {"clearance": 1}});
        world.create("/api/v1/principals", &new).await
    };
    let (first, second) = (principal("hr:1").await, principal("hr:2").await);
    let condition = |pages: u32| {
        let expression = format!("context.pages <= {pages}");
        json!({"a:b": {"expression": expression, "parameters": {"pages": "int"}}})
    };
    let role = json!({"name": "Limited", "permissions": ["a:b"], "conditions": condition(50)});
    let role = world.create("/api/v1/roles", &role).await;
    let of = |kind: &str, id: &str| format!("/api/v1/{kind}/{id}");
    let (at_first, at_second, at_role) = (of("principals", &first), of("principals", &second), of("roles", &role));
    let suspend = json!({"kind": "principal", "external_id": "hr:1", "status": "suspended"});
    let raise = json!({"kind": "role", "name": "Limited", "permissions": ["a:b"], "conditions": condition(100)});
    let clear = json!({"kind": "principal", "principal_id": second, "attributes": {"clearance": 9}});
    let [free, moved] = ["hr:3", "hr:1"].map(|external_id| json!({"external_id": external_id}));
    let page = send(&operator, &[("text", &clear.to_string())]).await.expect(200);
    let attributes = "attributes: {&#34;clearance&#34;:1} -&#62; {&#34;clearance&#34;:9}";
    assert!(page.contains(attributes), "{page}");
    for (record, calls) in [
        // The id that the text names belongs to another principal now.
        (&suspend, vec![(at_first.as_str(), free), (&at_second, moved)]),
        // A condition was tightened.
        (&raise, vec![(&at_role, json!({"conditions": condition(5)}))]),
        // A value of an attribute.
        (&clear, vec![(&at_second, json!({"attributes": {"clearance": 0}}))]),
    ] {
        let text = record.to_string();
        let page = send(&operator, &[("text", &text)]).await.expect(200);
        let shown = plan(&page).expect("a form that confirms").to_owned();
        change_registry(&world, &calls).await;
        let before = entries(&world).await;
        let page = send(&operator, &[("text", &text), ("plan", &shown)]).await.expect(409);
        assert!(page.contains("has changed since the difference was shown"), "{record}: {page}");
        assert_eq!(entries(&world).await, before, "{record}");
        assert_ne!(plan(&page), Some(shown.as_str()), "{record}");
    }
    let stored = world.call(Method::GET, &at_second, &Value::Null).await;
    assert_eq!((&stored["status"], &stored["attributes"]), (&json!("active"), &json!({"clearance": 0})));
    assert_eq!(world.call(Method::GET, &at_role, &Value::Null).await["conditions"], condition(5));
}

#[tokio::test]
async fn an_import_of_the_console_creates_no_system_role_and_shows_the_description_of_a_new_one() {
    let world = World::new(DatabaseKind::Sqlite).await;
    let operator = world.browser(&world.operator).await;
    let role = json!({"kind": "role", "name": "Root", "permissions": ["a:b"], "description": "For <i>audits</i>"});
    let mut of_system = role.clone();
    of_system["is_system"] = json!(true);
    let page = send(&operator, &[("text", &of_system.to_string())]).await.expect(400);
    assert!(page.contains("only an import into the database creates system roles") && plan(&page).is_none(), "{page}");
    let page = send(&operator, &[("text", &role.to_string())]).await.expect(200);
    assert!(page.contains("description: &#34;For &#60;i&#62;audits"), "{page}");
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn steps_after_one_that_expects_another_state_are_not_made_nor_those_before_it(#[case] kind: DatabaseKind) {
    let world = World::new(kind).await;
    let source = Source::of([("EPR_DATABASE_URL", world.database.url.as_str())]);
    let epr = Epr::from_settings(&Settings::from_source(&source).unwrap()).await.unwrap();
    let role = epr.role_named("Document reader").await.unwrap().unwrap();
    let user: PrincipalType = "user".parse().unwrap();
    let ada = epr.principal(&user, world.ada.parse().unwrap()).await.unwrap();
    let rename = |to: &str| RolePatch { description: Some(Some(to.parse().unwrap())), ..RolePatch::default() };
    let earlier: Timestamp = "2020-01-01T00:00:00Z".parse().unwrap();
    let apply = async |steps: &[BulkStep]| epr.apply_all(&Call::default(), steps).await.map_err(|failed| failed.at);
    let before = entries(&world).await;
    let update = BulkStep::UpdateRole(role.id, rename("One"));
    for stale in [BulkStep::ExpectRole(role.id, earlier), BulkStep::ExpectPrincipal(user.clone(), ada.id, earlier)] {
        assert_eq!(apply(&[update.clone(), stale.clone()]).await, Err(Some(1)), "{stale:?}");
        assert_eq!(apply(&[stale, update.clone()]).await, Err(Some(0)));
    }
    assert_eq!(entries(&world).await, before);
    let expected = BulkStep::ExpectRole(role.id, role.updated_at);
    let of_ada = BulkStep::ExpectPrincipal(user, ada.id, ada.updated_at);
    assert_eq!(apply(&[expected.clone(), of_ada, update]).await, Ok(vec![false, false, true]));
    assert_eq!(apply(&[expected, BulkStep::UpdateRole(role.id, rename("Two"))]).await, Err(Some(0)), "it was changed");
}

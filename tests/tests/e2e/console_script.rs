//! What script adds to the pages of the console, which all work without it: htmx, parts of pages, checks while typing.

use aws_lc_rs::digest::{SHA256, digest};
use epr_testkit::browser::{Browser, form_token};
use epr_testkit::database::DatabaseKind;
use serde_json::{Value, json};

use crate::console_world::World;

#[tokio::test]
async fn every_page_has_the_pinned_htmx_that_evaluates_nothing_and_calls_no_other_host() {
    let world = World::new(DatabaseKind::Sqlite).await;
    let browser = world.browser(&world.auditor).await;
    let home = browser.get("/console").await.expect(200);
    let (_, config) = home.split_once("<meta name=\"htmx-config\" content='").expect("a configuration");
    let config: Value = serde_json::from_str(config.split('\'').next().unwrap()).unwrap();
    for (name, value) in [
        ("allowEval", json!(false)),
        ("allowScriptTags", json!(false)),
        ("selfRequestsOnly", json!(true)),
        ("historyCacheSize", json!(0)),
        ("includeIndicatorStyles", json!(false)),
    ] {
        assert_eq!(config[name], value, "{name}");
    }
    let (_, address) = home.split_once("<script src=\"/console/assets/htmx.js?").expect("htmx");
    let address = format!("/console/assets/htmx.js?{}", address.split('"').next().unwrap());
    let htmx = browser.get(&address).await.expect(200);
    let pinned = include_str!("../../../runtimes/console/htmx.version");
    let (_, expected) = pinned.trim().split_once(' ').unwrap();
    let hash =
        digest(&SHA256, htmx.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    assert_eq!(hash, expected);
}

#[tokio::test]
async fn a_part_for_a_guest_loads_the_whole_page_again_and_is_not_the_login_page() {
    let world = World::new(DatabaseKind::Sqlite).await;
    let guest = Browser::new(&world.base);
    let shown = guest.get_with("/console/tree", &[("hx-request", "true")]).await;
    assert_eq!((shown.status, shown.headers["hx-refresh"].to_str().unwrap()), (401, "true"));
    assert!(shown.body.is_empty(), "{}", shown.body);
    // What is typed into a form is not lost by it.
    let shown = guest.post_with("/console/change/condition", &[("condition", "{")], &[("hx-request", "true")]).await;
    assert_eq!((shown.status, shown.headers.get("hx-refresh")), (403, None));
    let visitor = world.browser(&world.auditor).await;
    let shown = visitor.get_with("/console/tree", &[("hx-request", "true")]).await;
    assert!(shown.headers.get("hx-refresh").is_none());
    assert!(shown.expect(200).contains("<ul class=\"branches level\">"));
}

#[tokio::test]
async fn a_condition_is_checked_while_it_is_typed_as_its_form_would_be() {
    let world = World::new(DatabaseKind::Sqlite).await;
    let operator = world.browser(&world.operator).await;
    let role = operator.get("/console/change/role").await.expect(200);
    let assignment = operator.get("/console/change/assignment").await.expect(200);
    for (page, field) in [(&role, "conditions"), (&assignment, "condition")] {
        let (_, rest) = page.split_once(&format!("name=\"{field}\"")).expect("the field");
        assert!(rest.split('>').next().unwrap().contains("hx-post=\"/console/change/condition\""), "{rest}");
    }
    let token = form_token(&role);
    let before = world.database.number("SELECT COUNT(*) FROM audit_logs").await;
    let check = async |fields: &[(&str, &str)]| {
        let fields = [&[("form_token", token.as_str())], fields].concat();
        operator.post("/console/change/condition", &fields).await.expect(200)
    };
    let valid = r#"{"expression": "context.n < 3", "parameters": {"n": "int"}}"#;
    assert!(check(&[("condition", valid)]).await.contains("The condition is valid"));
    assert_eq!(check(&[("condition", "")]).await, "");
    for (text, part) in [
        ("{", "condition: "),
        (r#"{"expression": "1 +"}"#, "condition.expression: "),
        (r#"{"expression": "context.n < 3"}"#, "condition.expression: "),
        (r#"{"expression": "<img src=x>"}"#, "condition.expression: "),
    ] {
        let found = check(&[("condition", text)]).await;
        assert!(found.contains("class=\"notice bad\"") && found.contains(part), "{text}: {found}");
        assert!(!found.contains("<img"), "{found}");
        // The form says the same.
        let form = [
            ("form_token", token.as_str()),
            ("principal_id", &world.ada),
            ("role_id", &world.role),
            ("condition", text),
        ];
        let sent = operator.post("/console/change/assignment", &form).await.expect(400);
        let sentence = found.split("<bdi>").nth(1).unwrap().split("</bdi>").next().unwrap();
        assert!(sent.contains(sentence), "{sentence}: {sent}");
    }
    let of_role = |text| [("name", ""), ("permissions", "a:b"), ("conditions", text)];
    let conditions = format!("{{\"a:b\": {valid}}}");
    assert!(check(&of_role(&conditions)).await.contains("The condition is valid"));
    let found = check(&of_role(r#"{"a:b": {"expression": "1 +"}}"#)).await;
    assert!(found.contains("conditions.a:b"), "{found}");
    assert_eq!(world.database.number("SELECT COUNT(*) FROM audit_logs").await, before, "nothing is changed");
}

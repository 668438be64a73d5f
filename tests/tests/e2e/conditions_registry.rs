//! Conditions in the registry: what is stored, returned, recorded, refused and carried to another installation. What
//! they mean for decisions is tested elsewhere.

use std::collections::BTreeMap;

use epr_core::decision::Question;
use epr_core::domain::role::Action;
use epr_core::domain::{BulkStep, Condition, NewAssignment, NewRole, ParameterType, RolePatch};
use epr_core::{Call, Error};
use epr_testkit::api::{Api, id_of};
use epr_testkit::cli::Cli;
use epr_testkit::database::{Database, DatabaseKind};
use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

const USER: &str = "aaaaaaaa-0000-4000-8000-000000000001";

fn limit(amount: i64) -> Value {
    json!({"expression": format!("context.amount <= {amount}"), "parameters": {"amount": "int"}})
}

fn typed_limit(amount: i64) -> Condition {
    Condition::new(format!("context.amount <= {amount}")).parameter("amount", ParameterType::Int)
}

fn action(text: &str) -> Action {
    Action::new(text).unwrap()
}

/// The details of the newest entry of this action.
async fn newest_details(api: &Api, action: &str) -> Value {
    let entries = api.get(&format!("/api/v1/audit/entries?action={action}&limit=1")).await.expect(200);
    entries[0]["details"].clone()
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_is_stored_returned_and_recorded_whole(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let role = json!({"name": "Payer", "permissions": ["pay:invoice", "pay:list"],
        "conditions": {"pay:invoice": limit(1000)}});
    let role = api.post("/api/v1/roles", role).await.expect(201);
    assert_eq!(role["conditions"], json!({"pay:invoice": limit(1000)}));
    assert_eq!(api.get("/api/v1/roles").await.expect(200)[0], role);
    assert_eq!(newest_details(&api, "role.create").await["conditions"], json!({"pay:invoice": limit(1000)}));
    let body = json!({"principal_id": USER, "role_id": id_of(&role), "condition": limit(50)});
    let made = api.post("/api/v1/assignments", body.clone()).await.expect(201);
    assert_eq!(made["condition"], limit(50));
    assert_eq!(api.get("/api/v1/assignments").await.expect(200), json!([made]));
    assert_eq!(newest_details(&api, "role_assignment.create").await["condition"], limit(50));
    // The same assignment with another condition, or with none, is the existing one.
    for other in [limit(2), json!(null)] {
        let mut again = body.clone();
        again["condition"] = other;
        assert_eq!(api.post("/api/v1/assignments", again).await.expect(201), made);
    }
    api.delete(&format!("/api/v1/assignments/{}", id_of(&made))).await.expect(200);
    assert_eq!(newest_details(&api, "role_assignment.delete").await["condition"], limit(50));
    // Parameters may be left out; what has no condition has no member for one.
    let hours = json!({"principal_id": USER, "role_id": id_of(&role), "condition": {"expression": "true"}});
    let hours = api.post("/api/v1/assignments", hours).await.expect(201);
    assert_eq!(hours["condition"], json!({"expression": "true", "parameters": {}}));
    let bare = api.post("/api/v1/roles", json!({"name": "Bare"})).await.expect(201);
    assert!(bare.get("conditions").is_none(), "{bare}");
    let plain = json!({"principal_id": USER, "role_id": id_of(&bare), "condition": null});
    let plain = api.post("/api/v1/assignments", plain).await.expect(201);
    assert!(plain.get("condition").is_none(), "{plain}");
    assert!(newest_details(&api, "role_assignment.create").await.get("condition").is_none());
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patch_replaces_conditions_and_a_removed_action_loses_its_own(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let role = json!({"name": "Payer", "permissions": ["a:one", "b:two"],
        "conditions": {"a:one": limit(1), "b:two": limit(2)}});
    let path = format!("/api/v1/roles/{}", id_of(&api.post("/api/v1/roles", role).await.expect(201)));
    let conditions = async |body: Value| api.patch(&path, body).await.expect(200)["conditions"].clone();
    assert_eq!(
        conditions(json!({"permissions": ["b:two", "c:three"]})).await,
        json!({"b:two": limit(2)}),
        "the action that stays keeps its condition"
    );
    assert_eq!(
        newest_details(&api, "role.update").await["changes"],
        json!({"permissions": ["b:two", "c:three"], "conditions": {"b:two": limit(2)}})
    );
    assert_eq!(conditions(json!({"conditions": null, "description": "d"})).await, json!({"b:two": limit(2)}));
    assert_eq!(conditions(json!({"conditions": {"c:three": limit(3)}})).await, json!({"c:three": limit(3)}));
    assert_eq!(newest_details(&api, "role.update").await["changes"], json!({"conditions": {"c:three": limit(3)}}));
    assert_eq!(
        conditions(json!({"permissions": ["a:one"], "conditions": {"a:one": limit(4)}})).await,
        json!({"a:one": limit(4)})
    );
    assert_eq!(conditions(json!({"permissions": []})).await, json!(null));
    assert_eq!(conditions(json!({"permissions": ["a:one"]})).await, json!(null), "a condition does not come back");
    let unheld = api.patch(&path, json!({"conditions": {"b:two": limit(1)}})).await;
    assert_eq!(unheld.field_errors(), ["body.conditions.b:two: value_error"]);
    // What changes nothing leaves no trace.
    let before = api.database.number("SELECT COUNT(*) FROM audit_logs").await;
    assert_eq!(conditions(json!({"conditions": {}})).await, json!(null));
    assert_eq!(api.database.number("SELECT COUNT(*) FROM audit_logs").await, before);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_that_cannot_be_used_is_refused_with_every_other_field(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let role = api.role("Reader", &[], &["a:do"]).await;
    let assign = async |condition: Value| {
        let body = json!({"principal_id": "?", "role_id": role, "condition": condition, "entity": 1});
        let errors = api.post("/api/v1/assignments", body).await.field_errors();
        assert_eq!(errors[..2], ["body.entity: extra_forbidden", "body.principal_id: uuid_parsing"], "{errors:?}");
        errors[2..].to_vec()
    };
    assert_eq!(assign(json!("true")).await, ["body.condition: dict_type"]);
    assert_eq!(assign(json!({})).await, ["body.condition.expression: missing"]);
    assert_eq!(
        assign(json!({"expression": "a", "parameters": {"a": "uint"}, "when": 1})).await,
        ["body.condition.when: extra_forbidden", "body.condition.parameters.a: enum"]
    );
    for unusable in ["context.amount <=", "context.amount <= 1", "[1].all(x, x > 0)", "now < timestamp('x')", "1 + 1"] {
        let body = json!({"principal_id": USER, "role_id": role, "condition": {"expression": unusable}});
        let refused = api.post("/api/v1/assignments", body).await.expect(400);
        assert_eq!(refused["detail"][0]["loc"], json!(["body", "condition", "expression"]), "{unusable}: {refused}");
        let message = refused["detail"][0]["msg"].as_str().unwrap();
        assert!(message.contains("position"), "{unusable}: {message}");
    }
    let body = json!({"name": "x", "permissions": ["a:do"],
        "conditions": {"a:do": {"expression": "1 <"}, "b:do": limit(1), "a": {"expression": ""}}});
    assert_eq!(
        api.post("/api/v1/roles", body).await.field_errors(),
        [
            "body.name: string_too_short",
            "body.conditions.a: string_too_short",
            "body.conditions.a.expression: string_too_short"
        ]
    );
    let body =
        json!({"name": "x", "permissions": ["a:do"], "conditions": {"a:do": {"expression": "1 <"}, "b:do": limit(1)}});
    let errors = api.post("/api/v1/roles", body).await.field_errors();
    assert_eq!((errors.len(), errors[0].as_str()), (3, "body.name: string_too_short"), "{errors:?}");
    assert!(errors[1].starts_with("body.conditions.a:do.expression: "), "{errors:?}");
    assert_eq!(errors[2], "body.conditions.b:do: value_error");
    let path = format!("/api/v1/roles/{role}");
    let patched = api.patch(&path, json!({"conditions": {"a:do": {"expression": "1 <"}}})).await;
    assert!(patched.field_errors()[0].starts_with("body.conditions.a:do.expression: "));
    let stored = "SELECT (SELECT COUNT(*) FROM role_assignments) + (SELECT COUNT(*) FROM roles) \
                  + (SELECT COUNT(*) FROM role_permissions WHERE condition IS NOT NULL)";
    assert_eq!(api.database.number(stored).await, 1, "the role without conditions");
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typed_calls_are_checked_like_bodies(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let role = api.role("Reader", &[], &["a:do"]).await.parse::<Uuid>().unwrap();
    let (call, user) = (Call::default(), USER.parse::<Uuid>().unwrap());
    let unusable = Condition::new("context.amount <=");
    let refused = |outcome: Result<(), Error>| match outcome {
        Err(Error::Invalid(invalid)) => serde_json::to_value(&invalid.0).unwrap()[0]["loc"].clone(),
        other => panic!("{other:?}"),
    };
    let new = NewAssignment::new(user, role).only_if(unusable.clone());
    assert_eq!(refused(api.epr.assign(&call, new.clone()).await.map(drop)), json!(["body", "condition", "expression"]));
    let bulk = api.epr.apply_all(&call, &[BulkStep::Assign(new.into())]).await.map(drop).map_err(|failure| failure.why);
    assert_eq!(refused(bulk), json!(["body", "condition", "expression"]));
    let named = || NewRole::new("Payer".parse().unwrap());
    let new = named().permission_if(action("a:do"), unusable.clone());
    let at = json!(["body", "conditions", "a:do", "expression"]);
    assert_eq!(refused(api.epr.create_role(&call, new.clone()).await.map(drop)), at);
    let bulk = api.epr.apply_all(&call, &[BulkStep::CreateRole(new)]).await.map(drop).map_err(|failure| failure.why);
    assert_eq!(refused(bulk), at);
    let unheld = NewRole { conditions: BTreeMap::from([(action("b:do"), typed_limit(1))]), ..named() };
    assert_eq!(refused(api.epr.create_role(&call, unheld).await.map(drop)), json!(["body", "conditions", "b:do"]));
    let patch = RolePatch { conditions: Some(BTreeMap::from([(action("a:do"), unusable)])), ..RolePatch::default() };
    assert_eq!(refused(api.epr.update_role(&call, role, patch).await.map(drop)), at);
    assert_eq!(api.database.number("SELECT COUNT(*) FROM audit_logs WHERE action <> 'role.create'").await, 0);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_that_is_changed_by_hand_renews_decisions(#[case] kind: DatabaseKind) {
    let database = Database::create(kind).await;
    let store = database.store().await;
    let (id, at) = ("00000000-0000-4000-8000-0000000000aa", "'2026-01-01T00:00:00.000000Z'");
    let world = format!(
        "INSERT INTO roles (id, name, created_at, updated_at) VALUES ('{id}', 'Reader', {at}, {at}); \
         INSERT INTO permissions (id, action, created_at) VALUES ('{id}', 'a:do', {at}); \
         INSERT INTO role_permissions (role_id, permission_id) VALUES ('{id}', '{id}'); \
         INSERT INTO role_assignments (id, principal_id, role_id, effective_at, created_at, updated_at) \
         VALUES ('{id}', '{id}', '{id}', {at}, {at}, {at})"
    );
    store.close().await;
    database.execute(&world).await.unwrap();
    for (table, whose) in [
        ("role_assignments", format!("principal_id = '{id}'")),
        ("role_permissions", "principal_id IS NULL".to_owned()),
    ] {
        database.execute("DELETE FROM cache_renewals").await.unwrap();
        let condition = r#"{"expression":"false","parameters":{}}"#;
        database.execute(&format!("UPDATE {table} SET condition = '{condition}'")).await.unwrap();
        let renewed = format!("SELECT COUNT(*) FROM cache_renewals WHERE {whose}");
        assert!(database.number(&renewed).await >= 1, "{table}");
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_and_the_command_write_and_show_conditions(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let client = api.client().await;
    let new = NewRole::new("Payer".parse().unwrap()).permission_if(action("pay:invoice"), typed_limit(7));
    let role = client.create_role(&new).await.unwrap();
    assert_eq!(role.conditions, BTreeMap::from([("pay:invoice".to_owned(), typed_limit(7))]));
    let user = USER.parse().unwrap();
    let made = client.assign(&NewAssignment::new(user, role.id).only_if(typed_limit(3))).await.unwrap();
    assert_eq!(made.condition, Some(typed_limit(3)));
    client.revoke(made.id).await.unwrap();

    for cli in [Cli::on(&api.database.url), Cli::over(&client.base_url().to_string())] {
        let arguments = ["assignments", "create", USER, "Payer", "--everywhere", "--condition", "context.amount <= 3"];
        let typed = [&arguments[..], &["--parameter", "amount=int"]].concat();
        let made = &cli.json(&typed).await[0];
        assert_eq!(made["condition"], limit(3));
        let shown = cli.ok(&["assignments", "show", made["id"].as_str().unwrap()]).await;
        assert!(shown.contains("context.amount <= 3  (amount: int)"), "{shown}");
        let again = cli.run(&["assignments", "create", USER, "Payer", "--everywhere"]).await;
        assert!(again.err.contains("another condition, which is unchanged"), "{again:?}");
        let refused = cli.run(&arguments).await;
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.err.contains("condition.expression: "), "{refused:?}");
        cli.ok(&["assignments", "revoke", made["id"].as_str().unwrap()]).await;

        let set = ["roles", "update", "Payer", "--add-action", "pay:list", "--condition"];
        let typed = [&set[..], &["pay:list=context.amount <= 9", "--parameter", "amount=int"]].concat();
        let role = &cli.json(&typed).await[0];
        assert_eq!(role["conditions"], json!({"pay:invoice": limit(7), "pay:list": limit(9)}));
        let shown = cli.ok(&["roles", "show", "Payer"]).await;
        assert!(shown.contains("pay:list: context.amount <= 9  (amount: int)"), "{shown}");
        let role = &cli.json(&["roles", "update", "Payer", "--remove-condition", "pay:list"]).await[0];
        assert_eq!(role["conditions"], json!({"pay:invoice": limit(7)}));
        cli.ok(&["roles", "update", "Payer", "--remove-action", "pay:list"]).await;
    }
}

async fn export(cli: &Cli) -> Vec<Value> {
    cli.ok(&["export"]).await.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_are_exported_and_imported_and_older_files_keep_them(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let cli = Cli::on(&api.database.url);
    let tricky =
        json!({"expression": "context.word == \";=cmd()\" || context.word == 'ä'", "parameters": {"word": "string"}});
    let role = json!({"name": "Payer", "permissions": ["a:one", "b:two"], "conditions": {"a:one": tricky}});
    let role = id_of(&api.post("/api/v1/roles", role).await.expect(201));
    let made = json!({"principal_id": USER, "role_id": role, "condition": limit(5)});
    api.post("/api/v1/assignments", made).await.expect(201);
    let before = export(&cli).await;
    assert_eq!((&before[0]["conditions"], &before[1]["condition"]), (&json!({"a:one": tricky}), &limit(5)));

    let folder = tempfile::tempdir().unwrap();
    let other = Api::start(kind).await;
    let target = Cli::on(&other.database.url);
    for name in ["all.csv", "all.json"] {
        let file = folder.path().join(name).display().to_string();
        cli.ok(&["export", "--output", &file]).await;
        target.ok(&["import", &file]).await;
        assert_eq!(export(&target).await, before, "{name}");
    }

    // A file of an earlier version says nothing about conditions: what is there stays.
    let older = folder.path().join("older.json").display().to_string();
    let lines: Vec<String> = before
        .iter()
        .map(|record| {
            let mut record = record.clone();
            let members = record.as_object_mut().unwrap();
            members.remove("condition");
            members.remove("conditions");
            record.to_string()
        })
        .collect();
    std::fs::write(&older, lines.join("\n")).unwrap();
    target.ok(&["import", &older]).await;
    assert_eq!(export(&target).await, before);

    // A file that says that there is none removes it, and a condition that does not compile is refused with its line.
    let mut without = before.clone();
    (without[0]["conditions"], without[1]["condition"]) = (json!({}), json!(null));
    let plain = folder.path().join("plain.json").display().to_string();
    std::fs::write(&plain, format!("{}\n{}", without[0], without[1])).unwrap();
    let planned = target.ok(&["import", "--dry-run", &plain]).await;
    assert!(planned.contains("condition: context.amount <= 5  (amount: int) -> none"), "{planned}");
    assert!(planned.contains("condition of a:one: "), "{planned}");
    target.ok(&["import", &plain]).await;
    assert_eq!(export(&target).await, without);
    without[1]["condition"] = json!({"expression": "context.amount <="});
    std::fs::write(&plain, without[1].to_string()).unwrap();
    let refused = target.run(&["import", &plain]).await;
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("plain.json:1: condition.expression: "), "{refused:?}");
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_names_conditions_that_this_version_cannot_compile(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let role = json!({"name": "Payer", "permissions": ["a:one"], "conditions": {"a:one": limit(1)}});
    let role = id_of(&api.post("/api/v1/roles", role).await.expect(201));
    let made = json!({"principal_id": USER, "role_id": role, "condition": limit(5)});
    let made = id_of(&api.post("/api/v1/assignments", made).await.expect(201));
    let cli = Cli::on(&api.database.url);
    let conditions = async || {
        let report: Value = serde_json::from_str(&cli.run(&["doctor", "--json"]).await.out).unwrap();
        let findings = report["findings"].as_array().unwrap();
        findings.iter().find(|finding| finding["what"] == "conditions").expect("a finding").clone()
    };
    let fine = conditions().await;
    assert_eq!((&fine["state"], &fine["seen"]), (&json!("fine"), &json!("2 stored, all of them compile")));
    for (table, text) in [
        ("role_assignments", r#"{"expression":"context.a.b()","parameters":{}}"#),
        ("role_permissions", r#"{"expression":"true","parameters":{"x":"decimal"}}"#),
    ] {
        api.database.execute(&format!("UPDATE {table} SET condition = '{text}'")).await.unwrap();
    }
    let wrong = conditions().await;
    assert_eq!(wrong["state"], "wrong");
    let seen = wrong["seen"].as_str().unwrap();
    assert!(seen.starts_with("2 of 2 do not compile here: "), "{seen}");
    assert!(seen.contains(&format!("assignment {made}: ")) && seen.contains("role Payer, action a:one: "), "{seen}");
    assert!(wrong["advice"].as_str().unwrap().contains("condition_error"), "{wrong}");
}

/// One that a later version wrote, or that was written by hand.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_condition_grants_nothing_and_blocks_no_change(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let spv = api.entity("S", "spv", None).await;
    let role = json!({"name": "Payer", "permissions": ["a:one", "b:two"], "conditions": {"a:one": limit(1)}});
    let role = id_of(&api.post("/api/v1/roles", role).await.expect(201));
    let path = format!("/api/v1/roles/{role}");
    for (at, text) in ["true", "{", r#"{"expression":"true","parameters":{"x":"decimal"}}"#].into_iter().enumerate() {
        let user = Uuid::from_u128(at as u128 + 1);
        let made = json!({"principal_id": user, "role_id": role, "condition": limit(5)});
        let made = id_of(&api.post("/api/v1/assignments", made).await.expect(201));
        for table in ["role_assignments", "role_permissions"] {
            let set = format!("UPDATE {table} SET condition = '{text}' WHERE condition IS NOT NULL");
            api.database.execute(&set).await.unwrap();
        }
        let listed = api.get("/api/v1/assignments").await.expect(200);
        let shown = listed[0]["condition"]["expression"].as_str().unwrap();
        assert_eq!(shown, format!("unreadable stored condition: {text}"));
        let question = Question::new(user, "a:one".parse().unwrap(), spv.parse().unwrap());
        // A change of the role writes the text back as it was.
        let patched = api.patch(&path, json!({"permissions": ["a:one", format!("c:{at}")]})).await.expect(200);
        assert_eq!(patched["conditions"]["a:one"]["expression"], shown);
        let kept = format!("SELECT COUNT(*) FROM role_permissions WHERE condition = '{text}'");
        assert_eq!(api.database.number(&kept).await, 1, "{text}");
        let decision = api.epr.check(&Call::default(), &question).await.unwrap();
        assert_eq!(decision.reason.code(), "condition_error", "{text}");
        // Nobody can write what stands for it.
        let written = api.patch(&path, json!({"conditions": {"a:one": {"expression": shown}}})).await;
        assert_eq!(written.field_errors(), ["body.conditions.a:one.expression: condition_invalid"]);
        assert_eq!(Cli::on(&api.database.url).run(&["export"]).await.code, 0);
        api.delete(&format!("/api/v1/assignments/{made}")).await.expect(200);
    }
}

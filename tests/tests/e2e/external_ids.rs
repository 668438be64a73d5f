//! `external_id` of entities: opaque, unique within a type, and found by every byte.

use epr_client::domain::EntityFilter;
use epr_testkit::api::{Api, id_of};
use epr_testkit::cli::Cli;
use epr_testkit::database::DatabaseKind;
use epr_testkit::process::Process;
use rstest::rstest;
use serde_json::{Value, json};

const PATH: &str = "/api/v1/entities";

fn listed(external_id: &str, types: &[&str]) -> String {
    let url = reqwest::Url::parse_with_params("http://epr.test", types.iter().map(|word| ("type", *word))).unwrap();
    let mut url = url;
    url.query_pairs_mut().append_pair("external_id", external_id);
    format!("{PATH}?{}", url.query().unwrap())
}

async fn create(api: &Api, name: &str, entity_type: &str, external_id: &str) -> Value {
    let body = json!({"name": name, "type": entity_type, "external_id": external_id});
    api.post(PATH, body).await.expect(201)
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_external_id_is_unique_within_its_type_and_found_with_it_and_without(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let spv = create(&api, "Berlin", "spv", "crm:4711").await;
    let issuer = create(&api, "Acme", "issuer", "crm:4711").await;
    assert_eq!((&spv["external_id"], &issuer["external_id"]), (&json!("crm:4711"), &json!("crm:4711")));
    let taken = json!({"detail": "Entity with external_id 'crm:4711' of type 'spv' already exists"});
    let again = json!({"name": "Köln", "type": "spv", "external_id": "crm:4711"});
    assert_eq!(api.post(PATH, again).await.expect(409), taken);
    let both = json!({"name": "Berlin", "type": "spv", "external_id": "crm:1"});
    assert_eq!(api.post(PATH, both).await.expect(409)["detail"], "Entity 'Berlin' of type 'spv' already exists");

    assert_eq!(api.get(&listed("crm:4711", &[])).await.expect(200), json!([issuer, spv]));
    assert_eq!(api.get(&listed("crm:4711", &["spv"])).await.expect(200), json!([spv]));
    assert_eq!(api.get(&listed("crm:4711", &["agent"])).await.expect(200), json!([]));

    // By a change: set, kept, taken, replaced, removed, free again.
    let other = create(&api, "Köln", "spv", "crm:2").await;
    let path = format!("{PATH}/{}", id_of(&other));
    assert_eq!(api.patch(&path, json!({"external_id": "crm:4711"})).await.expect(409), taken);
    assert_eq!(api.patch(&path, json!({"external_id": "crm:4711", "name": "Bonn"})).await.expect(409), taken);
    assert_eq!(api.get(&path).await.expect(200), other);
    assert_eq!(api.patch(&path, json!({"external_id": "crm:2"})).await.expect(200), other, "no change");
    assert_eq!(api.patch(&path, json!({"name": "Bonn"})).await.expect(200)["external_id"], "crm:2");
    assert_eq!(api.patch(&path, json!({"external_id": "crm:3"})).await.expect(200)["external_id"], "crm:3");
    let without = api.patch(&path, json!({"external_id": null})).await.expect(200);
    assert!(without.as_object().unwrap().get("external_id").is_none(), "{without}");
    create(&api, "Mainz", "spv", "crm:3").await;

    // The ledger has each of them, and nothing about entities without one.
    let entries = api.get("/api/v1/audit/entries?entity_type=spv&order=asc").await.expect(200);
    let of = |action: &str| {
        let entries = entries.as_array().unwrap().iter().filter(|entry| entry["action"] == action);
        entries.map(|entry| entry["details"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(of("entity.create")[0]["external_id"], "crm:4711");
    let changes: Vec<_> = of("entity.update").iter().map(|details| details["changes"].clone()).collect();
    assert_eq!(changes, [json!({"name": "Bonn"}), json!({"external_id": "crm:3"}), json!({"external_id": null})]);
    // An archived entity keeps its external id, and is not listed.
    api.post(&format!("{PATH}/{}/archive", id_of(&spv)), json!({})).await.expect(200);
    assert_eq!(api.get(&listed("crm:4711", &["spv"])).await.expect(200), json!([]));
    assert_eq!(
        api.post(PATH, json!({"name": "New", "type": "spv", "external_id": "crm:4711"})).await.expect(409),
        taken
    );
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_external_id_is_compared_byte_for_byte(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    // The same to a person, or to some collation; a LIKE pattern; quotes; the longest one.
    let long = "ü".repeat(512);
    let different = [
        "a",
        "A",
        "ä",
        "a\u{308}",
        "a ",
        " a",
        "a%",
        "a_",
        "a'",
        "a\\",
        "\u{1F600}",
        "a\n",
        "ａ",
        "null",
        "0",
        "00",
        &long,
    ];
    for (n, external_id) in different.iter().enumerate() {
        let made = create(&api, &format!("Entity {n}"), "spv", external_id).await;
        assert_eq!(made["external_id"], *external_id);
        assert_eq!(api.get(&format!("{PATH}/{}", id_of(&made))).await.expect(200), made);
    }
    for (n, external_id) in different.iter().enumerate() {
        let found = api.get(&listed(external_id, &[])).await.expect(200);
        assert_eq!((found.as_array().unwrap().len(), &found[0]["name"]), (1, &json!(format!("Entity {n}"))));
        let body = json!({"name": "Other", "type": "spv", "external_id": external_id});
        api.post(PATH, body).await.expect(409);
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_external_id_is_refused(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let entity = create(&api, "Berlin", "spv", "crm:1").await;
    let path = format!("{PATH}/{}", id_of(&entity));
    let (empty, nul, long) = (json!(""), json!("a\0b"), json!("ü".repeat(513)));
    for (value, kind) in [
        (empty, "string_too_short"),
        (nul, "string_nul"),
        (long, "string_too_long"),
        (json!(4711), "string_type"),
        (json!(["a"]), "string_type"),
        (json!({}), "string_type"),
    ] {
        let body = json!({"name": "", "type": "spv", "external_id": value});
        let errors = api.post(PATH, body).await.field_errors();
        assert_eq!(errors, ["body.name: string_too_short".to_owned(), format!("body.external_id: {kind}")], "{value}");
        let errors = api.patch(&path, json!({"external_id": value})).await.field_errors();
        assert_eq!(errors, [format!("body.external_id: {kind}")], "{value}");
    }
    let errors = api.get(&listed(&"x".repeat(1025), &[])).await.field_errors();
    assert_eq!(errors, ["query.external_id: string_too_long"]);
    let errors = api.get(&listed("a\0", &[])).await.field_errors();
    assert_eq!(errors, ["query.external_id: string_nul"]);
    let twice = api.get(&format!("{PATH}?external_id=a&external_id=b")).await.field_errors();
    assert_eq!(twice, ["query.external_id: string_type"]);
    let all = api.get(&format!("{PATH}?external_id=")).await.expect(200);
    assert_eq!(all, json!([entity]), "an empty filter is an absent one");
    let said = api.post(PATH, json!({"name": "X", "type": "spv", "externalid": "a"})).await.expect(400);
    assert!(said.to_string().contains("did you mean `external_id`?"), "{said}");
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_the_same_external_id_at_once_exactly_one_wins(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    for round in 0..5 {
        let external_id = format!("crm:{round}");
        let created = (0..12).map(|n| {
            let body = json!({"name": format!("Entity {round} {n}"), "type": "spv", "external_id": external_id});
            api.post(PATH, body)
        });
        let answers = futures_util::future::join_all(created).await;
        let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [&[201][..], &[409; 11]].concat(), "round {round}");
        let refused = answers.into_iter().find(|answer| answer.status.as_u16() == 409).unwrap().expect(409);
        let sentence = format!("Entity with external_id '{external_id}' of type 'spv' already exists");
        assert_eq!(refused["detail"], sentence);
        // The same by changes.
        let free = create(&api, &format!("Free {round} 1"), "agent", &format!("free {round} 1")).await;
        let also = create(&api, &format!("Free {round} 2"), "agent", &format!("free {round} 2")).await;
        let changed = [free, also].map(|entity| {
            let path = format!("{PATH}/{}", id_of(&entity));
            let (api, external_id) = (&api, external_id.clone());
            async move { api.patch(&path, json!({"external_id": external_id})).await.status.as_u16() }
        });
        let mut statuses = futures_util::future::join_all(changed).await;
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "round {round}");
    }
    let entities = api.client().await.entities(&EntityFilter::default()).all().await.unwrap();
    assert_eq!(entities.len(), 15);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_sets_finds_and_removes_external_ids(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &api.database.url)]).await;
    for (at, cli) in [("db", Cli::on(&api.database.url)), ("api", Cli::over(&base))] {
        let (name, external_id) = (format!("Berlin {at}"), format!("crm:{at}"));
        let made = cli.ok(&["entities", "create", "spv", &name, "--external-id", &external_id]).await;
        assert!(made.contains(&format!("external id  {external_id}")), "{made}");
        assert!(cli.ok(&["entities", "list", "--external-id", &external_id]).await.contains(&name));
        let taken = cli.run(&["entities", "create", "spv", "Other", "--external-id", &external_id]).await;
        assert!(taken.code == 2 && taken.err.contains(&format!("external_id '{external_id}'")), "{taken:?}");
        let entity = format!("spv:{name}");
        cli.ok(&["entities", "update", &entity, "--external-id", "crm:new"]).await;
        let shown = cli.ok(&["entities", "show", &entity]).await;
        assert!(shown.contains("crm:new"), "{shown}");
        let shown = cli.ok(&["entities", "update", &entity, "--no-external-id"]).await;
        assert!(!shown.contains("external id"), "{shown}");
        let wrong = cli.run(&["entities", "update", &entity, "--external-id", ""]).await;
        assert!(wrong.code == 2 && wrong.err.contains("at least 1 character"), "{wrong:?}");
        let both = cli.run(&["entities", "update", &entity, "--external-id", "x", "--no-external-id"]).await;
        assert_eq!(both.code, 2, "{both:?}");
    }
    drop(process);
}

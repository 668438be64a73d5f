//! `epr export` and `epr import`: there and back, to another installation, dry, twice, flawed, and interrupted.

use std::path::Path;

use epr_testkit::api::Api;
use epr_testkit::cli::{Cli, CliOutput};
use epr_testkit::database::{Database, DatabaseKind, LOCK_WAITERS};
use epr_testkit::process::{Process, epr, program};
use rstest::rstest;
use serde_json::{Value, json};

const ADA: &str = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a01";

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

/// Roles and assignments, without what differs from installation to installation.
async fn content(cli: &Cli) -> Vec<Value> {
    let mut rows: Vec<Value> =
        cli.ok(&["export"]).await.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for row in &mut rows {
        row.as_object_mut().unwrap().remove("entity_id");
    }
    rows.sort_by_key(ToString::to_string);
    rows
}

fn summary(output: &CliOutput) -> Value {
    serde_json::from_str(output.out.lines().last().unwrap()).unwrap()
}

/// Content that is hard to transfer: formulas, separators, quotes, line ends, an empty description, every kind of
/// window.
async fn hard_world(cli: &Cli) {
    cli.ok(&["seed"]).await;
    cli.ok(&["entities", "create", "spv", "A \"quoted\", name; with\nlines"]).await;
    let hard = [
        "roles",
        "create",
        "=HYPERLINK(\"x\")",
        "--description",
        "",
        "--action",
        "a;b",
        "--action",
        "@sum",
        "--for",
        "spv",
    ];
    cli.ok(&hard).await;
    cli.ok(&["roles", "create", "'quoted"]).await;
    let on = "spv:A \"quoted\", name; with\nlines";
    cli.ok(&["assignments", "create", ADA, "=HYPERLINK(\"x\")", "--on", on, "--principal-type=-service"]).await;
    cli.ok(&["assignments", "create", ADA, "'quoted", "--everywhere", "--from", "2999-01-01T00:00:00Z"]).await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_is_imported_unchanged_in_both_formats(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let folder = tempfile::tempdir().unwrap();
    let here = Cli::on(&api.database.url);
    hard_world(&here).await;
    let before = api.database.number("SELECT MAX(sequence) FROM audit_logs").await;
    for name in ["all.csv", "all.json"] {
        let file = path(folder.path(), name);
        here.ok(&["export", "--output", &file]).await;
        let output = here.run(&["import", &file, "--json"]).await;
        let same = json!({"created": 0, "changed": 0, "unchanged": 5});
        assert_eq!(summary(&output), json!({"done": true, "roles": same, "assignments": same}), "{output:?}");
        assert_eq!(
            std::fs::read_dir(folder.path())
                .unwrap()
                .filter(|entry| entry.as_ref().unwrap().path().extension() == Some("part".as_ref()))
                .count(),
            0
        );
    }
    assert_eq!(
        api.database.number("SELECT MAX(sequence) FROM audit_logs").await,
        before,
        "nothing changed, nothing recorded"
    );

    // Into another installation, on the other database, whose entities have other ids.
    for (name, kind) in [("all.csv", DatabaseKind::Sqlite), ("all.json", DatabaseKind::Postgres)] {
        let database = Database::create(kind).await;
        let there = Cli::on(&database.url);
        there.ok(&["migrate"]).await;
        let file = path(folder.path(), name);
        let output = there.run(&["import", &file]).await;
        assert!(
            output.code == 2 && output.err.contains(": entity_name: there is no issuer:Acme Estates"),
            "{output:?}"
        );
        assert!(output.err.ends_with("epr: 3 errors in the file; nothing was changed.\n"), "{output:?}");
        assert_eq!(database.number("SELECT COUNT(*) FROM roles").await, 0);
        for (entity_type, name) in
            [("issuer", "Acme Estates"), ("spv", "Berlin One"), ("spv", "A \"quoted\", name; with\nlines")]
        {
            there.ok(&["entities", "create", entity_type, name]).await;
        }
        there.ok(&["import", &file]).await;
        assert_eq!(content(&there).await, content(&here).await);
        assert_eq!(epr(&database.url, &["audit", "verify"]).await.1, "The chain holds: 13 entries, 1 to 13.\n");
        assert_eq!(
            database.number("SELECT COUNT(*) FROM platform_events WHERE event_type = 'role.assignment.changed'").await,
            5
        );
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_shows_the_difference_and_the_run_makes_it(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let folder = tempfile::tempdir().unwrap();
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &api.database.url)]).await;
    // Both ways run the same import; the second finds the changes of the first and reverts them.
    for (turn, cli) in [Cli::on(&api.database.url), Cli::over(&base)].iter().enumerate() {
        cli.ok(&["seed"]).await;
        let file = path(folder.path(), "changed.csv");
        cli.ok(&["export", "--output", &file]).await;
        let text = std::fs::read_to_string(&file).unwrap();
        let (end, role) = (format!("299{turn}-01-01T00:00:00.000000Z"), format!("New {turn}"));
        let text: String = text
            .lines()
            .map(|line| match line {
                line if line.starts_with("role,SPV manager") => {
                    line.replace(["document:archive", "document:sign0"][turn], &format!("document:sign{turn}")) + "\n"
                }
                line if line.contains(",SPV manager,") => {
                    let cut = line.rfind(',').unwrap();
                    format!("{},{end}\n", &line[..cut])
                }
                line => format!("{line}\n"),
            })
            .collect();
        std::fs::write(
            &file,
            format!("{text}role,{role},,,,a:b,,,,,,,,\nassignment,,,,,,{ADA},,{role},everywhere,,,,\n"),
        )
        .unwrap();
        let before = content(cli).await;
        let dry = cli.run(&["import", &file, "--dry-run"]).await;
        assert_eq!(dry.code, 0, "{dry:?}");
        for part in [
            format!("+ role {role}\n    actions: a:b\n    for: every type\n"),
            "~ role SPV manager\n".into(),
            format!("    action + document:sign{turn}\n"),
            "~ SPV manager on spv:Berlin One\n".into(),
            format!(" -> {end}\n"),
            format!("+ {role} everywhere\n    held by user {ADA}\n    from now, ends: never\n"),
            "Planned: 1 role created, 1 changed, ".into(),
            "; 1 assignment created, 1 changed, ".into(),
            "Dry run: nothing was changed.\n".into(),
        ] {
            assert!(dry.out.contains(&part), "{part} is not in {}", dry.out);
        }
        assert_eq!(content(cli).await, before);
        let changes = cli.json(&["import", &file, "--dry-run"]).await;
        assert_eq!(changes.len(), 5, "four changes and the summary: {changes:?}");
        assert_eq!((&changes[0]["change"], &changes[4]["dry_run"]), (&json!("create"), &json!(true)));
        let done = cli.run(&["import", &file, "--json"]).await;
        let tally = summary(&done);
        assert_eq!((&tally["roles"]["created"], &tally["roles"]["changed"]), (&json!(1), &json!(1)), "{done:?}");
        assert_eq!(
            (&tally["assignments"]["created"], &tally["assignments"]["changed"]),
            (&json!(1), &json!(1)),
            "{done:?}"
        );
        assert!(cli.ok(&["assignments", "list"]).await.contains(&format!("until 299{turn}-01-01 00:00 UTC")));
        let again = summary(&cli.run(&["import", &file, "--json"]).await);
        assert_eq!((&again["roles"]["changed"], &again["assignments"]["changed"]), (&json!(0), &json!(0)));
    }
    assert_eq!(epr(&api.database.url, &["audit", "verify"]).await.0, 0);
    process.terminate().await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flaws_are_named_by_file_line_and_field_and_nothing_is_changed(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let folder = tempfile::tempdir().unwrap();
    let cli = Cli::on(&api.database.url);
    cli.ok(&["seed"]).await;
    let before = content(&cli).await;
    let try_out = async |name: &str, text: &str| {
        let file = path(folder.path(), name);
        std::fs::write(&file, text).unwrap();
        let output = cli.run(&["import", &file]).await;
        assert_eq!((output.code, output.out.as_str()), (2, ""), "{output:?}");
        output.err.replace(&file, name)
    };
    let csv = format!(
        "kind,name,description,scope_types,is_system,permissions,principal_id,principal_type,role,\
         entity_type,entity_name,entity_id,effective_at,expires_at\n\
             role,ab,,ship,maybe,x,,,,,,,,\n\
             role,\"two\nlines\",,,,a:b,,,,,,,,\n\
             assignment,,,,,,{ADA},,Document reader,,,,,\n\
             assignment,,,,,,{ADA},,Nobody,everywhere,,,,\n\
             assignment,,,,,,{ADA},,SPV manager,issuer,Nordhaus,,,\n\
             assignment,,,,,,{ADA},,Document reader,everywhere,,,2020-01-02T00:00:00Z,2020-01-01T00:00:00Z\n\
             assignment,,,,,,{ADA},,Document reader,everywhere,,,,\n\
             assignment,,,,,,{ADA},user,Document reader,everywhere,,,,\n"
    );
    assert_eq!(
        try_out("flawed.csv", &csv).await,
        "flawed.csv:2: name: String should have at least 3 characters; scope_types.0: Input should be one of 'issuer', \
         'spv', 'offering', 'investor', 'agent', 'other'; is_system: Input should be true or false; \
         permissions.0: String should have at least 3 characters\n\
             flawed.csv:5: entity_type: give entity_type and entity_name, or entity_id, or `everywhere` as \
             entity_type\n\
             flawed.csv:6: role: there is no role named `Nobody`, here or in the file\n\
             flawed.csv:7: role: `SPV manager` is not meant for entities of type issuer\n\
             flawed.csv:8: expires_at: it should be after effective_at\n\
             flawed.csv:10: duplicate of line 9\n\
             epr: 6 errors in the file; nothing was changed.\n"
    );
    let unknown = try_out(
        "flawed.json",
        "{\"kind\": \"role\", \"name\": \"Abc\", \"permissions\": [], \"expires\": 1}\nnonsense\n",
    )
    .await;
    assert!(
        unknown.starts_with(
            "flawed.json:1: expires: This field is unknown or cannot be changed\nflawed.json:2: not a JSON object"
        ),
        "{unknown}"
    );
    let id = cli.json(&["entities", "show", "spv:Berlin One"]).await[0]["id"].clone();
    let twice = [
        json!({"entity_id": id}),
        json!({"entity_type": "spv", "entity_name": "Berlin One", "expires_at": "2999-01-01T00:00:00Z"}),
    ];
    let twice = twice.map(|mut record| {
        let rest = json!({"kind": "assignment", "principal_id": ADA, "role": "Document reader"});
        record.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        record.to_string()
    });
    assert!(try_out("twice.json", &twice.join("\n")).await.starts_with("twice.json:2: duplicate of line 1\n"));
    assert!(try_out("semicolons.csv", "kind;name\n").await.contains("separate the columns by commas"));
    assert!(try_out("typo.csv", "kind,nmae\n").await.contains("`nmae` is not a column"));
    assert_eq!(content(&cli).await, before);
    assert_eq!(api.database.number("SELECT COUNT(*) FROM audit_logs WHERE action LIKE 'role%'").await, 6);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_stops_reports_its_changes_and_can_be_resumed(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let folder = tempfile::tempdir().unwrap();
    let cli = Cli::on(&api.database.url);
    let file = path(folder.path(), "many.json");
    let line = |n: usize| {
        let principal = format!("00000000-0000-4000-8000-{n:012}");
        json!({"kind": "assignment", "principal_id": principal, "role": "Reader", "entity_type": "everywhere"})
            .to_string()
    };
    let lines: Vec<_> = std::iter::once(json!({"kind": "role", "name": "Reader", "permissions": ["a:b"]}).to_string())
        .chain((1..=500).map(line))
        .collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    // The database refuses one of them, in the second batch of two hundred.
    let refuse = match api.database.kind {
        DatabaseKind::Postgres => {
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not this one'; END \
             $$; \
                 CREATE TRIGGER refuse BEFORE INSERT ON role_assignments FOR EACH ROW \
                 WHEN (NEW.principal_id = '00000000-0000-4000-8000-000000000300') EXECUTE FUNCTION refuse()"
        }
        DatabaseKind::Sqlite => {
            "CREATE TRIGGER refuse BEFORE INSERT ON role_assignments \
                 WHEN NEW.principal_id = '00000000-0000-4000-8000-000000000300' BEGIN SELECT RAISE(ABORT, 'not this \
                 one'); END"
        }
    };
    api.database.execute(refuse).await.unwrap();
    let output = cli.run(&["import", &file]).await;
    assert_eq!(output.code, 2, "{output:?}");
    assert!(
        output.err.contains(&format!("epr: stopped at {file}:301: ")) && output.err.contains("not this one"),
        "{output:?}"
    );
    assert!(
        output.err.contains(
            "Done before: 1 role created, 0 changed, 0 unchanged; 200 assignments created, 0 changed, 0 unchanged.\n"
        ),
        "{output:?}"
    );
    assert!(
        output.err.ends_with("Nothing after that was changed. Run the same import again to continue.\n"),
        "{output:?}"
    );
    assert_eq!(
        api.database.number("SELECT COUNT(*) FROM role_assignments").await,
        200,
        "the second batch is undone, all of it"
    );
    assert_eq!(api.database.number("SELECT COUNT(*) FROM audit_logs").await, 201);
    let drop = if api.database.kind == DatabaseKind::Postgres {
        "DROP TRIGGER refuse ON role_assignments"
    } else {
        "DROP TRIGGER refuse"
    };
    api.database.execute(drop).await.unwrap();
    let report = summary(&cli.run(&["import", &file, "--json"]).await);
    assert_eq!(report["assignments"], json!({"created": 300, "changed": 0, "unchanged": 200}));
    assert_eq!(epr(&api.database.url, &["audit", "verify"]).await.1, "The chain holds: 501 entries, 1 to 501.\n");
}

#[tokio::test]
async fn an_interrupted_import_finishes_its_transaction_and_reports_its_position() {
    use sqlx::Connection as _;
    let (folder, database) = (tempfile::tempdir().unwrap(), Database::create(DatabaseKind::Postgres).await);
    let cli = Cli::on(&database.url);
    cli.ok(&["migrate"]).await;
    cli.ok(&["roles", "create", "Reader"]).await;
    let file = path(folder.path(), "many.json");
    let lines: Vec<_> = (1..=500)
        .map(|n| {
            let principal = format!("00000000-0000-4000-8000-{n:012}");
            json!({"kind": "assignment", "principal_id": principal, "role": "Reader", "entity_type": "everywhere"})
                .to_string()
        })
        .collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    // The first batch waits for this lock; the signal comes while it does.
    let mut conn = sqlx::PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE role_assignments IN EXCLUSIVE MODE").execute(&mut conn).await.unwrap();
    let child = tokio::process::Command::new(program("epr"))
        .env_clear()
        .env("EPR_DATABASE_URL", &database.url)
        .args(["import", &file])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    database.until(LOCK_WAITERS, 1).await;
    let kill = format!("kill -INT {}", child.id().unwrap());
    assert!(tokio::process::Command::new("/bin/sh").args(["-c", &kill]).status().await.unwrap().success());
    sqlx::raw_sql("COMMIT").execute(&mut conn).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.starts_with("epr: stopped: interrupted\nDone before: "), "{stderr}");
    assert!(stderr.contains("; 200 assignments created, 0 changed, "), "{stderr}");
    assert_eq!(database.number("SELECT COUNT(*) FROM role_assignments").await, 200);
    cli.ok(&["import", &file]).await;
    assert_eq!(database.number("SELECT COUNT(*) FROM role_assignments").await, 500);
}

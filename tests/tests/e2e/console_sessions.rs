//! The console's visitors: login, sessions, forms, headers, and who gets in without authentication.

use axum::body::Body;
use axum::http::Request;
use epr_testkit::api::Api;
use epr_testkit::browser::{Browser, form_token};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::Process;
use rstest::rstest;
use serde_json::json;

use crate::console_world::{AUDITOR, World, credential};

const SESSION: &str = "__Host-epr-console";

#[tokio::test]
async fn a_token_opens_a_session_and_logging_out_ends_it() {
    let world = World::new(DatabaseKind::Sqlite).await;
    let browser = Browser::new(&world.base);
    let guest = browser.get("/console/roles").await;
    assert_eq!((guest.status, guest.location()), (303, "/console/login?to=%2Fconsole%2Froles"));
    let wrong = browser.log_in("epr_not-a-token").await;
    assert_eq!(wrong.status, 401);
    assert!(wrong.body.contains("The token is not valid") && !wrong.body.contains("not-a-token"));
    let entered = browser.log_in(&world.auditor).await;
    assert_eq!((entered.status, entered.location()), (303, "/console"));
    let cookie = entered.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
    let cookie = cookie.into_iter().find(|cookie| cookie.starts_with(SESSION)).expect("a session");
    for attribute in ["; Path=/", "; Secure", "; HttpOnly", "; SameSite=Strict"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains("Domain") && !cookie.contains(&world.auditor));
    let home = browser.get("/console").await.expect(200);
    assert!(home.contains("auditor"));
    let id = browser.cookie(SESSION).unwrap();
    assert_eq!(browser.post("/console/logout", &[("form_token", &form_token(&home))]).await.status, 303);
    let stolen = format!("{SESSION}={id}");
    assert_eq!(browser.get_with("/console", &[("cookie", &stolen)]).await.status, 303, "the session has ended");
}

#[tokio::test]
async fn logging_out_everywhere_ends_every_session_of_the_caller_and_no_other() {
    let world = World::new(DatabaseKind::Sqlite).await;
    let (one, two) = (world.browser(&world.auditor).await, world.browser(&world.auditor).await);
    let other = world.browser(&world.reader).await;
    let home = one.get("/console").await.expect(200);
    assert_eq!(one.post("/console/logout-everywhere", &[("form_token", &form_token(&home))]).await.status, 303);
    assert_eq!((two.get("/console").await.status, other.get("/console").await.status), (303, 200));
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn a_session_belongs_to_the_deployment_and_not_to_a_process(#[case] kind: DatabaseKind) {
    let world = World::new(kind).await;
    let browser = world.browser(&world.auditor).await;
    let (other_process, other_base) = world.another_process().await;
    let elsewhere = browser.at(&other_base);
    let home = elsewhere.get("/console").await.expect(200);
    assert!(home.contains("auditor"));
    assert_eq!(form_token(&home), form_token(&browser.get("/console").await.expect(200)));
    // A restart ends no session.
    world.process.signal("KILL").await;
    let (_process, base) = world.another_process().await;
    let (here, reader) = (browser.at(&base), Browser::new(&base));
    assert_eq!(here.get("/console").await.status, 200);
    assert_eq!(reader.log_in(&world.reader).await.status, 303);
    // Logging out everywhere ends the sessions of the caller in all processes.
    let token = form_token(&home);
    assert_eq!(elsewhere.post("/console/logout-everywhere", &[("form_token", &token)]).await.status, 303);
    assert_eq!((here.get("/console").await.status, reader.at(&other_base).get("/console").await.status), (303, 200));
    drop(other_process);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn the_database_has_nothing_with_which_a_session_could_be_taken_over(#[case] kind: DatabaseKind) {
    let world = World::new(kind).await;
    let browser = world.browser(&world.auditor).await;
    let id = browser.cookie(SESSION).unwrap();
    let rows = "SELECT CAST(session_key AS text) || CAST(caller AS text) || CAST(sealed_credential AS text) \
                FROM browser_sessions";
    // SQLite takes bytes for text as they are, PostgreSQL as hex digits.
    let rows = if kind == DatabaseKind::Sqlite {
        rows.replace("CAST(", "hex(").replace(" AS text)", ")")
    } else {
        rows.to_owned()
    };
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let stored = world.database.texts(&rows).await.concat().to_lowercase();
    assert!(stored.len() > 150, "{stored}");
    for secret in [&id, &world.auditor, &"auditor".to_owned()] {
        assert!(!stored.contains(&hex(secret)), "{secret}");
    }
    // A row is worth nothing under another id, and a session does not become younger.
    assert_eq!(browser.get("/console").await.status, 200);
    world.database.execute("UPDATE browser_sessions SET begun_at = used_at, used_at = used_at").await.unwrap();
    assert_eq!(browser.get("/console").await.status, 200, "nothing has changed");
    let later = match kind {
        DatabaseKind::Sqlite => "'2999-01-01T00:00:00.000000Z'",
        DatabaseKind::Postgres => "used_at + interval '1 second'",
    };
    world.database.execute(&format!("UPDATE browser_sessions SET begun_at = {later}")).await.unwrap();
    assert_eq!(browser.get("/console").await.status, 303);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn an_idle_session_ends_and_its_row_is_removed(#[case] kind: DatabaseKind) {
    let world = World::new(kind).await;
    let (idle, busy) = (world.browser(&world.auditor).await, world.browser(&world.reader).await);
    let moved = match kind {
        DatabaseKind::Sqlite => {
            "UPDATE browser_sessions SET used_at = '2026-01-01T00:00:00.000000Z' \
             WHERE rowid = (SELECT MIN(rowid) FROM browser_sessions)"
        }
        DatabaseKind::Postgres => {
            "UPDATE browser_sessions SET used_at = used_at - interval '31 minutes' \
             WHERE begun_at = (SELECT MIN(begun_at) FROM browser_sessions)"
        }
    };
    world.database.execute(moved).await.unwrap();
    assert_eq!((idle.get("/console").await.status, busy.get("/console").await.status), (303, 200));
    // A process looks when it starts, and every few minutes.
    let _other = world.another_process().await;
    world.database.until("SELECT COUNT(*) FROM browser_sessions", 1).await;
    assert_eq!(busy.get("/console").await.status, 200);
}

#[tokio::test]
async fn a_page_records_that_its_session_is_used_but_not_every_page() {
    let world = World::new(DatabaseKind::Postgres).await;
    let browser = world.browser(&world.auditor).await;
    let recent = "SELECT COUNT(*) FROM browser_sessions WHERE used_at > now() - interval '30 seconds'";
    for (seconds, recorded) in [(50, 0), (70, 1)] {
        let moved = format!("UPDATE browser_sessions SET used_at = now() - interval '{seconds} seconds'");
        world.database.execute(&moved).await.unwrap();
        browser.get("/console/roles").await.expect(200);
        assert_eq!(world.database.number(recent).await, recorded, "{seconds}");
    }
}

#[tokio::test]
async fn a_revoked_token_ends_its_sessions() {
    let world = World::new(DatabaseKind::Sqlite).await;
    let browser = world.browser(&world.auditor).await;
    let (entry, _) = credential("another", &AUDITOR, &json!({}));
    let (_process, base) = world.another_process_with(&[("EPR_API_TOKENS", &json!([entry]).to_string())]).await;
    assert_eq!(browser.at(&base).get("/console").await.status, 303);
    assert_eq!(browser.get("/console").await.status, 200, "where the token is still registered");
}

#[tokio::test]
async fn a_form_without_the_token_of_its_session_changes_nothing() {
    let world = World::new(DatabaseKind::Sqlite).await;
    let (one, other) = (world.browser(&world.auditor).await, world.browser(&world.reader).await);
    let of_other = form_token(&other.get("/console").await.expect(200));
    for form in [&[][..], &[("form_token", "")], &[("form_token", "x")], &[("form_token", of_other.as_str())]] {
        assert_eq!(one.post("/console/logout", form).await.status, 403);
        assert_eq!(one.post("/console/logout-everywhere", form).await.status, 403);
    }
    assert_eq!(one.get("/console").await.status, 200, "the session is still there");
    // The login form too: another site cannot log a visitor in.
    let fresh = Browser::new(&world.base);
    let form = [("token", world.auditor.as_str()), ("form_token", "x")];
    assert_eq!(fresh.post("/console/login", &form).await.status, 403);
    assert_eq!(fresh.cookie(SESSION), None);
    // A guest's form is refused and does not lead to the login page.
    assert_eq!(fresh.post("/console/logout", &form).await.status, 403);
    let large = "x".repeat(100_000);
    assert_eq!(fresh.post("/console/login", &[("token", &large)]).await.status, 413);
}

#[tokio::test]
async fn every_response_has_the_security_headers() {
    let world = World::new(DatabaseKind::Sqlite).await;
    let browser = world.browser(&world.auditor).await;
    let home = browser.get("/console").await.expect(200);
    let style = home.split("href=\"/console/assets/").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let assets = [format!("/console/assets/{style}"), "/console/assets/console.js".to_owned()];
    let pages = ["/console", "/console/login", "/console/nowhere", "/console/entities/x", "/console/ledger/1/proof"];
    for path in pages.iter().map(|path| (*path).to_owned()).chain(assets) {
        for visitor in [&browser, &Browser::new(&world.base)] {
            let shown = visitor.get(&path).await;
            let header = |name: &str| shown.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(
                header("content-security-policy").as_deref(),
                Some(
                    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src \
                     'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
                ),
                "{path}"
            );
            assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"), "{path}");
            assert_eq!(header("referrer-policy").as_deref(), Some("same-origin"), "{path}");
            let caching = header("cache-control").unwrap();
            assert_eq!(caching == "no-store", !path.contains("/assets/"), "{path}: {caching}");
            assert_eq!(header("access-control-allow-origin"), None, "{path}");
            assert!(!shown.body.contains(" style=\"") && !shown.body.contains("<script>"), "{path}");
        }
    }
}

#[tokio::test]
async fn pages_are_german_or_english_as_the_browser_or_the_switch_says() {
    let world = World::new(DatabaseKind::Sqlite).await;
    let browser = Browser::new(&world.base);
    let german =
        browser.get_with("/console/login", &[("accept-language", "de-DE,de;q=0.9,en;q=0.5")]).await.expect(200);
    assert!(german.contains("<html lang=\"de\">") && german.contains("Anmelden"), "{german}");
    assert!(browser.get("/console/login").await.expect(200).contains("<html lang=\"en\">"));
    assert!(browser.get("/console/login?language=de").await.expect(200).contains("Anmelden"));
    assert!(browser.get("/console/login").await.expect(200).contains("Anmelden"), "the switch is kept");
    browser.log_in(&world.auditor).await;
    let page = browser.get("/console/entities?type=spv").await.expect(200);
    assert!(page.contains("Entitäten") && page.contains("/console/entities?type=spv&#38;language=en"), "{page}");
}

#[tokio::test]
async fn without_authentication_only_this_machine_gets_a_page() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let environment = [("EPR_DATABASE_URL", database.url.as_str())];
    let (_process, base) = Process::api(&environment).await;
    let browser = Browser::new(&base);
    let home = browser.get("/console").await.expect(200);
    assert!(home.contains("Needs attention"));
    assert!(browser.cookie(SESSION).is_some(), "forms have a token");
    for header in [
        ("host", "epr.test"),
        ("host", "localhost.epr.test"),
        ("x-forwarded-for", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("x-forwarded-host", "epr.test"),
        ("via", "1.1 proxy"),
    ] {
        let shown = browser.get_with("/console", &[header]).await;
        assert_eq!(shown.status, 403, "{header:?}");
        assert!(shown.body.contains("EPR_AUTH_MODE") && !shown.body.contains("Needs attention"));
    }
    // Of a connection, its other end decides; if that is not known, it is not this machine.
    let api = Api::start(DatabaseKind::Sqlite).await;
    for (peer, expected) in [
        (None, 403),
        (Some("10.0.0.1"), 403),
        (Some("::ffff:10.0.0.1"), 403),
        (Some("127.0.0.1"), 200),
        (Some("::1"), 200),
    ] {
        let mut request = Request::get("/console").header("host", "localhost").body(Body::empty()).unwrap();
        if let Some(peer) = peer {
            request.extensions_mut().insert(epr_console::Peer(peer.parse().unwrap()));
        }
        assert_eq!(api.text(request).await.0, expected, "{peer:?}");
    }
}

#[tokio::test]
async fn the_console_is_off_unless_it_is_wanted() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    for (environment, console, expected) in
        [("local", None, 200), ("local", Some("off"), 404), ("production", None, 404), ("production", Some("on"), 200)]
    {
        let mut variables = vec![
            ("EPR_DATABASE_URL", database.url.as_str()),
            ("EPR_ENVIRONMENT", environment),
            ("EPR_AUTH_MODE", "none"),
        ];
        variables.extend(console.map(|console| ("EPR_CONSOLE", console)));
        let (_process, base) = Process::api(&variables).await;
        let shown = Browser::new(&base).get("/console").await;
        assert_eq!(shown.status, expected, "{environment} {console:?}");
    }
}

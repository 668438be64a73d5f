//! Times in arguments of `epr`: fixed, as a date, and relative to now, on the database and over the API.

use epr_core::clock::{Clock as _, SystemClock};
use epr_core::domain::Timestamp;
use epr_testkit::api::Api;
use epr_testkit::cli::Cli;
use epr_testkit::database::DatabaseKind;
use epr_testkit::process::Process;
use rstest::rstest;
use serde_json::Value;

const ADA: &str = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a01";

/// Seconds from `before`, a time shortly before the command, to the time in `value`; the command took up to a minute.
fn seconds_after(before: Timestamp, value: &Value) -> i64 {
    let at = Timestamp::parse(value.as_str().unwrap()).unwrap();
    (at.unix_micros() - before.unix_micros()) / 1_000_000
}

fn is_about(expected: i64, seconds: i64) -> bool {
    (expected..expected + 60).contains(&seconds)
}

/// Every form of a time in the options of an assignment and of an explanation.
async fn times_are_understood(cli: &Cli) {
    cli.ok(&["seed"]).await;
    let assign = async |entity: &str, window: &[&str]| {
        let arguments = [&["assignments", "create", ADA, "Document reader", "--on", entity], window].concat();
        cli.json(&arguments).await.remove(0)
    };
    let before = SystemClock.now();
    let made = assign("spv:Berlin One", &["--from", "2h", "--until", "30d"]).await;
    assert!(is_about(7_200, seconds_after(before, &made["effective_at"])), "the start is in the future: {made}");
    assert!(is_about(2_592_000, seconds_after(before, &made["expires_at"])), "{made}");
    let made = assign("spv:Hamburg Two", &["--from", "-90m", "--until", "+2w"]).await;
    assert!(is_about(-5_400, seconds_after(before, &made["effective_at"])), "{made}");
    assert!(is_about(1_209_600, seconds_after(before, &made["expires_at"])), "{made}");
    let made = assign("issuer:Nordhaus", &["--from", "now", "--until", "2101-01-01"]).await;
    assert!(is_about(0, seconds_after(before, &made["effective_at"])), "{made}");
    assert_eq!(made["expires_at"], "2101-01-01T00:00:00.000000Z", "midnight UTC");

    let explain = async |at: &str| {
        let arguments = ["explain", ADA, "document:download", "issuer:Nordhaus", "--at", at, "--json"];
        let output = cli.run(&arguments).await;
        let explanation: Value = serde_json::from_str(&output.out).unwrap_or_else(|_| panic!("{output:?}"));
        (output.code, seconds_after(before, &explanation["at"]))
    };
    let (code, at) = explain("+30d").await;
    assert!(code == 0 && is_about(2_592_000, at), "{code} {at}");
    assert_eq!(explain("2101-01-01").await.0, 1, "the window excludes its end");
    assert_eq!(explain("2100-12-31").await.0, 0);

    for (arguments, sentence) in [
        (
            &["explain", ADA, "document:download", "issuer:Nordhaus", "--at", "-30d"][..],
            "no history before its first revision",
        ),
        (
            &["assignments", "create", ADA, "Document reader", "--everywhere", "--until", "soon"][..],
            "give a time such as",
        ),
        (&["assignments", "create", ADA, "Document reader", "--everywhere", "--until", "30"], "+30d or -12h (m, h, d"),
        (&["explain", ADA, "document:download", "issuer:Nordhaus", "--at", "30d"], "needs a sign: +30d is after now"),
        (&["assignments", "create", ADA, "Document reader", "--everywhere", "--until", "-1d"], "expires_at"),
    ] {
        let output = cli.run(arguments).await;
        assert!(output.code == 2 && output.err.contains(sentence), "{arguments:?}: {output:?}");
    }
    assert!(!cli.ok(&["assignments", "list"]).await.contains("user 7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a01 everywhere"));
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_are_relative_dates_or_fixed_on_the_database(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    times_are_understood(&Cli::on(&api.database.url)).await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_are_relative_dates_or_fixed_over_the_api(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &api.database.url)]).await;
    times_are_understood(&Cli::over(&base)).await;
    process.terminate().await;
}

#[tokio::test]
async fn a_token_expires_at_a_relative_time() {
    let cli = Cli::on("sqlite:///none.db");
    let before = SystemClock.now();
    let arguments = ["token", "new", "--name", "ci", "--scopes", "epr:read", "--actor", ADA, "--expires"];
    let entry = async |end: &str| cli.json(&[&arguments[..], &[end]].concat()).await.remove(0)["entry"].take();
    assert!(is_about(7_776_000, seconds_after(before, &entry("90d").await["expires_at"])));
    assert_eq!(entry("2101-01-01").await["expires_at"], "2101-01-01T00:00:00.000000Z");
    for arguments in [&["token", "new", "--help"][..], &["assignments", "create", "--help"], &["explain", "--help"]] {
        let help = cli.ok(arguments).await;
        let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("+30d is in 30 days, -30d was 30 days ago"), "{help}");
    }
}

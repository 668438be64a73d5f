//! The clock of a process, compared with the database server's.

use std::sync::Arc;

use epr_core::clock::{Clock, SystemClock};
use epr_core::domain::Timestamp;
use epr_testkit::api::Api;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::epr;
use epr_testkit::wait;
use serde_json::Value;

/// A clock that is wrong by so many microseconds.
struct WrongClock(i64);

impl Clock for WrongClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_micros(SystemClock.now().unix_micros() + self.0).unwrap()
    }
}

async fn offset(api: &Api) -> Option<f64> {
    api.get("/readyz").await.expect(200)["clock_offset_seconds"].as_f64()
}

#[tokio::test]
async fn readiness_and_metrics_show_the_offset_of_the_clock() {
    for (wrong, sign) in [(5_000_000, 1.0), (-5_000_000, -1.0)] {
        let database = Arc::new(Database::create(DatabaseKind::Postgres).await);
        let api = Api::with_clock(database, Arc::new(WrongClock(wrong))).await;
        wait::until("a measurement", async || offset(&api).await.is_some()).await;
        // Half of a round trip is added at most.
        let seconds = offset(&api).await.unwrap() * sign;
        assert!((4.0..6.0).contains(&seconds), "{seconds}");
        let metrics = api.epr.metrics_text().await;
        let line = metrics.lines().find(|line| line.starts_with("epr_clock_offset_seconds ")).unwrap();
        let shown: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!((shown * sign - seconds).abs() < 0.001, "{line}");
    }
}

#[tokio::test]
async fn a_file_has_no_clock_of_its_own() {
    let api = Api::start(DatabaseKind::Sqlite).await;
    assert_eq!(offset(&api).await, None);
    assert!(!api.epr.metrics_text().await.contains("epr_clock_offset"));
}

#[tokio::test]
async fn doctor_compares_the_clocks() {
    let database = Database::create(DatabaseKind::Postgres).await;
    database.store().await.close().await;
    let (_, out, _) = epr(&database.url, &["doctor", "--json"]).await;
    let report: Value = serde_json::from_str(&out).unwrap();
    let clock = report["findings"].as_array().unwrap().iter().find(|finding| finding["what"] == "clock").unwrap();
    assert_eq!(clock["state"], "fine", "{clock}");
    assert!(clock["seen"].as_str().unwrap().ends_with(" the database's"), "{clock}");
}

//! A database that is not there yet when a program starts: it is waited for, with the reason in the log, and not for
//! ever.

use std::time::Duration;

use epr_testkit::postgres_server::PostgresServer;
use epr_testkit::process::{Process, free_port};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_comes_up_in_steps_is_waited_for() {
    let server = PostgresServer::prepare();
    let url = format!("postgresql://late:hunter2@127.0.0.1:{}/late", server.port);
    let environment = [
        ("EPR_DATABASE_URL", url.as_str()),
        ("EPR_DATABASE_START_TIMEOUT", "600"),
        ("HOST", "127.0.0.1"),
        ("PORT", "0"),
    ];
    let mut process = Process::start("epr-api", &environment);
    assert_eq!(process.wait_for_log("database_awaited").await["extra"]["reason"], "refused");
    server.write("pg_hba.conf", "host all epr all trust\nhost all all all scram-sha-256\n");
    server.start("");
    let line = process.wait_for_log("database_awaited").await;
    // The server may say first that it is starting.
    let line =
        if line["extra"]["reason"] == "starting" { process.wait_for_log("database_awaited").await } else { line };
    assert_eq!(line["extra"]["reason"], "password");
    assert!(!format!("{:?}", process.log).contains("hunter2"));
    let admin = format!("postgres://epr@127.0.0.1:{}/postgres", server.port);
    let mut conn = <sqlx::PgConnection as sqlx::Connection>::connect(&admin).await.unwrap();
    sqlx::raw_sql("CREATE ROLE late LOGIN PASSWORD 'hunter2'").execute(&mut conn).await.unwrap();
    assert_eq!(process.wait_for_log("database_awaited").await["extra"]["reason"], "no_such_database");
    sqlx::raw_sql("CREATE DATABASE late OWNER late").execute(&mut conn).await.unwrap();
    process.wait_for_log("listening").await;
    assert_eq!(process.terminate().await.0.code(), Some(0));
}

#[tokio::test]
async fn the_wait_has_a_bound_and_ends_with_the_reason() {
    let url = format!("postgresql://epr@127.0.0.1:{}/epr", free_port());
    let process = Process::start("epr-api", &[("EPR_DATABASE_URL", &url), ("EPR_DATABASE_START_TIMEOUT", "2")]);
    let (status, log) = process.wait_for_exit().await;
    assert_eq!(status.code(), Some(1));
    assert_eq!(log.iter().filter(|line| line["message"] == "database_awaited").count(), 1, "{log:#?}");
    let last = log.last().unwrap();
    assert_eq!(last["message"], "start_failed");
    assert!(last["extra"]["error"].as_str().unwrap().contains("refused"), "{last}");
}

#[tokio::test]
async fn a_signal_ends_the_wait_at_once() {
    let url = "postgresql://epr@no-such-host.invalid/epr";
    let environment = [("EPR_DATABASE_URL", url), ("EPR_DATABASE_START_TIMEOUT", "3600")];
    let mut process = Process::start("epr-api", &environment);
    let line = process.wait_for_log("database_awaited").await;
    assert_eq!(line["extra"]["reason"], "no_such_host", "{line}");
    let ended = tokio::time::timeout(Duration::from_secs(30), process.terminate()).await.expect("an end");
    assert_eq!(ended.0.code(), Some(0));
}

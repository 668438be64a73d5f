//! Start times of the programs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use epr_testkit::process::program;
use tokio::process::Command;
use tokio::sync::Notify;

use crate::report::{Aim, Report};
use crate::scale::Scale;
use crate::server::{PROCESS_TIMEOUT, Server};

fn middle(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

pub(crate) async fn starts(scale: &Scale, database: &str, report: &mut Report) {
    let mut times = Vec::new();
    for _ in 0..scale.starts {
        times.push(Server::api(database, &[]).await.ready_after);
    }
    report.aim("API, exec to ready on a migrated PostgreSQL", middle(times), "ms", Aim::AtMost(150.0));

    let mut times = Vec::new();
    for _ in 0..scale.starts {
        times.push(function("epr-audit-lambda", database).await);
    }
    report.aim("Lambda function, exec to its first request for work", middle(times), "ms", Aim::AtMost(100.0));

    let mut times = Vec::new();
    for _ in 0..scale.starts {
        times.push(function("epr-api-lambda", database).await);
    }
    let name = "API as a Lambda function, exec to its first request for work";
    report.aim(name, middle(times), "ms", Aim::AtMost(150.0));
    if let Some(bytes) = std::env::var("EPR_BENCH_ZIP_BYTES").ok().and_then(|text| text.parse::<f64>().ok()) {
        report.aim("Lambda function, zipped", bytes / 1e6, "MB", Aim::AtMost(8.0));
    }
}

/// From the start of the function of this name until it asks its runtime for work. The runtime is a server that only
/// listens. The API has connected to the database and checked the schema by then.
async fn function(name: &str, database: &str) -> Duration {
    let asked = Arc::new(Notify::new());
    let next = {
        let asked = Arc::clone(&asked);
        get(move || async move {
            asked.notify_one();
            std::future::pending::<()>().await;
        })
    };
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let router = Router::new().route("/2018-06-01/runtime/invocation/next", next);
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let begun = Instant::now();
    let _function = Command::new(program(name))
        .env_clear()
        .envs([
            ("AWS_LAMBDA_RUNTIME_API", address.as_str()),
            ("AWS_LAMBDA_FUNCTION_NAME", "epr"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
            ("EPR_DATABASE_URL", database),
        ])
        .current_dir(std::env::temp_dir())
        .kill_on_drop(true)
        .spawn()
        .expect("the function");
    tokio::time::timeout(PROCESS_TIMEOUT, asked.notified())
        .await
        .expect("a function that asks for work within a minute");
    let taken = begun.elapsed();
    server.abort();
    taken
}

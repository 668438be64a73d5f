//! `epr-audit-worker`: settings, logging, database, queue; then work until told to stop.

#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use epr_audit_worker::{Heartbeat, Sqs, Worker, ask};
use epr_boot::{StopSignal, logging, stdio};
use epr_core::error::chain;
use epr_core::{Epr, Settings};
use tokio::sync::watch;

/// How long everything may take once a stop was asked for. Below the 20 s in which the process promises to be gone.
const STOP: Duration = Duration::from_secs(18);
/// How long connections may take to close.
const CLOSE: Duration = Duration::from_secs(3);
/// How often the worker shows that it is alive while it starts.
const BEAT: Duration = Duration::from_millis(500);
/// How long to wait before the database is tried again at start.
const DATABASE_PAUSE: Duration = Duration::from_secs(2);

const NAME: &str = "epr-audit-worker";

const HELP: &str = "\
epr-audit-worker records the audit events of an SQS queue in the ledger. Everything is set by environment variables or a .env
file: EPR_AUDIT_SQS_URL (required), EPR_DATABASE_URL, EPR_AUDIT_SQS_MAX_MESSAGES ... The README lists them all.

  --health   ask the worker that runs here how it is: exit code 0 when it is well, 1 when it is not
  --version  print the version

Exit codes: 0 stopped by a signal, 1 it could not start, 2 a setting is missing or wrong, 70 an internal error.";

fn main() -> ExitCode {
    epr_boot::program::run(worker)
}

fn worker() -> ExitCode {
    let argument = std::env::args_os().nth(1);
    let argument = argument.as_ref().map(|argument| argument.to_string_lossy());
    match argument.as_deref() {
        None | Some("--health") => {}
        Some("--help" | "-h") => {
            return stdio::print(NAME, &format!("{HELP}\n"));
        }
        Some("--version" | "-V") => {
            return stdio::print(NAME, concat!("epr-audit-worker ", env!("CARGO_PKG_VERSION"), "\n"));
        }
        Some(other) => {
            stdio::complain(&format!("epr-audit-worker takes no argument `{other}`; see epr-audit-worker --help"));
            return ExitCode::from(2);
        }
    }
    let settings = match Settings::from_env() {
        Ok(settings) => settings.without_cache(),
        Err(fault) => {
            stdio::complain(&fault.to_string());
            return ExitCode::from(2);
        }
    };
    if argument.is_some() {
        return health(settings.queue.health_port);
    }
    let Some(url) = settings.queue.url.clone() else {
        stdio::complain(
            "EPR_AUDIT_SQS_URL is not set: the worker has no queue to read. Set it, or do not start the worker",
        );
        for variable in &settings.unknown_variables {
            stdio::complain(&variable.to_string());
        }
        return ExitCode::from(2);
    };
    logging::install(&settings.logging, &settings.service.name);
    settings.warn_of_unknown_variables();
    // One thread: the ledger takes one batch at a time, and an idle worker stays small.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.map_err(Into::into).and_then(|runtime| {
        let outcome = runtime.block_on(run(&settings, &url));
        // What still hangs in a database call must not hold up the end.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            tracing::error!(target: "audit_consumer", error = chain(&*fault), "start_failed");
            ExitCode::FAILURE
        }
    }
}

fn health(port: Option<u16>) -> ExitCode {
    let told = port.ok_or_else(|| "EPR_AUDIT_HEALTH_PORT is 0: the worker does not say how it is".to_owned());
    match told.and_then(ask) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            stdio::complain(&why);
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: &Settings, url: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut signal = StopSignal::install()?;
    let (stopping, stop) = watch::channel(false);
    let asked = async {
        signal.asked().await;
        stopping.send_replace(true);
        tokio::time::sleep(STOP).await;
        tracing::warn!(target: "audit_consumer", "what is under way did not finish in time; it ends with the process");
    };
    let heartbeat = Arc::new(Heartbeat::new(settings.queue.concurrency, settings.queue.stall_after));
    let health = async {
        match settings.queue.health_port {
            Some(port) => heartbeat.listen(port).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        outcome = work(settings, url, &heartbeat, stop) => outcome,
        () = asked => Ok(()),
        () = health => Ok(()),
    }
}

async fn work(
    settings: &Settings,
    url: &str,
    heartbeat: &Arc<Heartbeat>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error>> {
    let epr = Epr::from_settings(settings).await?;
    // A sidecar that ends is not started again: a database that is away is waited for.
    loop {
        // A migration takes as long as it takes.
        let beats = async {
            loop {
                heartbeat.beat_all();
                tokio::time::sleep(BEAT).await;
            }
        };
        let started = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            started = async { epr.reach().await?; epr.start(settings.database.run_migrations).await } => started,
            () = beats => return Ok(()),
        };
        match started {
            Ok(()) => {
                epr.keep_connections_open();
                break;
            }
            Err(fault) if fault.retryable() => {
                tracing::warn!(target: "audit_consumer", error = chain(&fault), "audit_worker_waits_for_database");
            }
            Err(fault) => return Err(fault.into()),
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            () = tokio::time::sleep(DATABASE_PAUSE) => {}
        }
    }
    let queue = Sqs::new(&settings.aws, &settings.queue, url).await;
    tracing::info!(target: "audit_consumer", concurrency = settings.queue.concurrency, "audit_worker_started");
    Worker::new(epr.clone(), queue, &settings.queue, Arc::clone(heartbeat)).run(&stop).await;
    if tokio::time::timeout(CLOSE, epr.close()).await.is_err() {
        tracing::warn!(target: "audit_consumer", "the database connections could not be closed in time");
    }
    tracing::info!(target: "audit_consumer", "stopped");
    Ok(())
}

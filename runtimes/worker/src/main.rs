//! `epr-audit-worker`: the worker as a process.

#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use epr_audit_worker::{Heartbeat, Sqs, Worker};
use epr_boot::{Daemon, Program, Stopper, Threads, probe, stdio};
use epr_core::error::chain;
use epr_core::{Epr, Settings};

/// Time for everything once a stop was requested. Below the 20 s in which the process promises to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(18);
/// Time for connections to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
/// Interval of the heartbeat during the start, which may take long: a migration has no time limit.
const START_HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);
/// Time between attempts to reach the database at start.
const DATABASE_RETRY_INTERVAL: Duration = Duration::from_secs(2);

const PROGRAM: Program = Program {
    name: "epr-audit-worker",
    help: "\
epr-audit-worker records the audit events of an SQS queue in the ledger. Everything is set by environment variables or
a .env file: EPR_AUDIT_SQS_URL (required), EPR_DATABASE_URL, EPR_AUDIT_SQS_MAX_MESSAGES ... docs/SETTINGS.md lists them
all.

  --health   probe the worker that runs on this machine: exit code 0 when it is healthy, 1 when it is not
  --version  print the version

Exit codes: 0 stopped by a signal, 1 it could not start, 2 a setting is missing or wrong, 70 an internal error.",
};

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    epr_boot::program::run(program)
}

fn program() -> ExitCode {
    let argument = std::env::args_os().nth(1);
    let argument = argument.as_ref().map(|argument| argument.to_string_lossy());
    match argument.as_deref() {
        None => epr_boot::settings().map_or_else(|code| code, |settings| daemon(settings.without_cache())),
        Some("--health") => epr_boot::settings().map_or_else(|code| code, |settings| probe_health(&settings)),
        Some(other) => PROGRAM.answer(other).unwrap_or_else(|| PROGRAM.refuse(other)),
    }
}

fn probe_health(settings: &Settings) -> ExitCode {
    let port = settings.queue.health_port.ok_or("EPR_AUDIT_HEALTH_PORT is 0: the worker answers no probes".to_owned());
    probe::report(port.and_then(|port| {
        probe::probe(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).map_err(|error| error.to_string())
    }))
}

fn daemon(settings: Settings) -> ExitCode {
    let Some(url) = settings.queue.url.clone() else {
        let error = "EPR_AUDIT_SQS_URL is not set: the worker has no queue to read. Set it, or do not start the worker";
        // A misspelt variable may be the one that is missing.
        let unknown = settings.unknown_variables.iter().map(ToString::to_string);
        return stdio::misconfigured(std::iter::once(error.to_owned()).chain(unknown).collect::<Vec<_>>().join("\n"));
    };
    // One thread: the ledger takes one batch at a time, and an idle worker stays small.
    Daemon::new(settings, Threads::One)
        .run(|settings| run(settings, url), |error| tracing::error!(target: "audit_consumer", error, "start_failed"))
}

async fn run(settings: Settings, url: String) -> Outcome {
    let stop = Stopper::install()?;
    let heartbeat = Arc::new(Heartbeat::new(settings.queue.concurrency, settings.queue.stall_after));
    let health = async {
        match settings.queue.health_port {
            Some(port) => heartbeat.listen(port).await,
            None => std::future::pending().await,
        }
    };
    let work = Box::pin(async {
        tokio::select! {
            outcome = work(&settings, &url, &heartbeat, &stop) => outcome,
            () = health => Ok(()),
        }
    });
    stop.bound(STOP_TIMEOUT, work).await.unwrap_or_else(|| {
        tracing::warn!(target: "audit_consumer", "work in progress did not finish in time and ends with the process");
        Ok(())
    })
}

async fn work(settings: &Settings, url: &str, heartbeat: &Arc<Heartbeat>, stop: &Stopper) -> Outcome {
    let epr = Epr::from_settings(settings).await?;
    if !start(&epr, settings.database.run_migrations, heartbeat, stop).await? {
        return Ok(());
    }
    epr.keep_connections_open();
    let queue = Sqs::new(&settings.aws, &settings.queue, url).await;
    tracing::info!(target: "audit_consumer", concurrency = settings.queue.concurrency, "audit_worker_started");
    let signer = epr.clone();
    let (signer_stop, signer_stopped) = tokio::sync::oneshot::channel::<()>();
    let signer = tokio::spawn(async move {
        signer
            .sign_checkpoints(async {
                let _ = signer_stopped.await;
            })
            .await;
    });
    Worker::new(epr.clone(), queue, &settings.queue, Arc::clone(heartbeat)).run(stop).await;
    drop(signer_stop);
    let close = async {
        let _ = signer.await;
        epr.close().await;
    };
    if tokio::time::timeout(CLOSE_TIMEOUT, close).await.is_err() {
        tracing::warn!(target: "audit_consumer", "the database connections could not be closed in time");
    }
    tracing::info!(target: "audit_consumer", "stopped");
    Ok(())
}

/// Starts on the database, waiting for it without limit: a sidecar that ends is not started again. Returns whether it
/// has started; it has not when a stop was requested.
async fn start(epr: &Epr, migrate: bool, heartbeat: &Heartbeat, stop: &Stopper) -> Result<bool, epr_core::Error> {
    loop {
        let beats = async {
            loop {
                heartbeat.beat_all();
                tokio::time::sleep(START_HEARTBEAT_INTERVAL).await;
            }
        };
        let started = tokio::select! {
            () = stop.requested() => return Ok(false),
            started = async { epr.reach().await?; epr.start(migrate).await } => started,
            () = beats => return Ok(false),
        };
        match started {
            Ok(()) => return Ok(true),
            Err(error) if error.retryable() => {
                tracing::warn!(target: "audit_consumer", error = chain(&error), "audit_worker_waits_for_database");
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = stop.requested() => return Ok(false),
            () = tokio::time::sleep(DATABASE_RETRY_INTERVAL) => {}
        }
    }
}

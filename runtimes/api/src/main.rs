//! `epr-api`: the HTTP API as a process.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod command_line;
mod older_command;
mod unguarded;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use epr_api::{Api, Callers};
use epr_boot::{Daemon, Stopper, Threads};
use epr_core::authn::Authenticator;
use epr_core::clock::SystemClock;
use epr_core::{Epr, Settings};
use tokio::task::JoinHandle;

/// Gives memory back to the system after a burst of large bodies or answers, which the C library's allocator keeps
/// (docs/SIZING.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Time for the relay and the signer to finish their calls, and for connections to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    epr_boot::program::run(|| command_line::run_subcommand().unwrap_or_else(daemon))
}

fn daemon() -> ExitCode {
    let daemon =
        epr_boot::settings().and_then(|settings| Daemon::new(settings, Threads::PerCore).traced(epr_telemetry::start));
    match daemon {
        Ok(daemon) => daemon.run(serve, |error| tracing::error!(error, "start_failed")),
        Err(code) => code,
    }
}

async fn serve(settings: Settings) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let stop = Stopper::install()?;
    let epr = Epr::from_settings(&settings).await?;
    let authenticator = Arc::new(Authenticator::start(&settings.auth, Arc::new(SystemClock)).await?);
    if authenticator.unguarded() {
        tokio::spawn(unguarded::warn_hourly(tokio::time::sleep));
    }
    let callers = Callers { authenticator, open: settings.auth.open.clone() };
    tokio::select! {
        started = epr.start_within(settings.database.run_migrations, settings.database.start_timeout) => started?,
        () = stop.requested() => return Ok(()),
    }
    epr.keep_connections_open();
    // Beside the start, because an archive that does not answer must not delay it.
    tokio::spawn({
        let epr = epr.clone();
        async move { epr.warn_about_archive().await }
    });
    let (relay_stop, relay_stopped) = tokio::sync::oneshot::channel::<()>();
    let relay = settings.events.relay.then(|| relay(&epr, relay_stopped));
    let (signer_stop, signer_stopped) = tokio::sync::oneshot::channel::<()>();
    let signer = signer(&epr, signer_stopped);
    let api = Api::new(epr.clone(), &settings.http, callers);
    let served = epr_api::serve(api, SocketAddr::new(settings.http.host, settings.http.port), stop).await;
    drop((relay_stop, signer_stop));
    close(epr, relay.into_iter().chain([signer])).await;
    tracing::info!("stopped");
    Ok(served?)
}

/// Relays events until `stop`.
fn relay(epr: &Epr, stop: tokio::sync::oneshot::Receiver<()>) -> JoinHandle<()> {
    let epr = epr.clone();
    tokio::spawn(async move {
        epr.relay(async {
            let _ = stop.await;
        })
        .await;
    })
}

/// Signs checkpoints of the ledger until `stop`, if a key is configured.
fn signer(epr: &Epr, stop: tokio::sync::oneshot::Receiver<()>) -> JoinHandle<()> {
    let epr = epr.clone();
    tokio::spawn(async move {
        epr.sign_checkpoints(async {
            let _ = stop.await;
        })
        .await;
    })
}

async fn close(epr: Epr, tasks: impl Iterator<Item = JoinHandle<()>>) {
    let close = async {
        for task in tasks {
            let _ = task.await;
        }
        epr.close().await;
    };
    if tokio::time::timeout(CLOSE_TIMEOUT, close).await.is_err() {
        tracing::warn!("the database connections could not be closed in time");
    }
}

//! `epr-api`: settings, logging, database, HTTP; then serve until told to stop.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod command_line;
mod older_command;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use epr_api::{Api, Callers};
use epr_boot::{StopSignal, logging, stdio};
use epr_core::authn::Authenticator;
use epr_core::clock::SystemClock;
use epr_core::error::chain;
use epr_core::{Epr, Settings};
use epr_telemetry::Traces;

/// Gives memory back to the system after a burst of large bodies or answers, which the C library's allocator keeps (docs/SIZING.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the relay may take to finish its call, and connections to close.
const CLOSE: Duration = Duration::from_secs(3);

/// How often production without authentication is reported.
const WARN_EVERY: Duration = Duration::from_hours(1);

fn main() -> ExitCode {
    epr_boot::program::run(api)
}

fn api() -> ExitCode {
    if let Some(code) = command_line::obey() {
        return code;
    }
    let settings = match Settings::from_env() {
        Ok(settings) => settings,
        Err(fault) => {
            stdio::complain(&fault.to_string());
            return ExitCode::from(2);
        }
    };
    let traces = match epr_telemetry::start(&settings.service.name) {
        Ok(traces) => traces,
        Err(fault) => {
            stdio::complain(&fault.to_string());
            return ExitCode::from(2);
        }
    };
    let layer = traces.as_ref().map(Traces::layer);
    logging::install_with(&settings.logging, &settings.service.name, layer);
    settings.warn_of_unknown_variables();
    if let Err(error) = epr_api::raise_descriptor_limit() {
        tracing::warn!(error = %error, "descriptor_limit_not_raised");
    }
    let outcome =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Into::into).and_then(|runtime| {
            let outcome = runtime.block_on(run(&settings));
            // What still hangs in a database call must not hold up the end.
            runtime.shutdown_background();
            outcome
        });
    if let Some(traces) = traces {
        traces.finish();
    }
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            tracing::error!(error = chain(&*fault), "start_failed");
            ExitCode::FAILURE
        }
    }
}

/// A warning at start can be out of sight for months.
async fn warn_of_missing_authentication() {
    let mut hours = tokio::time::interval(WARN_EVERY);
    loop {
        hours.tick().await;
        let hint = "every caller that reaches this port may do everything; set EPR_AUTH_MODE, to none if this is meant";
        tracing::warn!(hint, "authentication_off");
    }
}

async fn run(settings: &Settings) -> Result<(), Box<dyn std::error::Error>> {
    let mut stop = StopSignal::install()?;
    let epr = Epr::from_settings(settings).await?;
    let authenticator = Arc::new(Authenticator::start(&settings.auth, Arc::new(SystemClock)).await?);
    if authenticator.unguarded() {
        tokio::spawn(warn_of_missing_authentication());
    }
    let callers = Callers { authenticator, open: settings.auth.open.clone() };
    tokio::select! {
        started = epr.start_within(settings.database.run_migrations, settings.database.start_timeout) => started?,
        () = stop.asked() => return Ok(()),
    }
    epr.keep_connections_open();
    let (relay_stop, relay_stopped) = tokio::sync::oneshot::channel::<()>();
    let relay = settings.events.relay.then(|| {
        let epr = epr.clone();
        tokio::spawn(async move {
            epr.relay(async {
                let _ = relay_stopped.await;
            })
            .await;
        })
    });
    let api = Api::new(epr.clone(), &settings.http, callers);
    let served = epr_api::serve(api, SocketAddr::new(settings.http.host, settings.http.port), stop).await;
    drop(relay_stop);
    let close = async {
        if let Some(relay) = relay {
            let _ = relay.await;
        }
        epr.close().await;
    };
    if tokio::time::timeout(CLOSE, close).await.is_err() {
        tracing::warn!("the database connections could not be closed in time");
    }
    tracing::info!("stopped");
    Ok(served?)
}

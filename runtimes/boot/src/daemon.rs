//! A program that works until it is stopped: from its settings to its exit code.

use std::fmt::Display;
use std::future::Future;
use std::io;
use std::process::ExitCode;

use epr_core::Settings;
use epr_core::error::chain;
use tokio::runtime::{Builder, Runtime};

use crate::logging::{self, ExtraLayer};
use crate::{descriptors, stdio};

/// The settings of a program. Errors are written to standard error, a line each, and end it with exit code 2.
///
/// # Errors
/// The exit code.
pub fn settings() -> Result<Settings, ExitCode> {
    Settings::from_env().map_err(stdio::misconfigured)
}

/// An export of traces that has started.
pub trait Traces {
    /// The layer that passes spans to the exporter.
    fn layer(&self) -> ExtraLayer;
    /// Exports what is left. Blocks, for a few seconds at most.
    fn finish(self: Box<Self>);
}

/// The threads that run the work of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// One, for work that is done one piece at a time.
    One,
    /// One for each core.
    PerCore,
}

impl Threads {
    fn runtime(self) -> io::Result<Runtime> {
        match self {
            Self::One => Builder::new_current_thread(),
            Self::PerCore => Builder::new_multi_thread(),
        }
        .enable_all()
        .build()
    }
}

/// A program with its settings, ready to run.
pub struct Daemon {
    settings: Settings,
    threads: Threads,
    traces: Option<Box<dyn Traces>>,
}

impl Daemon {
    /// A program with these settings.
    #[must_use]
    pub fn new(settings: Settings, threads: Threads) -> Self {
        Self { settings, threads, traces: None }
    }

    /// Starts to export traces under the name of the service. Before any runtime, because the exporter has a thread of
    /// its own.
    ///
    /// # Errors
    /// Exit code 2: the traces cannot be exported as the environment demands; the reason is on standard error.
    pub fn traced<T: Traces + 'static, E: Display>(
        self,
        start: impl FnOnce(&str) -> Result<Option<T>, E>,
    ) -> Result<Self, ExitCode> {
        let traces = start(&self.settings.service.name).map_err(stdio::misconfigured)?;
        Ok(Self { traces: traces.map(|traces| Box::new(traces) as Box<dyn Traces>), ..self })
    }

    /// Installs the log, starts the runtime and does `work`: exit code 0, or 1 when it fails, which `failed` logs.
    pub fn run<F, E>(self, work: impl FnOnce(Settings) -> F, failed: impl FnOnce(&str)) -> ExitCode
    where
        F: Future<Output = Result<(), E>>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Self { settings, threads, traces } = self;
        logging::install_with(&settings.logging, &settings.service.name, traces.as_ref().map(|traces| traces.layer()));
        settings.warn_of_unknown_variables();
        if let Err(error) = descriptors::raise_limit() {
            tracing::warn!(error = %error, "descriptor_limit_not_raised");
        }
        let outcome = threads.runtime().map_err(Into::into).and_then(|runtime| {
            let outcome = runtime.block_on(work(settings)).map_err(Into::into);
            // A call that hangs in the database must not delay the end.
            runtime.shutdown_background();
            outcome
        });
        if let Some(traces) = traces {
            traces.finish();
        }
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                failed(&chain(&*error));
                ExitCode::FAILURE
            }
        }
    }
}

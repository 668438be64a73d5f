//! The HTTP API as a function: an event in, a request to the routes of `epr-api`, an answer out.
//!
//! INVARIANT: nothing is in progress when an invocation ends. The process is frozen then, for seconds or hours, with
//! all that it keeps: it must never answer from memory what it knew before, nor hold a lock of the database meanwhile.
//! There is no cache, and no background task that takes a lock; a scheduled invocation does the work of the tasks.

mod answer;
mod event;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use epr_api::{Callers, Fallback, Invocations, Origin};
use epr_boot::function::{Ends, ROLLBACK_TIME, rest_time};
use epr_core::authn::Authenticator;
use epr_core::clock::SystemClock;
use epr_core::error::chain;
use epr_core::settings::HttpSettings;
use epr_core::{Epr, Settings};
use http::{Request, Response};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

pub use answer::GatewayResponse;
use answer::{MAX_BODY_BYTES, TooLarge};
use event::Event;
pub use event::UnknownEvent;

/// Time for the preparation before the first request. Lambda ends an initialization after 10 s.
const WARM_UP_TIMEOUT: Duration = Duration::from_secs(8);
/// Time for upkeep in a runtime that does not say how much there is.
const UPKEEP_TIME: Duration = Duration::from_secs(25);

/// The function, for as long as its environment lives: the connections are kept from one invocation to the next.
pub struct Function {
    epr: Epr,
    invocations: Invocations,
    authenticator: Arc<Authenticator>,
    run_migrations: bool,
    prepared: OnceCell<()>,
}

/// The answer of an invocation.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// To a request.
    Http(Box<GatewayResponse>),
    /// To the schedule.
    Upkeep,
}

impl Function {
    /// A function that has connected to nothing yet. The settings of the cache have no effect.
    ///
    /// # Errors
    /// The settings cannot be used.
    pub async fn new(settings: &Settings) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let settings = settings.clone().without_cache();
        let epr = Epr::from_settings(&settings).await?;
        let authenticator = Arc::new(Authenticator::start(&settings.auth, Arc::new(SystemClock)).await?);
        if authenticator.unguarded() {
            let hint = "every caller that reaches this function may do everything; set EPR_AUTH_MODE, to none if this \
                        is intended";
            warn!(hint, "authentication_off");
        }
        let callers = Callers { authenticator: Arc::clone(&authenticator), open: settings.auth.open.clone() };
        // Never to a standby, and away from a server after another one has taken over.
        epr.keep_connections_open();
        Ok(Self { run_migrations: settings.database.run_migrations, ..Self::over(epr, &settings.http, callers) })
    }

    /// A function over `epr`, which has been started or prepared.
    #[must_use]
    pub fn over(epr: Epr, settings: &HttpSettings, callers: Callers) -> Self {
        let authenticator = Arc::clone(&callers.authenticator);
        let invocations = Invocations::new(epr.clone(), settings, callers);
        Self { epr, invocations, authenticator, run_migrations: false, prepared: OnceCell::new() }
    }

    /// Does what would otherwise delay the first request, before which the process may be frozen. Failures are left to
    /// it.
    pub async fn warm_up(&self) {
        let work = async {
            if let Err(error) = self.prepare().await {
                warn!(error = chain(&error), "function_not_prepared");
            }
            self.authenticator.refresh_outdated().await;
        };
        if timeout(WARM_UP_TIMEOUT, work).await.is_err() {
            warn!("function_not_prepared");
        }
        self.epr.rest(rest_time(None)).await;
    }

    async fn prepare(&self) -> Result<(), epr_core::Error> {
        self.prepared.get_or_try_init(|| self.epr.prepare(self.run_migrations)).await.copied()
    }

    /// Handles the event of the invocation with this id, until `deadline` (milliseconds since 1970) is near.
    ///
    /// # Errors
    /// The event is none that the function handles, or upkeep could not be done.
    pub async fn handle(&self, event: Value, invocation: &str, deadline: u64) -> Result<Answer, Failed> {
        let ends = Ends::of(deadline, self.epr.now());
        let end = ends.map(|ends| Instant::from_std(ends.work));
        let answer = match Event::read(event, invocation)? {
            Event::Upkeep => {
                let end = end.unwrap_or_else(|| Instant::now() + UPKEEP_TIME);
                self.run_upkeep(end).await.map(|()| Answer::Upkeep)
            }
            Event::Http(http) => {
                let (request, origin) = *http;
                Ok(Answer::Http(Box::new(self.answer(request, origin, end).await)))
            }
            Event::Refused(problem) => {
                let response = Fallback::unreadable(invocation, &problem.to_string());
                Ok(Answer::Http(Box::new(answer::answer(&response).unwrap_or_default())))
            }
        };
        self.epr.rest(rest_time(ends)).await;
        answer
    }

    async fn answer(&self, request: Request<Bytes>, origin: Origin, end: Option<Instant>) -> GatewayResponse {
        let fallback = Fallback::of(&request, &origin);
        let request_id = fallback.request_id();
        let Some(response) = within(end, Box::pin(self.respond(request, origin))).await else {
            warn!(request_id, "function_out_of_time");
            self.release().await;
            return answer::answer(&fallback.timed_out()).unwrap_or_default();
        };
        if within(end, self.invocations.settle()).await.is_none() {
            self.release().await;
        }
        answer::answer(&response).unwrap_or_else(|TooLarge(bytes)| {
            warn!(request_id, bytes, limit = MAX_BODY_BYTES, "answer_too_large");
            answer::answer(&fallback.too_large(bytes, MAX_BODY_BYTES)).unwrap_or_default()
        })
    }

    async fn respond(&self, request: Request<Bytes>, origin: Origin) -> Response<Bytes> {
        if Invocations::needs_database(request.uri()) {
            if let Err(error) = self.prepare().await {
                let fallback = Fallback::of(&request, &origin);
                warn!(request_id = fallback.request_id(), error = chain(&error), "function_not_prepared");
                return fallback.refused(&error);
            }
            // Only a credential can need the keys of its issuer, for which the request may have to wait.
            if request.headers().contains_key(http::header::AUTHORIZATION) {
                self.authenticator.refresh_outdated().await;
            }
        }
        self.invocations.call(request, origin).await
    }

    /// Ends what is in progress: the environment is frozen after the answer, and would keep the ledger's lock. Entries
    /// that were cut off may be committed nevertheless.
    async fn release(&self) {
        self.epr.abandon().await;
        tokio::time::sleep(ROLLBACK_TIME).await;
    }

    async fn run_upkeep(&self, end: Instant) -> Result<(), Failed> {
        self.prepare().await.map_err(|error| Failed::NotPrepared(error.into()))?;
        // No step begins in the second half, so that the last one has as much time as all before it.
        let left = end.saturating_duration_since(Instant::now());
        if timeout_at(end, Box::pin(self.epr.run_upkeep(Instant::now() + left / 2))).await.is_err() {
            self.release().await;
            return Err(Failed::OutOfTime);
        }
        info!("upkeep_done");
        Ok(())
    }
}

/// Why an invocation has no answer: Lambda counts it as an error, of which the stack has an alarm.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The event is of another kind.
    #[error(transparent)]
    Unknown(#[from] UnknownEvent),
    /// Upkeep has not begun.
    #[error("upkeep could not begin")]
    NotPrepared(#[source] Box<epr_core::Error>),
    /// Upkeep was cut off.
    #[error("upkeep did not end within the time of the invocation")]
    OutOfTime,
}

/// The result of `work`; `None` when `end` is earlier.
async fn within<T>(end: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match end {
        None => Some(work.await),
        Some(end) => timeout_at(end, work).await.ok(),
    }
}

#[cfg(test)]
mod tests;

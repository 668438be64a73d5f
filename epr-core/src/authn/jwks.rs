//! The issuer's keys in memory: fetched at start, refreshed, and fetched again when a token names an unknown one.
//!
//! One task does all fetching, so that one call serves any number of waiting requests. The keys of the last valid
//! answer are used for a bounded time while the issuer is unavailable.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::issuer_http::{FetchError, IssuerClient, IssuerUrl, MAX_DOCUMENT_BYTES};
use super::jwk::{KeySet, KeySetError};
use crate::clock::{Clock, SystemRandom};
use crate::domain::Timestamp;
use crate::engine::backoff::{Backoff, Jitter};
use crate::error::chain;
use crate::settings::KeySource;

/// Interval at which files of tokens and keys are read again.
pub(super) const FILE_INTERVAL: Duration = Duration::from_secs(10);
/// Interval of refreshes. A key that the issuer has withdrawn is accepted no longer than this.
const REFRESH_INTERVAL: Duration = Duration::from_mins(5);
/// The delay between attempts while they fail.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1), Jitter::None);
/// Least time between an attempt and one that a token with an unknown key causes, in microseconds: any caller can send
/// such a token.
const MIN_REQUESTED_INTERVAL: i64 = 30_000_000;
/// Time for which a request waits for an attempt. Longer than an attempt takes.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads the keys from their source.
pub(super) enum KeyReader {
    Http(IssuerClient, IssuerUrl),
    File(PathBuf),
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the file of keys cannot be read")]
    File(#[from] std::io::Error),
    #[error("the issuer's keys cannot be used")]
    Keys(#[from] KeySetError),
}

impl KeyReader {
    /// A reader of `source`.
    pub(super) fn new(source: &KeySource) -> Result<Self, FetchError> {
        Ok(match source {
            KeySource::Url(url) => Self::Http(IssuerClient::new()?, url.clone()),
            KeySource::File(path) => Self::File(path.clone()),
        })
    }

    /// The time between two successful reads.
    fn interval(&self) -> Duration {
        match self {
            Self::Http(..) => REFRESH_INTERVAL,
            Self::File(_) => FILE_INTERVAL,
        }
    }

    async fn read(&self) -> Result<KeySet, ReadError> {
        let document = match self {
            Self::Http(client, url) => client.get(url).await?,
            Self::File(path) => {
                let document = tokio::fs::read(path).await?;
                if document.len() > MAX_DOCUMENT_BYTES {
                    return Err(FetchError::TooLarge.into());
                }
                document
            }
        };
        Ok(KeySet::parse(&document)?)
    }
}

/// Reads an issuer's keys once. Returns their number.
///
/// # Errors
/// A sentence: they cannot be read, or none can be used.
pub async fn read_keys(source: &KeySource) -> Result<usize, String> {
    let reader = KeyReader::new(source).map_err(|error| chain(&error))?;
    reader.read().await.map(|keys| keys.len()).map_err(|error| chain(&error))
}

/// The keys of one issuer.
pub(super) struct Jwks {
    shared: Arc<Shared>,
    wake: mpsc::Sender<()>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    /// Time for which keys are used after the last valid answer, in microseconds.
    max_age: i64,
    /// The time between two successful attempts, in microseconds.
    interval: i64,
    state: Mutex<State>,
    /// Counts attempts that have ended.
    ended: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    keys: Arc<KeySet>,
    /// When `keys` arrived.
    fetched_at: Option<Timestamp>,
    /// When the last attempt began.
    attempted_at: Option<Timestamp>,
    running: bool,
    /// Failed attempts since the last successful one.
    failures: u32,
}

impl Jwks {
    /// Starts to fetch in the background.
    pub(super) fn start(reader: KeyReader, max_age: Duration, clock: Arc<dyn Clock>) -> Self {
        let shared = Arc::new(Shared {
            clock,
            max_age: i64::try_from(max_age.as_micros()).unwrap_or(i64::MAX),
            interval: i64::try_from(reader.interval().as_micros()).unwrap_or(i64::MAX),
            // Running from the start, so that a request which precedes the task's first attempt waits for it.
            state: Mutex::new(State { running: true, ..State::default() }),
            ended: watch::Sender::new(0),
        });
        let (wake, woken) = mpsc::channel(1);
        tokio::spawn(refresh(reader, Arc::clone(&shared), woken));
        Self { shared, wake }
    }

    /// The keys that can be used now; `None` before the first valid answer, and when the last one is too old.
    pub(super) fn current(&self) -> Option<Arc<KeySet>> {
        let now = self.shared.clock.now();
        let state = self.shared.state();
        state.usable(now, self.shared.max_age)
    }

    /// Waits for new keys if the last attempt is older than the interval of the background: that stands still while the
    /// process is frozen, and the clock may not.
    pub(super) async fn refresh_outdated(&self) {
        // The first attempt to end may be one that was frozen in the middle, and began long ago.
        for _ in 0..2 {
            let attempted_at = self.shared.state().attempted_at;
            let age = attempted_at.map(|at| self.shared.clock.now().unix_micros() - at.unix_micros());
            if age.is_some_and(|age| age < self.shared.interval) {
                return;
            }
            self.refreshed().await;
        }
    }

    /// The keys after an attempt to fetch new ones, unless the last one was a moment ago; `None` when the issuer did
    /// not answer.
    pub(super) async fn refreshed(&self) -> Option<Arc<KeySet>> {
        let mut ended = self.shared.ended.subscribe();
        let wait = {
            let state = self.shared.state();
            state.running || (state.due(self.shared.clock.now()) && !self.wake.is_closed())
        };
        if wait {
            // Full means that another request has asked for the attempt.
            let _ = self.wake.try_send(());
            let _ = tokio::time::timeout(REQUEST_TIMEOUT, ended.changed()).await;
        }
        let now = self.shared.clock.now();
        let state = self.shared.state();
        if state.failures == 0 { state.usable(now, self.shared.max_age) } else { None }
    }
}

impl State {
    fn usable(&self, now: Timestamp, max_age: i64) -> Option<Arc<KeySet>> {
        let age = now.unix_micros() - self.fetched_at?.unix_micros();
        (age < max_age).then(|| Arc::clone(&self.keys))
    }

    fn due(&self, now: Timestamp) -> bool {
        // A clock that was set back does not delay an attempt.
        self.attempted_at
            .is_none_or(|at| !(0..MIN_REQUESTED_INTERVAL).contains(&(now.unix_micros() - at.unix_micros())))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics under the lock; if it did, the state would still be consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one attempt. Returns the delay until the next.
    async fn attempt(&self, reader: &KeyReader) -> Duration {
        {
            let mut state = self.state();
            state.running = true;
            state.attempted_at = Some(self.clock.now());
        }
        let outcome = reader.read().await;
        let now = self.clock.now();
        let mut state = self.state();
        state.running = false;
        match outcome {
            Ok(keys) => {
                if state.fetched_at.is_none() || state.failures > 0 {
                    info!(keys = keys.len(), "jwks_refreshed");
                }
                state.keys = Arc::new(keys);
                state.fetched_at = Some(now);
                state.failures = 0;
            }
            Err(error) => {
                state.failures = state.failures.saturating_add(1);
                let age = state.fetched_at.map(|at| (now.unix_micros() - at.unix_micros()) / 1_000_000);
                warn!(error = chain(&error), keys_age_seconds = age, "jwks_refresh_failed");
            }
        }
        match (state.failures, reader) {
            (0, reader) => reader.interval(),
            (failures, _) => RETRY.delay(failures, &SystemRandom),
        }
    }
}

/// Refreshes the keys until their last holder is gone.
async fn refresh(reader: KeyReader, shared: Arc<Shared>, mut woken: mpsc::Receiver<()>) {
    loop {
        let delay = tokio::time::sleep(shared.attempt(&reader).await);
        tokio::pin!(delay);
        shared.ended.send_modify(|count| *count += 1);
        loop {
            tokio::select! {
                () = &mut delay => break,
                asked = woken.recv() => match asked {
                    None => return,
                    Some(()) if shared.state().due(shared.clock.now()) => break,
                    // Requested during the last attempt, which has answered it.
                    Some(()) => shared.ended.send_modify(|count| *count += 1),
                },
            }
        }
    }
}

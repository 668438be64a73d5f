//! The issuer's keys at hand: fetched at start, kept fresh, asked for again when a token names an unknown one.
//!
//! One task does all fetching, so that however many requests ask at once, one call goes out. The keys of the last good
//! answer stay while the issuer is away, for a bounded time.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::jwk::{KeySet, KeySetFault};
use super::jwks_http::{FetchFault, JwksClient, LARGEST};
use crate::clock::Clock;
use crate::domain::Timestamp;
use crate::error::chain;
use crate::settings::JwksPlace;

/// How often the keys are fetched without being asked for: a key that the issuer withdrew counts no longer than this.
const REFRESH: Duration = Duration::from_mins(5);
/// The longest pause between attempts while they fail; the first is a second.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// Least time between two attempts of which the second was asked for by a token with an unknown key, in microseconds: any
/// stranger can send such a token.
const ASKED_EVERY: i64 = 30_000_000;
/// How long a request waits for an attempt that it asked for: longer than an attempt takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the keys come from.
pub(super) enum Place {
    Web(JwksClient),
    File(PathBuf),
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Fetch(#[from] FetchFault),
    #[error("the file of keys cannot be read")]
    File(#[from] std::io::Error),
    #[error("the issuer's keys cannot be used")]
    Keys(#[from] KeySetFault),
}

impl Place {
    async fn read(&self) -> Result<KeySet, Fault> {
        let document = match self {
            Self::Web(client) => client.fetch().await?,
            Self::File(path) => {
                let document = tokio::fs::read(path).await?;
                if document.len() > LARGEST {
                    return Err(FetchFault::TooLarge.into());
                }
                document
            }
        };
        Ok(KeySet::parse(&document)?)
    }
}

/// Reads an issuer's keys once, from where the settings say; gives how many there are.
///
/// # Errors
/// A sentence: they cannot be read, or are none.
pub async fn read_keys(keys: &JwksPlace) -> Result<usize, String> {
    let place = match keys {
        JwksPlace::Url(url) => Place::Web(JwksClient::new(url).map_err(|fault| chain(&fault))?),
        JwksPlace::File(path) => Place::File(path.clone()),
    };
    place.read().await.map(|keys| keys.len()).map_err(|fault| chain(&fault))
}

/// The keys of one issuer.
pub(super) struct Jwks {
    shared: Arc<Shared>,
    wake: mpsc::Sender<()>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    /// How long keys are used after the last good answer, in microseconds.
    kept: i64,
    state: Mutex<State>,
    /// Counts attempts that have ended.
    ended: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    keys: Arc<KeySet>,
    /// When `keys` came.
    fetched_at: Option<Timestamp>,
    /// When the last attempt began.
    attempted_at: Option<Timestamp>,
    running: bool,
    /// Attempts since the last good one.
    failures: u32,
}

impl Jwks {
    /// Starts to fetch, in the background.
    pub(super) fn start(place: Place, kept: Duration, clock: Arc<dyn Clock>) -> Self {
        let shared = Arc::new(Shared {
            clock,
            kept: i64::try_from(kept.as_micros()).unwrap_or(i64::MAX),
            // Running from the start: whoever comes before the task does waits for it.
            state: Mutex::new(State { running: true, ..State::default() }),
            ended: watch::Sender::new(0),
        });
        let (wake, woken) = mpsc::channel(1);
        tokio::spawn(keep(place, Arc::clone(&shared), woken));
        Self { shared, wake }
    }

    /// The keys that can be used now; `None` while there are none, or when the last good answer is too old.
    pub(super) fn at_hand(&self) -> Option<Arc<KeySet>> {
        let now = self.shared.clock.now();
        let state = self.shared.state();
        state.usable(now, self.shared.kept)
    }

    /// The keys after having asked for new ones, unless that was done a moment ago; `None` when the issuer did not answer.
    pub(super) async fn asked_for(&self) -> Option<Arc<KeySet>> {
        let mut ended = self.shared.ended.subscribe();
        let wait = {
            let state = self.shared.state();
            state.running || (state.due(self.shared.clock.now()) && !self.wake.is_closed())
        };
        if wait {
            // Full means that somebody else has asked.
            let _ = self.wake.try_send(());
            let _ = tokio::time::timeout(PATIENCE, ended.changed()).await;
        }
        let now = self.shared.clock.now();
        let state = self.shared.state();
        if state.failures == 0 { state.usable(now, self.shared.kept) } else { None }
    }
}

impl State {
    fn usable(&self, now: Timestamp, kept: i64) -> Option<Arc<KeySet>> {
        let age = now.unix_micros() - self.fetched_at?.unix_micros();
        (age < kept).then(|| Arc::clone(&self.keys))
    }

    fn due(&self, now: Timestamp) -> bool {
        // A clock that was set back does not hold up an attempt.
        self.attempted_at.is_none_or(|at| !(0..ASKED_EVERY).contains(&(now.unix_micros() - at.unix_micros())))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; if it did, what it guards is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one attempt; gives the pause until the next.
    async fn attempt(&self, place: &Place) -> Duration {
        {
            let mut state = self.state();
            state.running = true;
            state.attempted_at = Some(self.clock.now());
        }
        let outcome = place.read().await;
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
            Err(fault) => {
                state.failures = state.failures.saturating_add(1);
                let age = state.fetched_at.map(|at| (now.unix_micros() - at.unix_micros()) / 1_000_000);
                warn!(error = chain(&fault), keys_age_seconds = age, "jwks_refresh_failed");
            }
        }
        match (state.failures, place) {
            (0, Place::Web(_)) => REFRESH,
            (0, Place::File(_)) => super::authenticator::REREAD,
            (failures, _) => LONGEST_PAUSE.min(Duration::from_secs(1 << (failures - 1).min(6))),
        }
    }
}

/// Keeps the keys fresh until nobody holds them any more.
async fn keep(place: Place, shared: Arc<Shared>, mut woken: mpsc::Receiver<()>) {
    loop {
        let pause = tokio::time::sleep(shared.attempt(&place).await);
        tokio::pin!(pause);
        shared.ended.send_modify(|count| *count += 1);
        loop {
            tokio::select! {
                () = &mut pause => break,
                asked = woken.recv() => match asked {
                    None => return,
                    Some(()) if shared.state().due(shared.clock.now()) => break,
                    // Asked for while the last attempt was under way, and answered by it.
                    Some(()) => shared.ended.send_modify(|count| *count += 1),
                },
            }
        }
    }
}

//! The shared tier: decisions under random epochs on a server that other processes use too.
//!
//! An entry is valid only while the server still has both epochs under which it was made, and is still the same run. An
//! epoch is renewed by deleting it: a process that needs a missing epoch creates a new one, which no old entry can
//! carry. Must never make a caller wait for a server that is unavailable.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tracing::{info, warn};

use super::entry::{self, Entry, Epochs, Keys};
use super::memory::Basis;
use super::metrics::{CacheMetrics, Operation};
use super::pending::{PendingInvalidations, Scope, Snapshot};
use super::remote::{Command, Remote, Reply, ServerUnavailable};
use crate::decision::Question;
use crate::domain::Timestamp;

/// The lifetime of an epoch. Any value is safe; a larger one keeps entries longer.
const EPOCH_SECONDS: u32 = 172_800;
/// The largest number of entries on their way to the server; further ones are not stored.
const MAX_STORING: usize = 64;
/// The largest number of keys in one command.
const MAX_KEYS: usize = 500;

/// The result of looking a question up in the shared tier.
#[derive(Debug, PartialEq)]
pub(super) enum SharedLookup {
    /// The decision, its basis, and the time for which it is valid.
    Hit(Entry),
    /// There is none. A decision that is made from now on may be stored under these epochs.
    Miss(Epochs),
    /// The tier cannot be used now.
    Unusable,
}

pub(crate) struct SharedTier {
    remote: Box<dyn Remote>,
    prefix: String,
    timeout: Duration,
    keys: OnceLock<Keys>,
    up: AtomicBool,
    /// Whether the log says that the server is unavailable.
    down_logged: AtomicBool,
    storing: Semaphore,
    pub(super) pending: PendingInvalidations,
    /// Notified when an invalidation becomes pending, or the server unavailable.
    pub(super) wanted: Notify,
    metrics: CacheMetrics,
}

impl SharedTier {
    /// A tier that is bypassed until [`SharedTier::reconnect_and_renew`] reaches the server.
    pub(crate) fn new(remote: Box<dyn Remote>, prefix: &str, timeout: Duration, metrics: CacheMetrics) -> Self {
        Self {
            remote,
            prefix: prefix.into(),
            timeout,
            keys: OnceLock::new(),
            up: AtomicBool::new(false),
            down_logged: AtomicBool::new(false),
            storing: Semaphore::new(MAX_STORING),
            pending: PendingInvalidations::default(),
            wanted: Notify::new(),
            metrics,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.remote.name()
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.load(SeqCst)
    }

    /// Sets the database that the decisions belong to. Without it there are no keys.
    pub(crate) fn belongs_to(&self, database: &str) {
        let _ = self.keys.set(Keys::new(&self.prefix, database));
    }

    /// Looks `question` up in one round trip, or in two when an epoch is missing. An entry whose basis `is_new_enough`
    /// rejects is treated as absent.
    pub(super) async fn find(
        &self,
        question: &Question,
        is_new_enough: impl Fn(&Basis) -> bool,
        now: impl Fn() -> Timestamp,
    ) -> SharedLookup {
        let Some(keys) = self.usable(question) else { return SharedLookup::Unusable };
        let principal = Some(question.principal_id);
        let names = [keys.epoch(None), keys.epoch(principal), keys.entry(question)];
        let lookup = [&["MGET".to_owned()], names.as_slice()].concat();
        let Some((server, replies)) = self.call(Operation::lookup, &[lookup]).await else {
            return SharedLookup::Unusable;
        };
        let [Reply::Values(values)] = replies.as_slice() else { return self.refused(Operation::lookup, &replies) };
        let [global, own, entry] = values.as_slice() else { return SharedLookup::Unusable };
        let (Some(global), Some(own)) = (global, own) else {
            return self.create_epochs(&names, [global.is_none(), own.is_none()]).await;
        };
        let epochs = Epochs { server, global: global.clone(), principal: own.clone() };
        match entry.as_deref().and_then(entry::read) {
            Some((under, entry)) if under == epochs && entry.span.contains(now()) && is_new_enough(&entry.basis) => {
                SharedLookup::Hit(entry)
            }
            _ => SharedLookup::Miss(epochs),
        }
    }

    /// Creates the missing epochs, unless another process is quicker. This happens before the facts are read, so that a
    /// later change renews them.
    async fn create_epochs(&self, names: &[String; 3], missing: [bool; 2]) -> SharedLookup {
        let [global, principal, _] = names;
        let create = |name: &String| -> Command {
            let words = ["SET", name, &entry::token(), "NX", "EX"].map(str::to_owned);
            words.into_iter().chain([EPOCH_SECONDS.to_string()]).collect()
        };
        let mut commands: Vec<_> = [global, principal]
            .into_iter()
            .zip(missing)
            .filter(|(_, missing)| *missing)
            .map(|(name, _)| create(name))
            .collect();
        commands.push(vec!["MGET".into(), global.clone(), principal.clone()]);
        let Some((server, replies)) = self.call(Operation::epoch, &commands).await else {
            return SharedLookup::Unusable;
        };
        if let Some(Reply::Values(values)) = replies.last()
            && let [Some(global), Some(principal)] = values.as_slice()
        {
            return SharedLookup::Miss(Epochs { server, global: global.clone(), principal: principal.clone() });
        }
        self.refused(Operation::epoch, &replies)
    }

    /// Stores a decision that was made under `epochs`, in the background.
    pub(super) fn store(
        self: &std::sync::Arc<Self>,
        question: &Question,
        epochs: &Epochs,
        entry: &Entry,
        now: Timestamp,
    ) {
        let left = entry.span.until.map_or(0, |until| (until.unix_micros() - now.unix_micros()) / 1000);
        let Some(keys) = self.usable(question).filter(|_| left > 0) else { return };
        let words = ["SET".to_owned(), keys.entry(question), entry::write(epochs, entry), "PX".into()];
        let store = words.into_iter().chain([left.to_string()]).collect();
        let shared = std::sync::Arc::clone(self);
        tokio::spawn(async move {
            // So many are on their way only when the server is slower than the checks.
            let Ok(_one) = shared.storing.try_acquire() else { return };
            if let Some((_, replies)) = shared.call(Operation::store, &[store]).await
                && replies.iter().any(|reply| matches!(reply, Reply::Refused(_)))
            {
                shared.metrics.failed(Operation::store);
            }
        });
    }

    fn usable(&self, question: &Question) -> Option<&Keys> {
        self.keys.get().filter(|_| self.is_up() && !self.pending.includes(question.principal_id))
    }

    /// Completes the pending invalidations in one round trip. Returns whether none is left. A full server deletes too.
    pub(super) async fn renew(&self) -> bool {
        let snapshot = self.pending.snapshot();
        if snapshot.is_empty() {
            return true;
        }
        let (true, Some(keys)) = (self.is_up(), self.keys.get()) else { return false };
        self.delete(keys, &snapshot).await
    }

    async fn delete(&self, keys: &Keys, snapshot: &Snapshot) -> bool {
        let scopes: Vec<Scope> = snapshot.scopes().collect();
        let commands: Vec<Command> = scopes
            .chunks(MAX_KEYS)
            .map(|scopes| [vec!["DEL".to_owned()], scopes.iter().map(|scope| keys.epoch(*scope)).collect()].concat())
            .collect();
        let Some((_, replies)) = self.call(Operation::renew, &commands).await else { return false };
        if replies.iter().any(|reply| matches!(reply, Reply::Refused(_))) {
            self.refused(Operation::renew, &replies);
            return false;
        }
        self.pending.complete(snapshot);
        true
    }

    /// Reconnects to the server if it is unavailable, and completes the pending invalidations. Returns `false` when the
    /// caller is to try again.
    pub(crate) async fn reconnect_and_renew(&self) -> bool {
        if self.is_up() {
            return self.renew().await;
        }
        if self.keys.get().is_none() {
            return false;
        }
        let reached = match self.remote.connect().await {
            Ok(()) => self.remote.call(&[vec!["PING".into()]], false, self.timeout).await,
            Err(error) => Err(error),
        };
        match reached.map(|answer| answer.replies) {
            Ok(replies) if replies == [Reply::Done] => {
                self.up.store(true, SeqCst);
                info!(cache = self.name(), "decision_cache_up");
                self.renew().await
            }
            Ok(_) => false,
            Err(error) => {
                self.metrics.failed(Operation::connect);
                self.log_down_once(&error);
                false
            }
        }
    }

    fn log_down_once(&self, error: &ServerUnavailable) {
        if !self.down_logged.swap(true, SeqCst) {
            warn!(cache = self.name(), error = %error, "decision_cache_down");
        }
    }

    async fn call(&self, operation: Operation, commands: &[Command]) -> Option<(String, Vec<Reply>)> {
        let binding = operation == Operation::renew;
        match self.remote.call(commands, binding, self.timeout).await {
            Ok(answer) if answer.replies.len() == commands.len() => Some((answer.server, answer.replies)),
            Ok(_) => {
                self.down(operation, &ServerUnavailable("not as many answers as commands".into()));
                None
            }
            Err(error) => {
                self.down(operation, &error);
                None
            }
        }
    }

    /// Handles a server that answers but refuses (out of memory, read-only, loading, not allowed).
    fn refused(&self, operation: Operation, replies: &[Reply]) -> SharedLookup {
        let why =
            replies.iter().find_map(|reply| if let Reply::Refused(why) = reply { Some(why.as_str()) } else { None });
        match (operation, why) {
            // A full server can still be read.
            (Operation::epoch, why) if why.is_none_or(|why| why.starts_with("OOM")) => self.metrics.failed(operation),
            (operation, why) => {
                self.down(operation, &ServerUnavailable(why.unwrap_or("not an answer to the command").into()));
            }
        }
        SharedLookup::Unusable
    }

    /// Bypasses the tier until [`SharedTier::reconnect_and_renew`] reaches the server again. Logged once.
    fn down(&self, operation: Operation, error: &ServerUnavailable) {
        self.metrics.failed(operation);
        if self.up.swap(false, SeqCst) {
            self.down_logged.store(false, SeqCst);
            self.log_down_once(error);
            self.wanted.notify_one();
        }
    }
}

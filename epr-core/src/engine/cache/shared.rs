//! The shared tier: decisions under random epochs on a server that other processes use too.
//!
//! An entry counts only while both epochs under which it was made are still the ones on the server, and the server is
//! still the same run of itself. Renewing is deleting: whoever needs an epoch that is not there makes a new one, which no
//! old entry can carry. Must never make anybody wait for a server that is away.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tracing::{info, warn};

use super::entry::{self, Epochs, Keys};
use super::metrics::{CacheMetrics, Operation};
use super::pending::{Doubt, Scope, Snapshot};
use super::remote::{Away, Command, Remote, Reply};
use crate::decision::{Decision, Question, Span};
use crate::domain::Timestamp;

/// How long an epoch lasts without being renewed. Any length is safe; a longer one keeps entries longer.
const EPOCH_SECONDS: u32 = 172_800;
/// Most entries on their way to the server; further ones are not stored.
const STORING: usize = 64;
/// Most keys in one command.
const BATCH: usize = 500;

/// What the tier knows about a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The decision, and when it holds.
    Decision(Decision, Span),
    /// None. One made from now on may be stored under these epochs.
    Nothing(Epochs),
    /// The tier is not to be used now.
    Unusable,
}

pub(super) struct Shared {
    remote: Box<dyn Remote>,
    prefix: String,
    limit: Duration,
    keys: OnceLock<Keys>,
    up: AtomicBool,
    /// Whether it has been logged that the server is away.
    told_down: AtomicBool,
    storing: Semaphore,
    pub(super) doubt: Doubt,
    /// Rung when there is something to be renewed.
    pub(super) wanted: Notify,
    metrics: CacheMetrics,
}

impl Shared {
    /// Not used before the first [`Shared::tend`] has reached the server.
    pub(super) fn new(remote: Box<dyn Remote>, prefix: &str, limit: Duration, metrics: CacheMetrics) -> Self {
        Self {
            remote,
            prefix: prefix.into(),
            limit,
            keys: OnceLock::new(),
            up: AtomicBool::new(false),
            told_down: AtomicBool::new(false),
            storing: Semaphore::new(STORING),
            doubt: Doubt::default(),
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

    /// Whose decisions these are; without it there are no keys.
    pub(super) fn belongs_to(&self, database: &str) {
        let _ = self.keys.set(Keys::new(&self.prefix, database));
    }

    /// Looks `question` up in one round trip, or in two when an epoch has to be made.
    pub(super) async fn find(&self, question: &Question, now: impl Fn() -> Timestamp) -> Found {
        let Some(keys) = self.usable(question) else { return Found::Unusable };
        let principal = Some(question.principal_id);
        let names = [keys.epoch(None), keys.epoch(principal), keys.entry(question)];
        let look = [&["MGET".to_owned()], names.as_slice()].concat();
        let Some((server, replies)) = self.call(Operation::lookup, &[look]).await else { return Found::Unusable };
        let [Reply::Values(values)] = replies.as_slice() else { return self.refused(Operation::lookup, &replies) };
        let [everybody, own, entry] = values.as_slice() else { return Found::Unusable };
        let (Some(everybody), Some(own)) = (everybody, own) else {
            return self.make_epochs(&names, [everybody.is_none(), own.is_none()]).await;
        };
        let epochs = Epochs { server, everybody: everybody.clone(), principal: own.clone() };
        match entry.as_deref().and_then(entry::read) {
            Some((under, decision, span)) if under == epochs && span.contains(now()) => Found::Decision(decision, span),
            _ => Found::Nothing(epochs),
        }
    }

    /// Makes the epochs that are missing, unless another process is quicker; before the facts are read, so that a change
    /// after that renews them.
    async fn make_epochs(&self, names: &[String; 3], missing: [bool; 2]) -> Found {
        let [everybody, principal, _] = names;
        let make = |name: &String| -> Command {
            let words = ["SET", name, &entry::token(), "NX", "EX"].map(str::to_owned);
            words.into_iter().chain([EPOCH_SECONDS.to_string()]).collect()
        };
        let mut commands: Vec<_> = [everybody, principal]
            .into_iter()
            .zip(missing)
            .filter(|(_, missing)| *missing)
            .map(|(name, _)| make(name))
            .collect();
        commands.push(vec!["MGET".into(), everybody.clone(), principal.clone()]);
        let Some((server, replies)) = self.call(Operation::epoch, &commands).await else { return Found::Unusable };
        if let Some(Reply::Values(values)) = replies.last()
            && let [Some(everybody), Some(principal)] = values.as_slice()
        {
            return Found::Nothing(Epochs { server, everybody: everybody.clone(), principal: principal.clone() });
        }
        self.refused(Operation::epoch, &replies)
    }

    /// Stores a decision that was made under `epochs`; does not wait for it.
    pub(super) fn keep(
        self: &std::sync::Arc<Self>,
        question: &Question,
        epochs: &Epochs,
        decision: &Decision,
        span: Span,
        now: Timestamp,
    ) {
        let left = span.until.map_or(0, |until| (until.unix_micros() - now.unix_micros()) / 1000);
        let Some(keys) = self.usable(question).filter(|_| left > 0) else { return };
        let words = ["SET".to_owned(), keys.entry(question), entry::write(epochs, decision, span), "PX".into()];
        let store = words.into_iter().chain([left.to_string()]).collect();
        let shared = std::sync::Arc::clone(self);
        tokio::spawn(async move {
            // With so many on their way the server is slower than the questions come.
            let Ok(_one) = shared.storing.try_acquire() else { return };
            if let Some((_, replies)) = shared.call(Operation::store, &[store]).await
                && replies.iter().any(|reply| matches!(reply, Reply::Refused(_)))
            {
                shared.metrics.failed(Operation::store);
            }
        });
    }

    fn usable(&self, question: &Question) -> Option<&Keys> {
        self.keys.get().filter(|_| self.is_up() && !self.doubt.covers(question.principal_id))
    }

    /// Renews what is in doubt, in one round trip. Whatever the server's state: deleting needs no memory.
    pub(super) async fn renew(&self) -> bool {
        let snapshot = self.doubt.snapshot();
        if snapshot.is_empty() {
            return true;
        }
        let (true, Some(keys)) = (self.is_up(), self.keys.get()) else { return false };
        self.delete(keys, &snapshot).await
    }

    async fn delete(&self, keys: &Keys, snapshot: &Snapshot) -> bool {
        let scopes: Vec<Scope> = snapshot.scopes().collect();
        let commands: Vec<Command> = scopes
            .chunks(BATCH)
            .map(|scopes| [vec!["DEL".to_owned()], scopes.iter().map(|scope| keys.epoch(*scope)).collect()].concat())
            .collect();
        let Some((_, replies)) = self.call(Operation::renew, &commands).await else { return false };
        if replies.iter().any(|reply| matches!(reply, Reply::Refused(_))) {
            self.refused(Operation::renew, &replies);
            return false;
        }
        self.doubt.renewed(snapshot);
        true
    }

    /// Brings the tier back if it is away, and renews what is in doubt. `false` when it is to be tried again.
    pub(super) async fn tend(&self) -> bool {
        if self.is_up() {
            return self.renew().await;
        }
        if self.keys.get().is_none() {
            return false;
        }
        let reached = match self.remote.connect().await {
            Ok(()) => self.remote.call(&[vec!["PING".into()]], false, self.limit).await,
            Err(fault) => Err(fault),
        };
        match reached.map(|answer| answer.replies) {
            Ok(replies) if replies == [Reply::Done] => {
                self.up.store(true, SeqCst);
                info!(cache = self.name(), "decision_cache_up");
                self.renew().await
            }
            Ok(_) => false,
            Err(fault) => {
                self.metrics.failed(Operation::connect);
                self.tell_once(&fault);
                false
            }
        }
    }

    fn tell_once(&self, fault: &Away) {
        if !self.told_down.swap(true, SeqCst) {
            warn!(cache = self.name(), error = %fault, "decision_cache_down");
        }
    }

    async fn call(&self, operation: Operation, commands: &[Command]) -> Option<(String, Vec<Reply>)> {
        let binding = operation == Operation::renew;
        match self.remote.call(commands, binding, self.limit).await {
            Ok(answer) if answer.replies.len() == commands.len() => Some((answer.server, answer.replies)),
            Ok(_) => {
                self.down(operation, &Away("not as many answers as commands".into()));
                None
            }
            Err(fault) => {
                self.down(operation, &fault);
                None
            }
        }
    }

    /// The server answers, but refuses (out of memory, read-only, loading, not allowed).
    fn refused(&self, operation: Operation, replies: &[Reply]) -> Found {
        let why =
            replies.iter().find_map(|reply| if let Reply::Refused(why) = reply { Some(why.as_str()) } else { None });
        match (operation, why) {
            // Full: what is there can still be read.
            (Operation::epoch, why) if why.is_none_or(|why| why.starts_with("OOM")) => self.metrics.failed(operation),
            (operation, why) => self.down(operation, &Away(why.unwrap_or("not an answer to the command").into())),
        }
        Found::Unusable
    }

    /// From now on the tier is passed over, until [`Shared::tend`] brings it back. Logged once.
    fn down(&self, operation: Operation, fault: &Away) {
        self.metrics.failed(operation);
        if self.up.swap(false, SeqCst) {
            self.told_down.store(false, SeqCst);
            self.tell_once(fault);
            self.wanted.notify_one();
        }
    }
}

//! What happens to the change feed of a process, changes past every process, and reads of the registry into memory.

use std::sync::Mutex;
use std::time::Duration;

use proptest::prop_assert;
use proptest::test_runner::TestCaseError;
use tokio::time::Instant;
use uuid::Uuid;

use super::steps::Feed;
use super::world::{PAST, Process, World};
use crate::store::{FeedEvent, Invalidation, Store, sqlite};

impl Process {
    /// Reports an event of the feed, as the feed follower does.
    pub(super) fn report(&self, event: FeedEvent) {
        if self.probe.guards.read_anew {
            self.epr.engines.graph.before(&event);
        }
        self.epr.engines.cache.tiers().apply(event);
    }
}

impl World {
    /// Reads the registry of a process, or what has changed in it.
    pub(super) async fn read(&mut self, at: usize) {
        let process = &mut self.processes[at];
        let (graph, core) = (&process.epr.engines.graph, &process.epr.engines.core);
        if self.guards.with_graph && !process.is_blind {
            let reading = graph.begin_reading();
            match graph.read(reading, &*core.store).await {
                Ok(current) => process.read = Some(current),
                Err(_) => graph.forget(),
            }
        }
    }

    /// Uses what was read.
    pub(super) fn keep(&mut self, at: usize) {
        let Some(current) = self.processes[at].read.take() else { return };
        let graph = &self.processes[at].epr.engines.graph;
        let current = match (self.guards.events_before_rows, self.guards.events_compared) {
            (true, true) => current,
            (false, _) => current.claim(graph.begin_reading()),
            (true, false) => current.claim_all(),
        };
        graph.set(current);
    }

    /// Another program changes the registry in the database.
    pub(super) async fn change_past(&mut self, revoke: bool, which: u8) {
        self.answer().await;
        let file = self.folder.path().join("epr.db");
        let newest = self.renewals.iter().map(|(_, renewal)| renewal.id).max().unwrap_or(0);
        let role = self.roles[usize::from(which) % self.roles.len()];
        let sql = if revoke {
            let principal = Uuid::from_u128(u128::from(which % 2) + 1);
            format!("DELETE FROM role_assignments WHERE principal_id = '{principal}'")
        } else {
            format!("DELETE FROM role_permissions WHERE role_id = '{role}'")
        };
        sqlite::tamper(&file, &sql).await;
        let store = self.processes[0].epr.engines.store();
        for renewal in renewals_after(store, newest).await {
            self.renewals.push((PAST, renewal));
        }
    }

    /// Something happens to the change feed of a process.
    pub(super) async fn feed(&mut self, at: usize, does: Feed) {
        let Some(revision) = self.newest_revision().await else { return };
        let received = self.renewals.len();
        let process = &mut self.processes[at];
        match does {
            Feed::Cut => {
                process.report(FeedEvent::Disconnected);
                (process.is_blind, process.is_cut) = (true, true);
            }
            Feed::Silence if !process.is_cut => {
                let long_ago = Instant::now().checked_sub(Duration::from_mins(1)).unwrap();
                process.report(FeedEvent::Heartbeat(long_ago));
                process.is_blind = true;
            }
            Feed::Beat if process.is_blind && !process.is_cut => {
                process.is_blind = false;
                self.deliver(at).await;
                self.processes[at].report(FeedEvent::SingleProcess);
            }
            Feed::Connect { elsewhere } if process.is_cut => {
                if elsewhere {
                    // That server has never had these notes, so that its head says nothing about them either.
                    let file = self.folder.path().join("epr.db");
                    for statement in ["DELETE FROM changed_rows", "UPDATE changed_rows_head SET removed_to = 0"] {
                        sqlite::tamper(&file, statement).await;
                    }
                    let other = &mut self.processes[1 - at];
                    other.report(FeedEvent::Disconnected);
                    (other.is_blind, other.is_cut) = (true, true);
                }
                let process = &mut self.processes[at];
                let event = FeedEvent::Connected { at: Instant::now(), database: "model".into(), pending: Vec::new() };
                process.report(event);
                process.report(FeedEvent::Reached(revision));
                // Complete for the whole history, however long it takes.
                process.report(FeedEvent::SingleProcess);
                process.received = received;
                (process.is_blind, process.is_cut) = (false, false);
            }
            Feed::Silence | Feed::Beat | Feed::Connect { .. } => {}
        }
    }
}

/// The renewals that programs have caused which are no processes of the model.
async fn renewals_after(store: &dyn Store, id: i64) -> Vec<Invalidation> {
    let found = Mutex::new(None);
    let report = |event| {
        if let FeedEvent::Connected { pending, .. } = event {
            *found.lock().unwrap() = Some(pending);
        }
    };
    let is_found = async {
        while found.lock().unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = store.follow_changes(&report) => {}
        () = is_found => {}
    }
    let pending = found.into_inner().unwrap().unwrap();
    pending.into_iter().filter(|renewal: &Invalidation| renewal.id > id).collect()
}

/// The registry in memory of every process is what the database has, apart from what has changed since.
pub(super) async fn until_settled(world: &World) -> Result<(), TestCaseError> {
    for (at, process) in world.processes.iter().enumerate() {
        let engines = &process.epr.engines;
        if world.guards.read_anew && engines.graph.is_loaded() && !process.is_blind {
            let difference = engines.graph.difference(engines.store()).await;
            prop_assert!(difference.is_none(), "process {}: {:?}", at, difference);
        }
    }
    Ok(())
}

//! A shared tier's server as far as the protocol can see it: keys, and everything that can go wrong with them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;

use crate::engine::cache::remote::{Answer, Command, Remote, Reply, ServerUnavailable};

#[derive(Debug, Default)]
struct State {
    keys: BTreeMap<String, String>,
    saved: BTreeMap<String, String>,
    run: u64,
    away: bool,
    full: bool,
}

/// One server for several processes.
#[derive(Debug, Clone, Default)]
pub(super) struct Server(Arc<Mutex<State>>);

impl Server {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn save(&self) {
        let mut state = self.lock();
        state.saved = state.keys.clone();
    }

    /// Started again, with what was saved last.
    pub(super) fn restart(&self) {
        let mut state = self.lock();
        state.keys = state.saved.clone();
        state.run += 1;
    }

    pub(super) fn flush(&self) {
        self.lock().keys.clear();
    }

    pub(super) fn evict(&self, place: usize) {
        let mut state = self.lock();
        if let Some(key) = state.keys.keys().nth(place % state.keys.len().max(1)).cloned() {
            state.keys.remove(&key);
        }
    }

    pub(super) fn set(&self, away: bool, full: bool) {
        let mut state = self.lock();
        (state.away, state.full) = (away, full);
    }

    /// A process's way to it.
    pub(super) fn remote(&self) -> Box<dyn Remote> {
        Box::new(Way { server: self.clone(), run: Mutex::default() })
    }
}

struct Way {
    server: Server,
    run: Mutex<Option<u64>>,
}

#[async_trait]
impl Remote for Way {
    fn name(&self) -> &'static str {
        "model"
    }

    async fn connect(&self) -> Result<(), ServerUnavailable> {
        let state = self.server.lock();
        if state.away {
            return Err(ServerUnavailable("away".into()));
        }
        *self.run.lock().unwrap() = Some(state.run);
        Ok(())
    }

    async fn call(&self, commands: &[Command], _: bool, _: Duration) -> Result<Answer, ServerUnavailable> {
        let (mut state, mut run) = (self.server.lock(), self.run.lock().unwrap());
        if state.away || *run != Some(state.run) {
            *run = None;
            return Err(ServerUnavailable("away".into()));
        }
        let replies = commands.iter().map(|command| state.run_command(command)).collect();
        Ok(Answer { server: state.run.to_string(), replies })
    }
}

impl State {
    fn run_command(&mut self, command: &[String]) -> Reply {
        match command[0].as_str() {
            "MGET" => Reply::Values(command[1..].iter().map(|key| self.keys.get(key).cloned()).collect()),
            "DEL" => {
                for key in &command[1..] {
                    self.keys.remove(key);
                }
                Reply::Done
            }
            "SET" if self.full => Reply::Refused("OOM command not allowed".into()),
            "SET" if command.iter().any(|word| word == "NX") => {
                self.keys.entry(command[1].clone()).or_insert_with(|| command[2].clone());
                Reply::Done
            }
            "SET" => {
                self.keys.insert(command[1].clone(), command[2].clone());
                Reply::Done
            }
            "PING" => Reply::Done,
            other => panic!("{other}"),
        }
    }
}

//! Conditions that cannot be compiled or evaluated: counted each time, logged once for each assignment.
//!
//! Must never log a value that a condition read.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use tracing::warn;
use uuid::Uuid;

/// Beyond this number of assignments, the log starts over.
const MAX_LOGGED: usize = 1000;

/// The reports of one service.
pub(crate) struct ConditionErrors {
    counter: Counter,
    logged: Mutex<HashSet<Uuid>>,
}

impl ConditionErrors {
    pub(crate) fn new(counter: Counter) -> Self {
        Self { counter, logged: Mutex::default() }
    }

    /// Reports the assignments of one decision whose conditions failed, each with the reason.
    pub(crate) fn report(&self, errors: &[(Uuid, String)]) {
        if errors.is_empty() {
            return;
        }
        self.counter.inc_by(u64::try_from(errors.len()).unwrap_or(u64::MAX));
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() >= MAX_LOGGED {
            logged.clear();
        }
        for (assignment_id, error) in errors {
            if logged.insert(*assignment_id) {
                warn!(%assignment_id, error = error.as_str(), "condition_error");
            }
        }
    }
}

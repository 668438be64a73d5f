//! The one background task of an engine, which ends with the engine.

use std::sync::{Mutex, PoisonError};

use tokio::task::{AbortHandle, JoinHandle};

/// A place for a running task. A task that is replaced is aborted, as is the last one when this value is dropped.
#[derive(Debug, Default)]
pub(crate) struct BackgroundTask(Mutex<Option<AbortHandle>>);

impl BackgroundTask {
    /// Keeps `task` in place of the one before.
    pub(crate) fn replace(&self, task: &JoinHandle<()>) {
        self.set(Some(task.abort_handle()));
    }

    /// Aborts the task, if there is one.
    pub(crate) fn abort(&self) {
        self.set(None);
    }

    fn set(&self, task: Option<AbortHandle>) {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = std::mem::replace(&mut *current, task) {
            before.abort();
        }
    }
}

impl Drop for BackgroundTask {
    fn drop(&mut self) {
        self.abort();
    }
}

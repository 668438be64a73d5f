//! The instances of the function for AWS Lambda in the test's process: one for each call in progress.

use std::sync::{Mutex, PoisonError};

use axum::body::Bytes;
use axum::http::{Request, Response};
use epr_api_lambda::Function;
use tokio::sync::Semaphore;

use crate::gateway;

/// The reserved concurrency of the function. The instances share the connections of the test's service, 20, of which a
/// call can use two.
const MAX_INSTANCES: usize = 8;

/// The instances behind one gateway. Lambda never gives an instance a second call before the first has ended, and
/// starts another one instead; an instance therefore waits until nothing is in progress in it before it answers.
pub(crate) struct Instances {
    start: Box<dyn Fn() -> Function + Send + Sync>,
    idle: Mutex<Vec<Function>>,
    free: Semaphore,
}

impl Instances {
    /// Instances that `start` starts as they are needed.
    pub(crate) fn of(start: impl Fn() -> Function + Send + Sync + 'static) -> Self {
        Self { start: Box::new(start), idle: Mutex::default(), free: Semaphore::new(MAX_INSTANCES) }
    }

    /// The response of an idle instance, or of a new one. Waits while the largest number of calls is in progress. The
    /// instance of a caller that goes away is used no more.
    pub(crate) async fn respond(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let _permit = self.free.acquire().await.expect("a semaphore that is never closed");
        let idle = self.idle().pop();
        let instance = idle.unwrap_or_else(|| (self.start)());
        let event = gateway::event(request, "$default");
        let answer = Box::pin(instance.handle(event, "invocation", 0)).await.expect("an event that the function knows");
        self.idle().push(instance);
        gateway::response(&serde_json::to_value(answer).expect("an answer"))
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Function>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

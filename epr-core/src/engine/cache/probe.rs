//! Probes the server of the shared tier for `epr doctor`, without a cache in use. Writes nothing.

use std::time::{Duration, Instant};

use super::connect::connection;
use super::remote::Reply;
use super::server_url::is_rest_url;
use crate::settings::SharedCache;

/// The deadline of a call. It is longer than a check waits, to distinguish a slow server from one that is unavailable.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// The kind of the server and its response time.
///
/// # Errors
/// A sentence that says why the server cannot be used.
pub(crate) async fn probe(at: &SharedCache) -> Result<(&'static str, Duration), String> {
    let remote = connection(at).map_err(|error| error.to_string())?;
    if !is_rest_url(&at.url) {
        // Over REST this would write a mark, and calls need no connection.
        remote.connect().await.map_err(|error| error.to_string())?;
    }
    let read = vec!["MGET".to_owned(), format!("{}:doctor", at.prefix)];
    let mut took = PROBE_TIMEOUT;
    // The first call may include a handshake; the second takes as long as that of a check.
    for _ in 0..2 {
        let begun = Instant::now();
        let answer = remote.call(std::slice::from_ref(&read), false, PROBE_TIMEOUT).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if let Some(Reply::Refused(why)) = answer.replies.into_iter().next() {
            return Err(why);
        }
        took = begun.elapsed();
    }
    Ok((remote.name(), took))
}

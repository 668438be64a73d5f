//! Asking the server of the shared tier whether it can be used, without a cache being in use. Writes nothing.

use std::time::{Duration, Instant};

use super::is_rest_url;
use super::remote::Reply;
use crate::settings::SharedCache;

/// Longer than a check would wait: what is slow is to be told from what is away.
const PATIENCE: Duration = Duration::from_secs(3);

/// What kind of server it is and how long it takes to answer, or why it cannot be used.
pub(crate) async fn look(at: &SharedCache) -> Result<(&'static str, Duration), String> {
    let remote = super::remote(at).map_err(|fault| fault.to_string())?;
    if !is_rest_url(&at.url) {
        // Over REST this would write a mark, and calls need no connection.
        remote.connect().await.map_err(|fault| fault.to_string())?;
    }
    let read = vec!["MGET".to_owned(), format!("{}:doctor", at.prefix)];
    let mut took = PATIENCE;
    // The first call may have to shake hands; the second is what a check would see.
    for _ in 0..2 {
        let begun = Instant::now();
        let answer =
            remote.call(std::slice::from_ref(&read), false, PATIENCE).await.map_err(|fault| fault.to_string())?;
        if let Some(Reply::Refused(why)) = answer.replies.into_iter().next() {
            return Err(why);
        }
        took = begun.elapsed();
    }
    Ok((remote.name(), took))
}

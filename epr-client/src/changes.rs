//! `/api/v1/changes`

use std::time::{Duration, Instant};

use epr_core::domain::fields::{Fields, Problem};
use epr_core::domain::revision::Revision;
use epr_core::domain::{Change, Invalid, Json};
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use reqwest::Method;

use crate::client::Client;
use crate::error::{Error, ProtocolError};
use crate::retry::Repeat;
use crate::revision::revision_in;
use crate::transport::{Request, unreadable};
use crate::{audit, wire};

/// The largest number of entries in an answer.
const LIMIT: u32 = 500;
/// The longest wait of a call; the service allows 30 s.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// The least time between two calls of a stream without an entry.
const PAUSE: Duration = Duration::from_millis(500);
/// The wait before a stream asks again after an error, doubling from the first to the last.
const RESUME_DELAYS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

impl Client {
    /// Follows the changes of the registry: the ledger entries after a revision, oldest first; from the first entry on
    /// without a revision. Needs the scope `epr:audit`.
    ///
    /// ```no_run
    /// # async fn f(client: epr_client::Client, stored: Option<epr_client::domain::Revision>)
    /// # -> Result<(), epr_client::Error> {
    /// use futures_util::TryStreamExt as _;
    ///
    /// let mut changes = client.changes(stored).stream();
    /// while let Some(change) = changes.try_next().await? {
    ///     println!("{} {}", change.revision, change.entry.action);
    ///     // Store `change.revision` with what was made of the change: the next run begins after it.
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn changes(&self, after: Option<Revision>) -> Changes {
        Changes { client: self.clone(), after }
    }
}

/// A reader of the change feed. It gets every entry once and in order, also if the service is restarted meanwhile:
/// each call goes on after the last answer.
#[derive(Debug, Clone)]
pub struct Changes {
    client: Client,
    after: Option<Revision>,
}

impl Changes {
    /// The revision after which the next call goes on; `None` before the first answer of a reader that began without
    /// one.
    #[must_use]
    pub fn position(&self) -> Option<Revision> {
        self.after
    }

    /// The next entries, for which the call waits up to `wait` if there is none yet; empty when there was none in that
    /// time. A wait over 20 s, or over half the client's timeout, is cut to it. After an error the same call can be
    /// made again.
    ///
    /// # Errors
    /// Those of every call; [`Error::Conflict`] when the revision is of another incarnation of the ledger: what was
    /// read before may not be in it.
    pub async fn next_page(&mut self, wait: Duration) -> Result<Vec<Change>, Error> {
        let wait = wait.min(MAX_WAIT).min(self.client.longest_wait());
        let mut url = self.client.at("api/v1/changes");
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("limit", &LIMIT.to_string()).append_pair("wait", &wait.as_secs().to_string());
            if let Some(after) = self.after {
                query.append_pair("after", &after.to_string());
            }
        }
        let answer = self.client.send(Request { method: Method::GET, url, body: None, repeat: Repeat::Safe }).await?;
        let Json::List(rows) = answer.json()? else {
            return Err(ProtocolError::Body { reason: "it is not a list".into() }.into());
        };
        let changes: Vec<Change> =
            rows.iter().map(read).collect::<Result<_, _>>().map_err(|invalid| unreadable(&invalid))?;
        self.after = revision_in(&answer.headers).or(changes.last().map(|change| change.revision)).or(self.after);
        Ok(changes)
    }

    /// All entries, as they are made: the stream has no end. While the service cannot be reached it asks again, with
    /// growing waits of at most 10 s; any other error ends it.
    #[must_use]
    pub fn stream(self) -> BoxStream<'static, Result<Change, Error>> {
        stream::try_unfold(self, async |mut changes| {
            let mut delay = RESUME_DELAYS.0;
            loop {
                let began = Instant::now();
                match changes.next_page(MAX_WAIT).await {
                    Ok(page) => {
                        delay = RESUME_DELAYS.0;
                        if !page.is_empty() {
                            return Ok(Some((stream::iter(page.into_iter().map(Ok)), changes)));
                        }
                        // A client with a short timeout cannot wait in the call.
                        tokio::time::sleep(PAUSE.saturating_sub(began.elapsed())).await;
                    }
                    Err(error) if error.is_temporary() => {
                        tokio::time::sleep(delay).await;
                        delay = (delay * 2).min(RESUME_DELAYS.1);
                    }
                    Err(error) => return Err(error),
                }
            }
        })
        .try_flatten()
        .boxed()
    }
}

fn read(json: &Json) -> Result<Change, Invalid> {
    let mut fields = Fields::of_body(json)?;
    let revision = fields.required("revision", |value| {
        let text = wire::text(value)?;
        text.parse::<Revision>().map_err(|error| vec![Problem::new("revision", error.to_string())])
    });
    let revision = fields.finish(revision)?;
    Ok(Change { revision, entry: audit::read(json)? })
}

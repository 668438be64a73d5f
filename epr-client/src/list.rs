//! Lists, page by page or as a stream.

use std::fmt;

use epr_core::domain::{Invalid, Json, Moment};
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use reqwest::header::{HeaderMap, LINK};
use reqwest::{Method, Url};

use crate::client::Client;
use crate::error::{Error, ProtocolError};
use crate::retry::Repeat;
use crate::transport::{Request, unreadable};
use crate::wire;

const ENTRIES_DROPPED_TO: &str = "epr-entries-dropped-to";

/// A list that has not been read yet. Nothing is sent before [`page`](Self::page), [`pages`](Self::pages),
/// [`stream`](Self::stream) or [`all`](Self::all).
#[must_use = "a list is read by `page`, `pages`, `stream` or `all`"]
pub struct List<T> {
    client: Client,
    url: Url,
    limit: u32,
    read: fn(&Json) -> Result<T, Invalid>,
}

/// One page of a list.
#[derive(Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows, in the order of the list.
    pub items: Vec<T>,
    next: Option<Url>,
    entries_dropped_to: Option<i64>,
}

impl<T: fmt::Debug> fmt::Debug for Page<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Page").field("items", &self.items).field("has_next", &self.has_next()).finish_non_exhaustive()
    }
}

impl<T> Page<T> {
    /// Whether more rows exist.
    #[must_use]
    pub fn has_next(&self) -> bool {
        self.next.is_some()
    }

    /// The sequence up to which a list of the ledger may lack entries: they were dropped from the database, and the
    /// list has filters. `None` for every other list.
    #[must_use]
    pub fn entries_dropped_to(&self) -> Option<i64> {
        self.entries_dropped_to
    }
}

impl<T: Send + 'static> List<T> {
    /// The list at `path` with these query parameters, `limit` rows a page.
    pub(crate) fn new(
        client: &Client,
        path: &str,
        query: impl IntoIterator<Item = (&'static str, String)>,
        limit: u32,
        read: fn(&Json) -> Result<T, Invalid>,
    ) -> Self {
        let mut url = client.at(path);
        let mut pairs = query.into_iter().peekable();
        if pairs.peek().is_some() {
            url.query_pairs_mut().extend_pairs(pairs);
        }
        Self { client: client.clone(), url, limit, read }
    }

    /// The list as it was at a moment: of entities, roles, assignments or principals. Each page is recorded as a
    /// review.
    /// Without an answer about the past, [`Error::Invalid`] says why.
    pub fn at(mut self, moment: Moment) -> Self {
        let mut pairs = wire::moment_pairs(moment).peekable();
        if pairs.peek().is_some() {
            self.url.query_pairs_mut().extend_pairs(pairs);
        }
        self
    }

    /// At most this many rows in a page. The service refuses 0 and more than the list's limit, which
    /// [`Error::Invalid`] names.
    pub fn limit(self, limit: u32) -> Self {
        Self { limit, ..self }
    }

    /// The first page.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn page(&self) -> Result<Page<T>, Error> {
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair("limit", &self.limit.to_string());
        self.fetch(url).await
    }

    /// The page after `page`, or `None` after the last one.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn page_after(&self, page: &Page<T>) -> Result<Option<Page<T>>, Error> {
        match &page.next {
            Some(url) => self.fetch(url.clone()).await.map(Some),
            None => Ok(None),
        }
    }

    /// All pages. A page is requested when the one before it has been taken; the stream ends after an error.
    #[must_use]
    pub fn pages(self) -> BoxStream<'static, Result<Page<T>, Error>> {
        stream::try_unfold((self, None), |(list, seen): (Self, Option<Page<()>>)| async move {
            let page = match seen {
                None => Some(list.page().await?),
                Some(Page { next: Some(url), .. }) => Some(list.fetch(url).await?),
                Some(_) => None,
            };
            Ok(page.map(|page| {
                let seen = Page { items: Vec::new(), next: page.next.clone(), entries_dropped_to: None };
                (page, (list, Some(seen)))
            }))
        })
        .boxed()
    }

    /// All rows. Pages are requested as the rows are taken; the stream ends after an error.
    #[must_use]
    pub fn stream(self) -> BoxStream<'static, Result<T, Error>> {
        self.pages().map_ok(|page| stream::iter(page.items).map(Ok)).try_flatten().boxed()
    }

    /// All rows in memory.
    ///
    /// # Errors
    /// Those of every call: a list that cannot be read to its end is an error, never a part of it.
    pub async fn all(self) -> Result<Vec<T>, Error> {
        self.pages()
            .try_fold(Vec::new(), async |mut rows, page| {
                rows.extend(page.items);
                Ok(rows)
            })
            .await
    }

    async fn fetch(&self, url: Url) -> Result<Page<T>, Error> {
        let request = Request { method: Method::GET, url: url.clone(), body: None, repeat: Repeat::Safe };
        let answer = self.client.send(request).await?;
        let next = next_page(&url, &answer.headers)?;
        let Json::List(rows) = answer.json()? else {
            return Err(ProtocolError::Body { reason: "it is not a list".into() }.into());
        };
        let items = rows.iter().map(self.read).collect::<Result<_, _>>().map_err(|invalid| unreadable(&invalid))?;
        let dropped_to = answer.headers.get(ENTRIES_DROPPED_TO).and_then(|value| value.to_str().ok());
        Ok(Page { items, next, entries_dropped_to: dropped_to.and_then(|text| text.parse().ok()) })
    }
}

/// The URL of the page after the one at `url`: the reference in `Link: <…>; rel="next"`, resolved as RFC 3986 says.
fn next_page(url: &Url, headers: &HeaderMap) -> Result<Option<Url>, Error> {
    let mut links = headers.get_all(LINK).iter().filter_map(|link| link.to_str().ok());
    let Some(reference) = links.find_map(next_in) else { return Ok(None) };
    let next = url.join(reference).ok().filter(|next| next.origin() == url.origin());
    next.map(Some).ok_or_else(|| ProtocolError::ForeignLink.into())
}

/// The reference that a `Link` gives for `rel="next"`. The header can hold several links, separated by commas.
fn next_in(link: &str) -> Option<&str> {
    let mut rest = link;
    loop {
        let (reference, after) = rest.split_once('<')?.1.split_once('>')?;
        let parameters = after.split('<').next().unwrap_or_default();
        let is_next = parameters.split([';', ',']).any(|parameter| {
            let parameter = parameter.trim();
            parameter == "rel=\"next\"" || parameter == "rel=next"
        });
        if is_next {
            return Some(reference);
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn the_next_page_is_found_behind_a_proxy_too() {
        let url = Url::parse("https://proxy/epr/api/v1/roles?limit=500&cursor=old").unwrap();
        let next = |link: &str| {
            let headers = HeaderMap::from_iter([(LINK, HeaderValue::from_str(link).unwrap())]);
            next_page(&url, &headers).map(|next| next.map(String::from))
        };
        let behind = "https://proxy/epr/api/v1/roles?limit=500&cursor=AbC%2D_";
        for reference in ["?limit=500&cursor=AbC%2D_", "roles?limit=500&cursor=AbC%2D_", behind] {
            assert_eq!(next(&format!("<{reference}>; rel=\"next\"")).unwrap().as_deref(), Some(behind));
        }
        for elsewhere in ["//evil.test/?cursor=a", "http://proxy/epr", "https://proxy:8443/", "file:///etc"] {
            let link = next(&format!("<{elsewhere}>; rel=\"next\""));
            assert!(matches!(link, Err(Error::Protocol(ProtocolError::ForeignLink))), "{elsewhere}");
        }
    }

    #[test]
    fn other_links_are_ignored() {
        assert_eq!(next_in("<?a>; rel=\"prev\", <?b>; title=\"x\"; rel=\"next\""), Some("?b"));
        assert_eq!(next_in("<?b>;rel=next"), Some("?b"));
        for other in ["", "<?a", "?a; rel=\"next\"", "<?a>; rel=\"prev\"", "<?a>; rel=\"nextfile\"", "<?a>"] {
            assert_eq!(next_in(other), None, "{other}");
        }
    }
}

//! The tokens of searches: where a page begins, and its limit, bound to the endpoint and the request.
//!
//! They have the form and the keys of the tokens of lists of access. Must never depend on the time: the same request is
//! answered with the same bytes.

use super::super::access::keys::TokenKeys;
use super::super::access::token::PageToken;
use super::search_request::{SearchKind, SearchRequest};
use crate::domain::access::ListKind;
use crate::domain::fields::Problem;
use crate::domain::{Incarnation, Revision, Timestamp};
use crate::error::{Error, Result};
use crate::store::StoreError;

/// Where a page begins, and how many results it may have.
pub(super) struct Position {
    /// The name after which it begins.
    pub(super) after: String,
    pub(super) limit: u32,
    /// The incarnation of the ledger that the page before rests on.
    pub(super) incarnation: Incarnation,
}

/// The error of a token that cannot be used.
pub(super) fn wrong_token(why: &str) -> Error {
    let msg = format!("{why}. Begin again without `page.token`");
    Error::field("page", Problem::new("page_token", msg).under("token"))
}

fn list_kind(kind: SearchKind) -> ListKind {
    match kind {
        SearchKind::Subject => ListKind::Principals,
        SearchKind::Resource => ListKind::Resources,
        SearchKind::Action => ListKind::Actions,
    }
}

/// Reads the token of a page of `request`, whose hash is `hash`.
pub(super) fn read_token(keys: &TokenKeys, text: &str, request: &SearchRequest, hash: [u8; 32]) -> Result<Position> {
    let token = PageToken::decode(text, |number| keys.get(number))
        .map_err(|_| wrong_token("The token is not one of this service, was altered, or is too old"))?;
    let another = || wrong_token("The token belongs to another request or endpoint");
    token.check(list_kind(request.question.kind()), &hash).map_err(|_| another())?;
    let after = String::from_utf8(token.last).map_err(|_| another())?;
    let limit = token.state.try_into().map_err(|_| another())?;
    Ok(Position { after, limit: u32::from_be_bytes(limit), incarnation: token.revision.incarnation })
}

/// Writes the token of the page at `position`. Of the revision it has only the incarnation.
pub(super) fn write_token(
    keys: &TokenKeys,
    request: &SearchRequest,
    hash: [u8; 32],
    position: Position,
) -> Result<String> {
    let Position { after, limit, incarnation } = position;
    let as_of = Timestamp::from_unix_micros(0).map_err(|error| StoreError::corrupt("time", error))?;
    let token = PageToken {
        kind: list_kind(request.question.kind()),
        request: hash,
        revision: Revision { sequence: 0, incarnation },
        as_of,
        last: after.into_bytes(),
        state: limit.to_be_bytes().to_vec(),
    };
    let text = token.encode(keys.newest()?);
    text.ok_or_else(|| StoreError::corrupt("search", "a name that fits in no token").into())
}

//! Lists of access: who may do what, page by page, each item judged as a check of it would be.
//!
//! INVARIANT: an item is listed exactly if a check of it, at the time and the revision of the first page, says yes.
//! Must never answer a page before it is recorded, and never end a list early without saying so.

pub(crate) mod actions;
pub(crate) mod body;
pub(crate) mod keys;
mod page;
pub(crate) mod principals;
pub(crate) mod resources;
pub(crate) mod subtrees;
pub(crate) mod token;

use self::body::AccessRequest;
use self::keys::TokenKeys;
use self::token::{PageToken, RequestHash, TokenError};
use super::question_body::check_context;
use super::record::{self, Listing};
use crate::call::Call;
use crate::domain::access::AccessPage;
use crate::domain::fields::Problem;
use crate::domain::{EntityType, Moment, NotAskable, PageMoment, PastMoment, Revision, Timestamp};
use crate::engine::list_turns::Turn;
use crate::engine::{Engines, revisions};
use crate::error::{Error, Result};
use crate::store::StoreError;
use tracing::info;
use uuid::Uuid;

/// One page under way: what it has in common with the first one.
pub(super) struct Walk<'a> {
    call: &'a Call,
    /// Held until the page is recorded.
    _turn: Turn,
    keys: TokenKeys,
    request: RequestHash,
    /// The token of the page; `None` for the first one.
    continued: Option<PageToken>,
    /// The moment that the request names.
    moment: Moment,
}

/// Where the page after this one begins: the last key, and what else the list has to know.
pub(super) struct NextPage {
    pub(super) last: Vec<u8>,
    pub(super) state: Vec<u8>,
}

/// What a page rests on.
pub(super) struct Basis {
    /// The revision of every page.
    pub(super) revision: Revision,
    /// The time of every page.
    pub(super) as_of: Timestamp,
    /// The subject of the ledger entry: the resource that the list is about, with its type.
    pub(super) subject: Option<(Uuid, EntityType)>,
}

impl<'a> Walk<'a> {
    /// Begins the page that `request` asks for. What is read after it has the state that `call` names, or a later one.
    pub(super) async fn begin(engines: &Engines, call: &'a Call, request: &impl AccessRequest) -> Result<Self> {
        let list = request.list();
        check_context(&list.context).map_err(|problem| Error::field("context", problem))?;
        let (keys, hash) = (TokenKeys::current(engines).await?, request.hash());
        let continued = list.next.as_deref().map(|text| PageToken::decode(text, |number| keys.get(number)));
        let continued = continued.transpose().map_err(refused)?;
        let moment = Moment { at: list.at, revision: list.revision };
        if let Some(token) = &continued {
            token.check(Self::kind_of(request), &hash).map_err(refused)?;
        }
        revisions::reach(engines, call).await?;
        let turn = engines.list_turns.take().await?;
        Ok(Self { call, _turn: turn, keys, request: hash, continued, moment })
    }

    fn kind_of<R: AccessRequest>(_: &R) -> crate::domain::access::ListKind {
        R::KIND
    }

    /// The key after which the page begins, and the state of the list; `None` for the first page.
    pub(super) fn position(&self) -> Option<(&[u8], &[u8])> {
        self.continued.as_ref().map(|token| (token.last.as_slice(), token.state.as_slice()))
    }

    /// Checks that a page at `revision` is of the incarnation that the caller named, and that a later page does not
    /// rest on an earlier state than the caller named.
    ///
    /// # Errors
    /// `Conflict`.
    pub(super) fn check_revision(&self, revision: Revision) -> Result<()> {
        self.call.confirm_incarnation(revision)?;
        match self.call.at_least {
            Some(wanted) if self.continued.is_some() && wanted.revision > revision => Err(Error::Conflict(format!(
                "The pages of this list are at revision {revision}, and `EPR-At-Least` names a later one, {}: begin \
                 again without `next`, or leave out the header",
                wanted.revision
            ))),
            _ => Ok(()),
        }
    }

    /// The state of the registry that the page is read at: that of the first page, whatever has changed since.
    pub(super) fn moment(&self, now: Timestamp) -> PageMoment {
        match &self.continued {
            Some(token) => PageMoment::Pinned(PastMoment { revision: token.revision, at: token.as_of }),
            None if self.moment.is_now() => PageMoment::Present,
            None => PageMoment::Asked(self.moment, now),
        }
    }

    /// The error of a visit. A token of another incarnation is refused like one that is not authentic.
    pub(super) fn error(&self, error: StoreError) -> Error {
        let Some(token) = &self.continued else { return error.into() };
        match error {
            StoreError::NotAskable(NotAskable::OtherIncarnation { .. }) => refused(TokenError::OtherIncarnation),
            StoreError::NotAskable(why) => Error::Conflict(format!(
                "The registry has changed since the first page of this list (revision {}), and history cannot continue \
                 it: begin again without `next`. {why}",
                token.revision
            )),
            other => other.into(),
        }
    }

    /// Records the page, reports its revision and returns it.
    pub(super) async fn finish<R: AccessRequest, T>(
        &self,
        engines: &Engines,
        request: &R,
        basis: &Basis,
        (items, next): (Vec<T>, Option<NextPage>),
    ) -> Result<AccessPage<T>> {
        let token = |next: NextPage| {
            let token = PageToken {
                kind: R::KIND,
                request: self.request,
                revision: basis.revision,
                as_of: basis.as_of,
                last: next.last,
                state: next.state,
            };
            let text = token.encode(self.keys.newest()?);
            text.ok_or_else(|| Error::from(StoreError::corrupt("list", "a key that fits in no token")))
        };
        let next = next.map(token).transpose()?;
        let page = AccessPage {
            complete: next.is_none(),
            items,
            next,
            revision: basis.revision.to_string(),
            as_of: basis.as_of,
        };
        let list = request.list();
        let listing = Listing {
            kind: R::KIND,
            question: request.members(),
            list,
            count: page.items.len(),
            complete: page.complete,
            is_continued: self.continued.is_some(),
            is_past: !self.moment.is_now(),
            revision: &page.revision,
            as_of: page.as_of,
            subject: basis.subject.as_ref(),
        };
        let draft = record::listed(self.call, engines.now(), listing)?;
        engines.ledger.record(vec![draft]).await.map_err(StoreError::from)?;
        self.call.set_answered_at(basis.revision);
        info!(kind = R::KIND.word(), count = page.items.len(), complete = page.complete, "access_listed");
        Ok(page)
    }
}

fn refused(error: TokenError) -> Error {
    Error::field("next", Problem::new("page_token", error.to_string()))
}

//! A running API: the client's answers as the commands need them.
//!
//! Owns the sentences about an answer that is not a success. Must know no path and no wire form: those are in
//! `epr-client`.

use std::time::Duration;

use epr_client::{
    BaseUrl, Client, Error, Explanation, List, Order, ProtocolError, Question, RetryPolicy, TransportKind,
};
use epr_core::domain::{
    Assignment, AssignmentFilter, AssignmentRequest, AuditEntry, AuditFilter, BulkStep, Change, Entity, EntityFilter,
    EntityPatch, JsonObject, Moment, NamedAssignment, NewEntity, NewRole, Revision, Role, RolePatch, StatedReason,
};
use epr_core::error::chain;
use epr_transfer::run::check_made;
use futures_util::TryStreamExt as _;
use uuid::Uuid;

use super::reports::Names;
use super::{BackendError, PAGE_ROWS, RowVisitor};

/// For opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For one call.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);

/// An API at an address.
pub(crate) struct Api {
    pub(super) client: Client,
    has_token: bool,
}

impl Api {
    pub(crate) fn new(
        base: &BaseUrl,
        token: Option<&str>,
        actor: Option<Uuid>,
        reason: Option<&StatedReason>,
    ) -> Result<Self, String> {
        let builder = Client::builder(base.to_string())
            .user_agent(concat!("epr/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            // An operator decides whether to try again.
            .retries(RetryPolicy::never());
        let builder = match token {
            Some(token) => builder.token(token),
            None => builder,
        };
        let client = builder.build().map_err(|error| chain(&error))?;
        let client = actor.map_or_else(|| client.clone(), |actor| client.with_actor(actor));
        let client = reason.map_or_else(|| client.clone(), |reason| client.with_reason(reason));
        Ok(Self { client, has_token: token.is_some() })
    }

    pub(super) fn address(&self) -> String {
        self.client.base_url().to_string()
    }

    fn not_an_api(&self) -> BackendError {
        BackendError::Message(format!(
            "{} answered, but not as an EPR API does: check the address",
            self.client.base_url()
        ))
    }

    /// The sentence about an error, with what to do.
    fn describe(&self, error: Error) -> BackendError {
        let is_temporary = error.is_temporary();
        let base = self.client.base_url();
        let sentence = match error {
            Error::Unauthorized { message } if self.has_token => {
                format!("the API does not accept this token: {message}; it may have expired or been revoked")
            }
            Error::Unauthorized { .. } => {
                "the API requires a token: write it to a file and give that with --token-file, or set EPR_API_TOKEN"
                    .into()
            }
            Error::Forbidden { message } => format!("this token does not allow that: {message}"),
            Error::Conflict { message } => return BackendError::Conflict(message),
            Error::NotFound { message } => return BackendError::NotFound(message),
            Error::Unavailable { status, message, retry_after } => {
                let wait = retry_after.map(|wait| format!(" in {} s", wait.as_secs())).unwrap_or_default();
                format!("the API is unavailable ({status}: {message}): try again{wait}")
            }
            Error::Internal { status, request_id, .. } => {
                let request = request_id.map(|id| format!(" under request id {id}")).unwrap_or_default();
                format!("the API failed ({status}): the log of the service has the details{request}")
            }
            Error::Protocol(ProtocolError::Redirect { location }) => format!(
                "{base} redirects to {}: use the right address; redirects are not followed, to protect the token",
                location.as_deref().unwrap_or("an unnamed location")
            ),
            Error::Protocol(ProtocolError::Status { status, message }) => {
                format!("the API answered {status}: {message}")
            }
            Error::Protocol(_) => return self.not_an_api(),
            Error::Transport { kind, source } => {
                // The outermost sentence of the HTTP library says only that a request was being sent.
                let cause = source.source().map_or_else(|| chain(&*source), chain);
                match kind {
                    TransportKind::Connect => {
                        format!(
                            "{base} cannot be reached ({cause}): check the address, and that the service is running"
                        )
                    }
                    TransportKind::Timeout => format!(
                        "{base} did not answer in time; the change may have been made: look before trying again"
                    ),
                    TransportKind::Interrupted => format!("the connection to {base} ended: {cause}"),
                }
            }
            other => chain(&other),
        };
        if is_temporary { BackendError::Temporary(sentence) } else { BackendError::Message(sentence) }
    }

    /// The next changes after a revision, for which the call waits up to `wait`, and the revision to go on after.
    pub(super) async fn changes(
        &self,
        after: Option<Revision>,
        wait: Duration,
    ) -> Result<(Vec<Change>, Option<Revision>), BackendError> {
        let mut changes = self.client.changes(after);
        let page = self.checked(changes.next_page(wait).await)?;
        Ok((page, changes.position()))
    }

    pub(super) fn checked<T>(&self, outcome: Result<T, Error>) -> Result<T, BackendError> {
        outcome.map_err(|error| self.describe(error))
    }

    /// Passes the rows of a list to `visit` until it returns `false`.
    pub(super) async fn for_each<T: Send + 'static>(
        &self,
        list: List<T>,
        visit: RowVisitor<'_, T>,
    ) -> Result<(), BackendError> {
        let mut rows = list.limit(PAGE_ROWS).stream();
        while let Some(row) = self.checked(rows.try_next().await)? {
            if !visit(row) {
                break;
            }
        }
        Ok(())
    }

    pub(super) async fn check(
        &self,
        question: &Question,
        context: &JsonObject,
        moment: Moment,
    ) -> Result<bool, BackendError> {
        self.checked(self.client.authorize_at(question, context, moment).await)
    }

    pub(super) async fn explain(
        &self,
        question: &Question,
        context: &JsonObject,
        moment: Moment,
    ) -> Result<Explanation, BackendError> {
        self.checked(self.client.explain(question, context, moment).await)
    }

    pub(super) async fn entity(&self, id: Uuid) -> Result<Entity, BackendError> {
        self.checked(self.client.entity(id).await)
    }

    pub(super) async fn create_entity(&self, new: &NewEntity) -> Result<Entity, BackendError> {
        self.checked(self.client.create_entity(new).await)
    }

    pub(super) async fn update_entity(&self, id: Uuid, patch: &EntityPatch) -> Result<Entity, BackendError> {
        self.checked(self.client.update_entity(id, patch).await)
    }

    pub(super) async fn archive_entity(&self, id: Uuid) -> Result<Entity, BackendError> {
        self.checked(self.client.archive_entity(id).await)
    }

    pub(super) async fn role(&self, id: Uuid) -> Result<Role, BackendError> {
        self.checked(self.client.role(id).await)
    }

    pub(super) async fn create_role(&self, new: &NewRole) -> Result<Role, BackendError> {
        self.checked(self.client.create_role(new).await)
    }

    pub(super) async fn update_role(&self, id: Uuid, patch: &RolePatch) -> Result<Role, BackendError> {
        self.checked(self.client.update_role(id, patch).await)
    }

    pub(super) async fn assignment(&self, id: Uuid) -> Result<Assignment, BackendError> {
        self.checked(self.client.assignment(id).await)
    }

    /// Passes ledger entries to `visit` until it returns `false`. Returns the border up to which some may be missing.
    pub(super) async fn for_each_entry(
        &self,
        filter: &AuditFilter,
        oldest_first: bool,
        page_rows: u32,
        visit: RowVisitor<'_, AuditEntry>,
    ) -> Result<Option<i64>, BackendError> {
        let order = if oldest_first { Order::OldestFirst } else { Order::NewestFirst };
        let mut pages = self.client.audit_entries(filter, order).limit(page_rows).pages();
        let mut dropped_to = None;
        while let Some(page) = self.checked(pages.try_next().await)? {
            dropped_to = dropped_to.max(page.entries_dropped_to());
            if !page.items.into_iter().all(&mut *visit) {
                break;
            }
        }
        Ok(dropped_to)
    }

    pub(super) async fn assign(&self, request: &AssignmentRequest) -> Result<Assignment, BackendError> {
        self.checked(self.client.assign_to(request).await)
    }

    pub(super) async fn revoke(&self, id: Uuid) -> Result<(), BackendError> {
        self.checked(self.client.revoke(id).await)
    }

    pub(super) async fn apply(&self, step: &BulkStep) -> Result<(), BackendError> {
        match step {
            BulkStep::CreatePrincipal(new) => self.checked(self.client.create_principal(new).await).map(|_| ()),
            BulkStep::UpdatePrincipal(kind, id, patch) => {
                self.checked(self.client.update_principal(kind, *id, patch).await).map(|_| ())
            }
            BulkStep::CreateRole(new) => self.create_role(new).await.map(|_| ()),
            BulkStep::UpdateRole(id, patch) => self.update_role(*id, patch).await.map(|_| ()),
            BulkStep::Assign(new) => {
                check_made(new.assignment(), &self.assign(new).await?).map_err(BackendError::Message)
            }
            // They need a transaction.
            BulkStep::ExpectPrincipal(..) | BulkStep::ExpectRole(..) | BulkStep::AssignCreated(..) => {
                Err(BackendError::Message("this change needs the database".to_owned()))
            }
            BulkStep::Reassign(old, new) => {
                self.revoke(*old).await?;
                let made = self.checked(self.client.assign(new).await).map_err(|why| {
                    BackendError::Message(format!(
                        "assignment {old} is revoked, but its replacement was not created: {why}"
                    ))
                })?;
                check_made(new, &made).map_err(BackendError::Message)
            }
        }
    }

    pub(super) async fn for_each_entity(
        &self,
        filter: &EntityFilter,
        visit: RowVisitor<'_, Entity>,
    ) -> Result<(), BackendError> {
        self.for_each(self.client.entities(filter), visit).await
    }

    pub(super) async fn for_each_role(&self, visit: RowVisitor<'_, Role>) -> Result<(), BackendError> {
        self.for_each(self.client.roles(), visit).await
    }

    pub(super) async fn for_each_assignment(
        &self,
        filter: AssignmentFilter,
        visit: RowVisitor<'_, Assignment>,
    ) -> Result<(), BackendError> {
        self.for_each(self.client.assignments(&filter), visit).await
    }

    /// Assignments with the names of their roles and entities. The names are requested one by one, each once.
    pub(super) async fn for_each_named_assignment(
        &self,
        filter: AssignmentFilter,
        visit: RowVisitor<'_, NamedAssignment>,
    ) -> Result<(), BackendError> {
        let mut names = Names::default();
        let mut rows = self.client.assignments(&filter).limit(PAGE_ROWS).stream();
        while let Some(assignment) = self.checked(rows.try_next().await)? {
            if !visit(names.name(self, assignment).await?) {
                return Ok(());
            }
        }
        Ok(())
    }
}

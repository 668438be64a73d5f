//! The outbox.

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use uuid::Uuid;

use super::super::dialect::outbox_signals;
use super::super::events;
use super::SqlStore;
use crate::domain::Timestamp;
use crate::domain::event::{Event, EventFilter};
use crate::store::{Backlog, Completion, Lease, LeasedEvents, OutboxCursor, OutboxStore, Page, Result, RowVisitor};

#[async_trait]
impl OutboxStore for SqlStore {
    async fn event(&self, event_id: Uuid) -> Result<Option<Event>> {
        self.read(async |conn| events::get(conn, event_id).await).await
    }

    async fn events(&self, filter: &EventFilter, page: Page, visit: RowVisitor<'_, Event>) -> Result<()> {
        self.list(async |conn| events::list(conn, filter, page, visit).await).await
    }

    async fn lease_events(&self, claim: Lease, now: Timestamp, limit: u32, from: OutboxCursor) -> Result<LeasedEvents> {
        self.change(async |conn| events::claim(conn, claim, now, limit, from).await).await
    }

    async fn complete_events(&self, token: Uuid, now: Timestamp, completions: &[Completion]) -> Result<bool> {
        self.change(async |conn| events::complete(conn, token, now, completions).await).await
    }

    async fn requeue_events(&self, event_id: Option<Uuid>, now: Timestamp, limit: u32) -> Result<u64> {
        self.write(async |conn| events::requeue(conn, event_id, now, limit).await).await
    }

    async fn any_event_pending(&self) -> Result<bool> {
        self.read(async |conn| events::any_pending(conn).await).await
    }

    async fn event_backlog(&self) -> Result<Backlog> {
        self.read(async |conn| events::backlog(conn).await).await
    }

    fn outbox_signals(&self) -> BoxStream<'static, ()> {
        outbox_signals(&self.read)
    }
}

//! Completing history from the ledger.

use async_trait::async_trait;

use super::super::{explain, facts, history};
use super::SqlStore;
use crate::decision::{Facts, NamedFacts, Question};
use crate::domain::{Moment, PastMoment, Revision, Timestamp};
use crate::history::reconcile::Joined;
use crate::history::verify::HistoryItem;
use crate::store::{HistoryReport, HistoryState, HistoryStore, Result, RowVisitor};

#[async_trait]
impl HistoryStore for SqlStore {
    async fn history_state(&self) -> Result<HistoryState> {
        self.read(async |conn| history::state(conn).await).await
    }

    async fn complete_history(&self) -> Result<HistoryReport> {
        history::fill(&self.write).await
    }

    async fn past_facts(
        &self,
        question: &Question,
        moment: Moment,
        now: Timestamp,
    ) -> Result<(PastMoment, Option<Facts>)> {
        let known = self.continuity.newest_change();
        let read = async |conn: &mut _| {
            if let Some(at) = moment.of_present(now) {
                let (found, accepted) = facts::read(conn, question, known.as_ref()).await?;
                return Ok((PastMoment { revision: accepted.revision, at }, found, accepted));
            }
            history::facts(conn, question, (moment, now), known.as_ref()).await
        };
        let (past, found, accepted) = self.read(read).await?;
        self.continuity.record(&accepted.decisive);
        Ok((past, found))
    }

    async fn past_named_facts(
        &self,
        question: &Question,
        moment: Moment,
        now: Timestamp,
    ) -> Result<(PastMoment, Option<NamedFacts>)> {
        let known = self.continuity.newest_change();
        let read = async |conn: &mut _| {
            if let Some(at) = moment.of_present(now) {
                let (named, accepted) = explain::read(conn, question, None, known.as_ref()).await?;
                return Ok((PastMoment { revision: accepted.revision, at }, named, accepted));
            }
            explain::read_past(conn, question, (moment, now), known.as_ref()).await
        };
        let (past, named, accepted) = self.probes(read).await?;
        self.continuity.record(&accepted.decisive);
        Ok((past, named))
    }

    async fn registry_and_ledger(&self, visit: RowVisitor<'_, Joined>) -> Result<Revision> {
        let _permit = self.limits.scan().await?;
        history::joined(&self.read, self.continuity.newest_change().as_ref(), visit).await
    }

    async fn versions_and_ledger(&self, visit: RowVisitor<'_, HistoryItem>) -> Result<HistoryState> {
        let _permit = self.limits.scan().await?;
        history::versions(&self.read, self.continuity.newest_change().as_ref(), visit).await
    }

    async fn rebuild_history(&self) -> Result<HistoryReport> {
        history::rebuild(&self.write).await
    }
}

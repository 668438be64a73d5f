//! `Engines`: the running parts of one service, which every use case works with.

use std::sync::Arc;

use uuid::Uuid;

use super::answer_keeper::AnswerKeeper;
use super::archived_entries::LastFile;
use super::cache::Cache;
use super::change_signal::ChangeSignal;
#[cfg(feature = "proofs")]
use super::checkpointer::Checkpointer;
use super::clock_offset::ClockOffset;
use super::condition_errors::ConditionErrors;
use super::core::Core;
use super::delivery::Delivery;
use super::fact_reader::FactReader;
use super::graph::{Graph, GraphKeeper};
use super::history_keeper::HistoryKeeper;
use super::ledger_writer::LedgerWriter;
use super::list_turns::ListTurns;
use super::name_hashes::NameHashes;
use crate::domain::Timestamp;
use crate::publish::Publisher;
use crate::store::Store;

/// The core and the engines over it. Clones share everything.
#[derive(Clone)]
pub(crate) struct Engines {
    pub(crate) core: Arc<Core>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) changes: Arc<ChangeSignal>,
    pub(crate) graph: Arc<Graph>,
    pub(crate) graph_keeper: Arc<GraphKeeper>,
    pub(crate) facts: Arc<FactReader>,
    pub(crate) ledger: Arc<LedgerWriter>,
    pub(crate) delivery: Arc<Delivery>,
    #[cfg(feature = "proofs")]
    pub(crate) checkpointer: Arc<Checkpointer>,
    pub(crate) clock_offset: Arc<ClockOffset>,
    pub(crate) history: Arc<HistoryKeeper>,
    pub(crate) answers: Arc<AnswerKeeper>,
    pub(crate) condition_errors: Arc<ConditionErrors>,
    pub(crate) list_turns: Arc<ListTurns>,
    pub(crate) name_hashes: Arc<NameHashes>,
    /// The last file of the archive that was read.
    pub(crate) archived: Arc<LastFile>,
}

impl Engines {
    /// Builds the engines over `core`. None of them runs yet. Events are stored but not published without a
    /// `publisher`.
    pub(crate) fn new(core: Arc<Core>, publisher: Option<Arc<dyn Publisher>>) -> Self {
        let cache = Arc::new(Cache::new(&core.settings.cache));
        Self {
            graph: Arc::new(Graph::new(Arc::clone(cache.tiers()), core.settings.cache.graph)),
            graph_keeper: Arc::default(),
            cache,
            changes: Arc::default(),
            facts: Arc::new(FactReader::new(Arc::clone(&core.store))),
            ledger: Arc::new(LedgerWriter::new(Arc::clone(&core.store), core.metrics.ledger.clone())),
            delivery: Arc::new(Delivery::new(Arc::clone(&core), publisher)),
            #[cfg(feature = "proofs")]
            checkpointer: Arc::new(Checkpointer::new(Arc::clone(&core))),
            clock_offset: Arc::default(),
            history: Arc::default(),
            answers: Arc::default(),
            condition_errors: Arc::new(ConditionErrors::new(core.metrics.condition_errors.clone())),
            list_turns: Arc::new(ListTurns::new()),
            name_hashes: Arc::default(),
            archived: Arc::default(),
            core,
        }
    }

    /// The database.
    pub(crate) fn store(&self) -> &dyn Store {
        &*self.core.store
    }

    /// The current time.
    pub(crate) fn now(&self) -> Timestamp {
        self.core.now()
    }

    /// A new id.
    pub(crate) fn new_id(&self) -> Uuid {
        self.core.new_id()
    }
}

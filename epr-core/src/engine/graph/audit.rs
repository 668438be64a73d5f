//! Compares the registry in memory with the database, in the background: a few rows often, all of them now and then.
//!
//! Rows that have changed since the snapshot are left out, so that a difference is an error: of this program, or of a
//! change that nothing has noted. Must never repair anything: the registry is read again.

use std::collections::HashSet;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use uuid::Uuid;

use super::current::{Current, Graph};
use super::snapshot::{Described, Principal, PrincipalKey, Snapshot};
use crate::store::{
    GraphAssignment, GraphChange, GraphCompared, GraphEntity, GraphKey, GraphPrincipal, GraphPrincipalKey, GraphRole,
    GraphRow, Result, Store,
};

/// The interval at which some rows are compared.
const SOME_INTERVAL: Duration = Duration::from_secs(30);
/// The interval at which all rows are compared.
const ALL_INTERVAL: Duration = Duration::from_hours(1);
/// The most rows of each kind that are compared at a time.
const SOME_ROWS: usize = 100;

/// A difference between memory and database.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Difference {
    /// A row has another value, or is missing on one side.
    #[error("the registry in memory differs from the database in {0:?}")]
    Row(GraphKey),
    /// Memory has rows that the database does not have.
    #[error("the registry in memory has {0} rows, and the database {1} of them")]
    Count(usize, usize),
}

/// Compares rows until there is a difference, which is returned. A database that cannot be read is asked again later.
pub(super) async fn repeat(graph: &Graph, store: &dyn Store) -> Difference {
    let mut all = Instant::now() + ALL_INTERVAL;
    loop {
        let some = Instant::now() + SOME_INTERVAL;
        sleep_until(some).await;
        let Some(current) = graph.current.load_full() else { continue };
        let compared = if Instant::now() >= all {
            all = Instant::now() + ALL_INTERVAL;
            compare_all(&current, store).await
        } else {
            compare_some(&current, store).await
        };
        // After an interruption of the feed, the notes may be those of another server.
        if let Ok(Some(difference)) = compared
            && graph.is_undoubted(&current)
        {
            return difference;
        }
    }
}

impl Graph {
    fn is_undoubted(&self, current: &Current) -> bool {
        self.doubts.load(SeqCst) == current.doubts
    }

    /// Compares all rows with the database once.
    #[cfg(test)]
    pub(crate) async fn difference(&self, store: &dyn Store) -> Option<Difference> {
        let current = self.current.load_full()?;
        let some = compare_some(&current, store).await.unwrap();
        let all = compare_all(&current, store).await.unwrap();
        assert!(some.is_none() || all.is_some(), "{some:?}");
        all.filter(|_| self.is_undoubted(&current))
    }
}

/// Compares some rows of memory with those of the database.
async fn compare_some(current: &Current, store: &dyn Store) -> Result<Option<Difference>> {
    let snapshot = &current.snapshot;
    let Some(position) = &snapshot.position else { return Ok(None) };
    let keys = snapshot.some_keys(SOME_ROWS, Uuid::new_v4());
    let mut different = None;
    let mut visit = |GraphChange { key, row }| {
        let is_same = row.is_some_and(|row| snapshot.holds(&row));
        different = (!is_same).then_some(key);
        is_same
    };
    store.show_unchanged_rows(position, keys, &mut visit).await?;
    Ok(different.map(Difference::Row))
}

/// Compares every row of the database with memory, and their numbers.
async fn compare_all(current: &Current, store: &dyn Store) -> Result<Option<Difference>> {
    let snapshot = &current.snapshot;
    let Some(position) = &snapshot.position else { return Ok(None) };
    let (mut changed, mut changed_here) = (HashSet::new(), 0_usize);
    let (mut compared, mut different) = (0_usize, None);
    let mut visit = |found| {
        match found {
            GraphCompared::Changed(key) => {
                changed_here += usize::from(snapshot.has(&key));
                changed.insert(key);
            }
            GraphCompared::Row(row) => {
                let key = row.key();
                if !changed.contains(&key) {
                    compared += 1;
                    different = (!snapshot.holds(&row)).then_some(key);
                }
            }
        }
        different.is_none()
    };
    if store.compare_graph(position, &mut visit).await?.is_none() {
        return Ok(None);
    }
    let here = snapshot.rows().saturating_sub(changed_here);
    Ok(match different {
        Some(key) => Some(Difference::Row(key)),
        None => (here != compared).then_some(Difference::Count(here, compared)),
    })
}

impl Snapshot {
    /// Whether this row is in memory as the database has it.
    fn holds(&self, row: &GraphRow) -> bool {
        self.row(&row.key()).is_some_and(|here| match (here, row) {
            // The actions of a role are in no order.
            (GraphRow::Role(mut here), GraphRow::Role(row)) => {
                let mut actions = row.actions.clone();
                actions.sort_unstable();
                here.actions.sort_unstable();
                here.scope_types == row.scope_types && here.actions == actions
            }
            (here, row) => here == *row,
        })
    }

    fn has(&self, key: &GraphKey) -> bool {
        self.row(key).is_some()
    }

    /// The number of rows.
    fn rows(&self) -> usize {
        let of_principals =
            self.principals.iter().map(|(_, one)| one.assignments.len() + usize::from(one.is_registered));
        self.entities.len() + self.roles.ids().count() + of_principals.sum::<usize>()
    }

    /// The keys of some rows: of entities and principals that are near each other by chance, of the assignments of
    /// these, and of roles.
    fn some_keys(&self, most: usize, chance: Uuid) -> Vec<GraphKey> {
        let mut keys = Vec::with_capacity(4 * most);
        keys.extend(self.entities.some(chance).take(most).map(|(id, _)| GraphKey::Entity(*id)));
        let first = usize::from(chance.as_fields().1) % self.roles.ids().count().max(1);
        let roles = self.roles.ids().skip(first).chain(self.roles.ids().take(first));
        keys.extend(roles.take(most).map(GraphKey::Role));
        let mut assignments = 0;
        for (key, principal) in self.principals.some(chance).take(most) {
            let Some(key) = self.stored_key(*key) else { continue };
            if principal.is_registered {
                keys.push(GraphKey::Principal(key.clone()));
            }
            for one in principal.assignments.iter().take(most.saturating_sub(assignments)) {
                assignments += 1;
                keys.push(GraphKey::Assignment(key.clone(), one.id));
            }
        }
        keys
    }

    fn stored_key(&self, key: PrincipalKey) -> Option<GraphPrincipalKey> {
        let principal_type = self.principal_types.get(key.principal_type)?.clone();
        Some(GraphPrincipalKey { principal_type, id: key.id })
    }

    /// The row with this key as the database would return it.
    fn row(&self, key: &GraphKey) -> Option<GraphRow> {
        let described = |one: &Option<Described>| one.as_ref().map(Described::stored).unwrap_or_default();
        Some(match key {
            GraphKey::Entity(id) => {
                let entity = self.entities.get(id)?;
                GraphRow::Entity(GraphEntity {
                    id: *id,
                    parent_id: entity.parent_id,
                    entity_type: self.entity_types.get(entity.kind)?.clone(),
                    described: described(&entity.described),
                })
            }
            GraphKey::Role(id) => {
                let role = self.roles.role(*id)?;
                let stored = |one: &crate::decision::ConditionFacts| one.stored.to_string();
                let actions = role.actions.iter().map(|(action, one)| (action.to_string(), one.as_ref().map(stored)));
                let scope_types = role.scope_types.to_vec();
                GraphRow::Role(GraphRole { id: *id, scope_types, actions: actions.collect() })
            }
            GraphKey::Principal(key) => {
                let principal = self.principal(key).filter(|principal| principal.is_registered)?;
                GraphRow::Principal(GraphPrincipal {
                    key: key.clone(),
                    is_suspended: principal.is_suspended,
                    described: described(&principal.described),
                })
            }
            GraphKey::Assignment(key, id) => {
                let one = self.principal(key)?.assignments.iter().find(|one| one.id == *id)?;
                GraphRow::Assignment(GraphAssignment {
                    id: *id,
                    principal: key.clone(),
                    role_id: self.roles.get(one.role)?.0,
                    entity_id: (!one.entity_id.is_nil()).then_some(one.entity_id),
                    effective_at: one.effective_at,
                    expires_at: one.expires_at,
                    condition: one.condition.as_ref().map(|condition| condition.stored.to_string()),
                })
            }
        })
    }

    fn principal(&self, key: &GraphPrincipalKey) -> Option<&Principal> {
        let principal_type = self.principal_types.find(key.principal_type.as_str())?;
        self.principals.get(&PrincipalKey { id: key.id, principal_type })
    }
}

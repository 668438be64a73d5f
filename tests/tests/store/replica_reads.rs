//! Reads that may come from a replica, where there is none: the primary answers them as it answers the others. With a
//! replica: `tests/tests/e2e/replica.rs`.

use std::time::Duration;

use epr_core::domain::{AssignmentFilter, AuditFilter, AuditPage, EntityFilter, Moment, PrincipalFilter, Revision};
use epr_core::history::{RegistryRow, RowKey, RowVersion};
use epr_core::ledger::verify::{StoredEntry, UnreadableRow};
use epr_core::store::{
    Cursor, LedgerVisitor, ListedEntries, NeededState, Page, ReadNeed, RegistryList, ScanRange, ScanStart, collect_into,
};
use rstest::rstest;

use crate::support::{Backend, World, assignment, at, decisive_draft, entity, id, page, principal, role};

/// What no replica could have.
fn needs() -> [ReadNeed; 3] {
    let far = NeededState { revision: None, position: i64::MAX };
    [ReadNeed::default(), ReadNeed::State(far), ReadNeed::Primary]
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn lists_of_the_registry_are_those_of_the_primary(#[case] backend: Backend) {
    let world = World::with_three_entities(backend).await;
    world.with_roles(&[role(11, &["a:b"]), role(12, &["a:b"])]).await;
    world.with_principals(&[principal(7)]).await;
    world.with_assignments(&[assignment(21, 7, 11, Some(1)), assignment(22, 7, 12, None)]).await;
    let (entities, assignments, principals) =
        (EntityFilter::default(), AssignmentFilter::default(), PrincipalFilter::default());
    for need in needs() {
        let keys = async |list: RegistryList<'_>, page: Page| {
            let mut rows = Vec::new();
            let mut take = collect_into(&mut rows);
            let position = world.store.registry_list(need, list, at(100), page, &mut take).await.unwrap();
            drop(take);
            assert_eq!(position, None, "there is no position without a replica");
            rows.iter().map(RegistryRow::key).collect::<Vec<_>>()
        };
        let of_entities = [3, 2, 1].map(|n| RowKey::Entity(id(n)));
        assert_eq!(keys(RegistryList::Entities(&entities), page(10)).await, of_entities);
        let second = Page { limit: 1, after: Some(Cursor { created_at: at(3), id: id(3) }) };
        assert_eq!(keys(RegistryList::Entities(&entities), second).await, of_entities[1..2]);
        assert_eq!(keys(RegistryList::Roles, page(10)).await, [12, 11].map(|n| RowKey::Role(id(n))));
        let of_assignments = [22, 21].map(|n| RowKey::Assignment(id(n)));
        assert_eq!(keys(RegistryList::Assignments(&assignments), page(10)).await, of_assignments);
        assert_eq!(keys(RegistryList::Principals(&principals), page(1)).await.len(), 1);
        let end = async |list, bytes| world.store.registry_list_end(need, list, at(100), bytes).await.unwrap();
        for list in [
            RegistryList::Entities(&entities),
            RegistryList::Roles,
            RegistryList::Assignments(&assignments),
            RegistryList::Principals(&principals),
        ] {
            assert_eq!(end(list, i64::MAX).await, None);
        }
        let first = Some(Cursor { created_at: at(3), id: id(3) });
        assert_eq!(end(RegistryList::Entities(&entities), 1).await, first);
    }
}

/// The sequences of a scan.
#[derive(Default)]
struct Scanned {
    begun: usize,
    sequences: Vec<i64>,
    most: usize,
}

impl LedgerVisitor for Scanned {
    fn begin(&mut self, _: ScanStart) -> bool {
        self.begun += 1;
        true
    }

    fn entry(&mut self, row: Result<StoredEntry<'_>, UnreadableRow>) -> bool {
        self.sequences.push(row.unwrap().fields.sequence);
        self.sequences.len() < self.most
    }

    fn dropped(&mut self, sequence: i64, _: &str) -> bool {
        self.sequences.push(sequence);
        self.sequences.len() < self.most
    }
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_ledger_changes_and_the_past_are_those_of_the_primary(#[case] backend: Backend) {
    let world = World::new(backend).await;
    for n in 1..=3 {
        let draft = decisive_draft(n).with_row(RowVersion::created(entity(n.try_into().unwrap(), None)));
        world.store.append(&[draft]).await.unwrap();
    }
    let present = world.store.registry_state().await.unwrap().revision;
    for need in needs() {
        let (mut seen, page_of_two) = (Vec::new(), AuditPage { limit: 2, after: Some(1), ascending: true });
        let mut take = |entry: epr_core::domain::AuditEntry| {
            seen.push(entry.sequence);
            true
        };
        let position = world.store.ledger_list(need, &AuditFilter::default(), page_of_two, &mut take).await.unwrap();
        assert_eq!((position, seen), (ListedEntries { position: None, border: 0 }, vec![2, 3]));

        for (range, most, expected) in [
            (ScanRange::ALL, 9, &[1, 2, 3][..]),
            (ScanRange::ALL, 2, &[1, 2]),
            (ScanRange { from: 2, to: 2 }, 9, &[2]),
            (ScanRange { from: 9, to: 9 }, 9, &[]),
        ] {
            let mut scanned = Scanned { most, ..Scanned::default() };
            world.store.ledger_scan(need, range, &mut scanned).await.unwrap();
            assert_eq!((scanned.begun, scanned.sequences.as_slice()), (1, expected));
        }

        let mut changes = Vec::new();
        let mut take = |change: epr_core::domain::Change| {
            changes.push(change.revision.sequence);
            true
        };
        let after = Some(Revision { sequence: 1, ..present });
        let state = world.store.change_list(need, after, 9, &mut take).await.unwrap();
        assert_eq!((state, changes), (present, vec![2, 3]));
        let state = world.store.change_list(need, None, 0, &mut |_| panic!("none is wanted")).await.unwrap();
        assert_eq!(state, present);

        let (mut rows, filter) = (Vec::new(), EntityFilter::default());
        let moment = (Moment::revision(Revision { sequence: 2, ..present }), at(100));
        let list = RegistryList::Entities(&filter);
        let past = world.store.past_list(need, list, moment, page(9), &mut collect_into(&mut rows)).await.unwrap();
        let keys: Vec<_> = rows.iter().map(RegistryRow::key).collect();
        assert_eq!((past.revision.sequence, keys), (2, [2, 1].map(|n| RowKey::Entity(id(n))).to_vec()));
    }
    assert_eq!(world.store.replica_reads(), []);
    assert_eq!(world.store.replica_state(Duration::from_secs(1)).await, None);
    world.store.probe_replica().await.unwrap();
}

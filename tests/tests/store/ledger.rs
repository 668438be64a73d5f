//! Appending to the ledger and reading it.

use std::sync::Arc;

use epr_core::domain::audit::{LastVerification, Rejection, RejectionKind};
use epr_core::domain::{AuditFilter, AuditPage};
use epr_core::ledger::verify::{StoredEntry, UnreadableRow};
use epr_core::store::{Appended, LedgerVisitor, ScanRange, ScanStart, StoreError, collect_into};
use epr_testkit::ledger::outcome_text;
use epr_testkit::seed;
use rand::Rng as _;
use rand::seq::SliceRandom as _;
use rstest::rstest;
use tokio::task::JoinSet;

use crate::support::{Backend, World, at, decisive_draft, draft, registry_draft};

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_repeated_event_is_a_duplicate_another_with_its_key_a_conflict_and_neither_leaves_a_gap(
    #[case] backend: Backend,
) {
    let world = World::new(backend).await;
    let outcomes = world.store.append(&[draft(Some(1), 1), draft(Some(1), 1), draft(Some(1), 2)]).await.unwrap();
    assert_eq!(
        outcomes.iter().map(outcome_text).collect::<Vec<_>>(),
        ["recorded 1", "duplicate of 1", "conflict with 1"]
    );
    let outcomes = world.store.append(&[draft(Some(1), 1), draft(Some(2), 2), draft(Some(1), 3)]).await.unwrap();
    assert_eq!(
        outcomes.iter().map(outcome_text).collect::<Vec<_>>(),
        ["duplicate of 1", "recorded 2", "conflict with 1"]
    );
    assert_eq!(world.store.append(&[]).await.unwrap(), []);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn each_entry_has_the_hash_of_the_one_before_however_it_was_appended(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let mut last: Option<Appended> = None;
    // The head of the last append is used again; for an entry about the registry, the lock is taken.
    for n in 1..=12 {
        let event_id = (n % 4 == 0).then(|| u128::try_from(n).unwrap());
        let second = if n % 3 == 0 { registry_draft(n) } else { draft(None, n) };
        for outcome in world.store.append(&[draft(event_id, n), second]).await.unwrap() {
            let Appended::Recorded { sequence, previous_hash, .. } = outcome else { panic!("{outcome:?}") };
            if let Some(Appended::Recorded { sequence: before, entry_hash, .. }) = last {
                assert_eq!((sequence, previous_hash), (before + 1, entry_hash));
            }
            last = Some(outcome);
        }
    }
}

/// Every event is sent several times, in lists of one to four, by two processes that append at the same time.
#[rstest]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_recorded_once_however_often_and_by_whom_it_is_sent(#[case] backend: Backend) {
    const EVENTS: u128 = 120;
    let world = World::new(backend).await;
    let other = world.database().store().await;
    let mut senders = JoinSet::new();
    for sender in 0..4 {
        let store = if sender % 2 == 0 { Arc::clone(&world.store) } else { Arc::clone(&other) };
        let mut rng = seed::rng(&format!("an_event_is_recorded_once_however_often_and_by_whom_it_is_sent {sender}"));
        senders.spawn(async move {
            let mut recorded = Vec::new();
            let mut left: Vec<u128> = (1..=EVENTS).collect();
            left.shuffle(&mut rng);
            while !left.is_empty() {
                let mut sent = left.split_off(left.len().saturating_sub(rng.random_range(1..=4)));
                if rng.random_bool(0.2) {
                    sent.push(sent[0]);
                }
                let drafts: Vec<_> = sent.iter().map(|id| draft(Some(*id), i64::try_from(*id).unwrap())).collect();
                let outcomes = loop {
                    match store.append(&drafts).await {
                        Err(StoreError::Contention(_)) => {}
                        outcome => break outcome.unwrap(),
                    }
                };
                for (id, outcome) in sent.into_iter().zip(outcomes) {
                    match outcome {
                        Appended::Recorded { sequence, .. } => recorded.push((id, sequence)),
                        Appended::Duplicate { .. } => {}
                        other => panic!("event {id}: {other:?}"),
                    }
                }
            }
            recorded
        });
    }
    let mut recorded: Vec<_> = senders.join_all().await.into_iter().flatten().collect();
    recorded.sort_unstable();
    assert_eq!(recorded.iter().map(|(id, _)| *id).collect::<Vec<_>>(), (1..=EVENTS).collect::<Vec<_>>());
    recorded.sort_unstable_by_key(|(_, sequence)| *sequence);
    assert!(recorded.iter().map(|(_, sequence)| *sequence).eq(1..=i64::try_from(EVENTS).unwrap()), "no gap");
}

#[rstest]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn two_processes_that_append_in_turn_never_fork_the_chain(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let other = world.database().store().await;
    for n in 0..20 {
        // Each remembers a head that the other has moved.
        for (store, offset) in [(&world.store, 1), (&other, 2)] {
            let outcomes = store.append(&[draft(None, n)]).await.unwrap();
            assert_eq!(outcome_text(&outcomes[0]), format!("recorded {}", 2 * n + offset));
        }
    }
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_decision_from_facts_that_are_not_the_newest_is_outdated(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let outcomes = world.store.append(&[decisive_draft(1), draft(None, 2).based_on(0)]).await.unwrap();
    assert_eq!(outcomes.iter().map(outcome_text).collect::<Vec<_>>(), ["recorded 1", "recorded 2"], "one transaction");
    for (revision, expected) in [(0, "outdated"), (1, "recorded 3"), (2, "outdated")] {
        let outcomes = world.store.append(&[draft(None, 3).based_on(revision)]).await.unwrap();
        assert_eq!(outcome_text(&outcomes[0]), expected, "revision {revision}");
    }
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn entries_are_listed_in_both_orders_after_a_sequence_and_by_every_filter(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let drafts: Vec<_> = (1..=6).map(|n| draft((n == 4).then_some(4), n)).collect();
    world.store.append(&drafts).await.unwrap();
    world.store.append(&[decisive_draft(7)]).await.unwrap();
    let list = async |filter: AuditFilter, ascending: bool, after: Option<i64>, limit: u32| {
        let mut rows = Vec::new();
        let page = AuditPage { limit, after, ascending };
        world.store.audit_entries(&filter, page, &mut collect_into(&mut rows)).await.unwrap();
        rows.iter().map(|row| row.sequence).collect::<Vec<_>>()
    };
    let all = AuditFilter::default;
    assert_eq!(list(all(), true, Some(4), 2).await, [5, 6]);
    assert_eq!(list(all(), false, None, 3).await, [7, 6, 5]);
    assert_eq!(list(all(), false, Some(3), 10).await, [2, 1]);
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(list(AuditFilter { action: text("role.update"), ..all() }, true, None, 10).await, [7]);
    assert_eq!(list(AuditFilter { source: text("tests"), ..all() }, true, None, 10).await, [1, 2, 3, 4, 5, 6]);
    assert_eq!(list(AuditFilter { event_id: Some(crate::support::id(4)), ..all() }, true, None, 10).await, [4]);
    let span = AuditFilter { occurred_from: Some(at(2)), occurred_to: Some(at(3)), ..all() };
    assert_eq!(list(span, true, None, 10).await, [2, 3], "both ends are included");
    let sequences = AuditFilter { from_sequence: Some(3), to_sequence: Some(5), ..all() };
    assert_eq!(list(sequences, true, None, 10).await, [3, 4, 5]);
}

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) start: Option<ScanStart>,
    pub(crate) entries: Vec<(i64, String)>,
    /// Those of the entries that were dropped.
    pub(crate) dropped: Vec<i64>,
    stop_after: Option<usize>,
    refuse: bool,
}

impl LedgerVisitor for Seen {
    fn begin(&mut self, start: ScanStart) -> bool {
        self.start = Some(start);
        !self.refuse
    }

    fn entry(&mut self, row: Result<StoredEntry<'_>, UnreadableRow>) -> bool {
        let entry = row.unwrap();
        self.entries.push((entry.fields.sequence, entry.entry_hash.to_owned()));
        self.stop_after.is_none_or(|most| self.entries.len() < most)
    }

    fn dropped(&mut self, sequence: i64, entry_hash: &str) -> bool {
        self.entries.push((sequence, entry_hash.to_owned()));
        self.dropped.push(sequence);
        self.stop_after.is_none_or(|most| self.entries.len() < most)
    }
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_scan_begins_with_the_hash_before_its_range_and_ends_when_the_visitor_says_so(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let drafts: Vec<_> = (1..=5).map(|n| draft(None, n)).collect();
    let outcomes = world.store.append(&drafts).await.unwrap();
    let hashes: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Appended::Recorded { entry_hash, .. } => entry_hash.as_str().to_owned(),
            other => panic!("{other:?}"),
        })
        .collect();
    let mut seen = Seen::default();
    world.store.scan_ledger(ScanRange { from: 3, to: 4 }, &mut seen).await.unwrap();
    assert_eq!(seen.entries, [(3, hashes[2].clone()), (4, hashes[3].clone())]);
    let start = seen.start.unwrap();
    assert_eq!(start.anchor.as_ref(), Some(&hashes[1]));
    assert_eq!((start.last, start.unplaced, start.former_numbers_up_to), (5, false, 0));
    let head = start.head.unwrap();
    assert_eq!((head.sequence, &head.entry_hash), (5, &hashes[4]));

    let mut whole = Seen { stop_after: Some(2), ..Seen::default() };
    world.store.scan_ledger(ScanRange::ALL, &mut whole).await.unwrap();
    assert_eq!(whole.entries.len(), 2);
    assert_eq!(whole.start.unwrap().anchor, None);
    let mut refused = Seen { refuse: true, ..Seen::default() };
    world.store.scan_ledger(ScanRange::ALL, &mut refused).await.unwrap();
    assert_eq!(refused.entries, []);
    assert_eq!((ScanRange::ALL.end(), ScanRange { from: 1, to: 4 }.end()), (None, Some(4)));
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_rejected_message_is_stored_once_and_counted(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let rejection = |id: &str, reason: &str| Rejection::new(id, RejectionKind::Invalid, reason, "{}");
    let first: Vec<_> = ["m1", "m2", "m3"].iter().map(|id| rejection(id, "not an event")).collect();
    world.store.keep_rejections(&first, at(1)).await.unwrap();
    world.store.keep_rejections(&[rejection("m1", "still not an event")], at(2)).await.unwrap();
    let stored = world.store.rejections(10, None).await.unwrap();
    let ids: Vec<_> = stored.iter().map(|one| &*one.rejection.message_id).collect();
    assert_eq!(ids, ["m3", "m2", "m1"], "newest first, by when it was first seen");
    let again = &stored[2];
    assert_eq!((again.times_seen, again.first_seen_at, again.last_seen_at), (2, at(1), at(2)));
    assert_eq!(again.rejection.reason, "still not an event");
    let before = world.store.rejections(1, Some(stored[0].id)).await.unwrap();
    assert_eq!(before, [stored[1].clone()]);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_last_verification_takes_the_place_of_the_former_one(#[case] backend: Backend) {
    let world = World::new(backend).await;
    assert_eq!(world.store.last_verification().await.unwrap(), None);
    let broken =
        LastVerification { verified_at: at(5), first_sequence: 1, last_sequence: 7, finding: Some("a gap".to_owned()) };
    let intact = LastVerification { verified_at: at(6), first_sequence: 2, last_sequence: 9, finding: None };
    for kept in [broken, intact] {
        world.store.keep_verification(&kept).await.unwrap();
        assert_eq!(world.store.last_verification().await.unwrap(), Some(kept));
    }
}

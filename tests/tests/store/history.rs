//! History: written by appends, completed from the ledger.

use epr_core::clock::{Clock as _, SystemClock};
use epr_core::domain::{Entity, Incarnation, Moment, NotAskable, Revision, Timestamp};
use epr_core::history::reconcile::Joined;
use epr_core::history::verify::HistoryItem;
use epr_core::history::{RegistryRow, RowKey, RowVersion};
use epr_core::store::{HistoryState, StoreError, collect_into};
use epr_testkit::wait::next_millisecond;
use rstest::rstest;

use crate::support::{
    Backend, World, assignment, at, claiming_draft, decisive_draft, draft, entity, id, question, registry_draft, role,
    rowless_draft,
};

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn history_is_complete_up_to_the_newest_change_and_decisions_do_not_move_it(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let state =
        |complete_to, registry_sequence| HistoryState { complete_to, began: 0, registry_sequence, is_filled: true };
    assert_eq!(world.store.history_state().await.unwrap(), state(0, 0));
    world.store.append(&[draft(None, 1)]).await.unwrap();
    assert_eq!(world.store.history_state().await.unwrap(), state(0, 0));
    // With and without a version, in a transaction and by itself.
    let mut tx = world.begin().await;
    let row: Entity = entity(1, None);
    tx.append(&[decisive_draft(2).with_row(RowVersion::created(row)), draft(None, 3)]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(world.store.history_state().await.unwrap(), state(2, 2));
    world.store.append(&[decisive_draft(4), draft(None, 5)]).await.unwrap();
    assert_eq!(world.store.history_state().await.unwrap(), state(4, 4));
    assert!(world.store.complete_history().await.unwrap().is_empty());
}

/// No version is better than a gap: a later change that states its version does not hide the one before it.
#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_change_that_states_no_version_is_left_to_a_replay_of_the_ledger(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.store.append(&[decisive_draft(1)]).await.unwrap();
    world.store.append(&[rowless_draft(2)]).await.unwrap();
    world.store.append(&[decisive_draft(3)]).await.unwrap();
    let state = world.store.history_state().await.unwrap();
    assert_eq!((state.complete_to, state.registry_sequence), (1, 3));
    world.store.complete_history().await.unwrap();
    assert!(!world.store.history_state().await.unwrap().is_behind());
}

/// The entries of this suite's drafts name rows that were never created.
#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn entries_that_make_no_row_are_reported_by_a_rebuild(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.store.append(&[decisive_draft(1), draft(None, 2), decisive_draft(3)]).await.unwrap();
    let report = world.store.rebuild_history().await.unwrap();
    assert_eq!((report.entries, report.unreplayable_count), (2, 2), "{report:?}");
    assert_eq!(report.unreplayable.iter().map(|one| one.sequence).collect::<Vec<_>>(), [1, 3]);
    assert!(!world.store.history_state().await.unwrap().is_behind());
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_message_that_claims_to_be_an_entry_of_epr_is_no_change_of_the_registry(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.store.append(&[decisive_draft(1)]).await.unwrap();
    let before = world.store.registry_state().await.unwrap();
    world.store.append(&[claiming_draft(2)]).await.unwrap();
    assert_eq!(world.store.registry_state().await.unwrap().revision, before.revision);
    world.store.append(&[decisive_draft(3)]).await.unwrap();
    let state = world.store.history_state().await.unwrap();
    assert_eq!((state.complete_to, state.registry_sequence), (3, 3));
    let report = world.store.rebuild_history().await.unwrap();
    assert_eq!(report.unreplayable.iter().map(|one| one.sequence).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(world.store.registry_state().await.unwrap().revision.sequence, 3);
}

/// A ledger whose entry 1 creates an entity, 2 a role and 3 an assignment, and whose entry 4 renames the entity.
async fn with_versions(world: &World) {
    let renamed = Entity { name: "renamed".to_owned(), ..entity(1, None) };
    let drafts = [
        decisive_draft(1).with_row(RowVersion::created(entity(1, None))),
        decisive_draft(2).with_row(RowVersion::created(role(1, &["thing:read"]))),
        decisive_draft(3).with_row(RowVersion::created(assignment(1, 7, 1, Some(1)))),
        decisive_draft(4).with_row(RegistryRow::from(renamed).into()),
    ];
    for draft in drafts {
        world.store.append(&[draft]).await.unwrap();
    }
}

/// The moment after an entry, of the present incarnation.
async fn after(world: &World, sequence: i64) -> Moment {
    let present = world.store.registry_state().await.unwrap().revision;
    Moment::revision(Revision { sequence, ..present })
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn past_facts_are_those_after_an_entry_and_names_those_of_that_time(#[case] backend: Backend) {
    let world = World::new(backend).await;
    with_versions(&world).await;
    let asked = question(7, 1);
    for (sequence, assignments, name) in [(1, 0, "entity 1"), (2, 0, "entity 1"), (3, 1, "entity 1"), (4, 1, "renamed")]
    {
        let moment = after(&world, sequence).await;
        let (past, facts) = world.store.past_facts(&asked, moment, at(100)).await.unwrap();
        assert_eq!((past.revision.sequence, past.at), (sequence, at(sequence)));
        assert_eq!(facts.unwrap().assignments.len(), assignments, "after {sequence}");
        let (_, named) = world.store.past_named_facts(&asked, moment, at(100)).await.unwrap();
        let named = named.unwrap();
        assert_eq!((named.resource_name.as_str(), named.facts.assignments.len()), (name, assignments));
        assert_eq!(named.role_names.len(), assignments);
    }
    let (_, unknown) = world.store.past_facts(&question(7, 2), after(&world, 4).await, at(100)).await.unwrap();
    assert_eq!(unknown, None);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_moment_that_history_lacks_is_refused(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let asked = question(7, 1);
    let refused = async |moment: Moment| match world.store.past_facts(&asked, moment, at(100)).await {
        Err(StoreError::NotAskable(why)) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(after(&world, 0).await).await, NotAskable::NoHistory);
    with_versions(&world).await;
    let present = world.store.registry_state().await.unwrap().revision;
    let NotAskable::BeforeFirst { first } = refused(after(&world, 0).await).await else { panic!("no first moment") };
    assert_eq!(first.revision, Revision { sequence: 1, ..present });
    assert_eq!(refused(Moment::at(at(0))).await, NotAskable::BeforeFirst { first });
    // The moment that the refusal names can be asked, and none before it.
    let later = SystemClock.now().plus_seconds(60);
    let of_first = world.store.past_facts(&asked, Moment::at(first.at), later).await.unwrap().0;
    assert!(of_first.at == first.at && of_first.revision >= first.revision, "{of_first:?}");
    let before = Timestamp::from_unix_micros(first.at.unix_micros() - 1).unwrap();
    let refused_before = world.store.past_facts(&asked, Moment::at(before), later).await;
    assert!(matches!(refused_before, Err(StoreError::NotAskable(NotAskable::BeforeFirst { .. }))));
    assert_eq!(refused(after(&world, 5).await).await, NotAskable::Unreached { present });
    let other = Revision { incarnation: Incarnation(id(1)), ..present };
    assert_eq!(refused(Moment::revision(other)).await, NotAskable::OtherIncarnation { present });
}

/// Whatever the times in the entries are: those of changes that took long, and of processes whose clocks are wrong.
#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_time_means_the_state_that_a_read_of_that_time_saw(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let far = 40 * 365 * 86_400;
    let mut seen: Vec<(Timestamp, i64)> = Vec::new();
    let mut read = async || {
        next_millisecond().await;
        let sequence = world.store.registry_state().await.unwrap().revision.sequence;
        seen.push((SystemClock.now(), sequence));
        next_millisecond().await;
    };
    for second in [30, 40, far, 38, -far, 60, 5] {
        world.store.append(&[decisive_draft(second), draft(None, second)]).await.unwrap();
        read().await;
        // Entries of one append have one time: no read saw the state between them.
        world.store.append(&[decisive_draft(second), registry_draft(second), decisive_draft(second)]).await.unwrap();
        read().await;
    }
    let now = SystemClock.now().plus_seconds(60);
    for (time, sequence) in seen {
        let past = world.store.past_facts(&question(7, 1), Moment::at(time), now).await.unwrap().0;
        assert_eq!((past.revision.sequence, past.at), (sequence, time));
    }
}

/// A clock of the database that goes back does not change the order of the states.
#[rstest]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_state_is_never_recorded_before_the_one_before_it(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.store.append(&[decisive_draft(1)]).await.unwrap();
    let ahead = "UPDATE registry_times SET recorded_at = '2099-01-01T00:00:00.000000Z'";
    world.database().execute(ahead).await.unwrap();
    world.store.append(&[decisive_draft(2)]).await.unwrap();
    let times = "SELECT COUNT(*) FROM registry_times WHERE recorded_at = '2099-01-01T00:00:00.000000Z'";
    assert_eq!(world.database().number(times).await, 2);
    let moment = Moment::at(Timestamp::parse("2099-01-01T00:00:00Z").unwrap());
    let now = Timestamp::parse("2100-01-01T00:00:00Z").unwrap();
    assert_eq!(world.store.past_facts(&question(7, 1), moment, now).await.unwrap().0.revision.sequence, 2);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_registry_is_shown_joined_with_its_entries(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.with_entities(&[entity(1, None), entity(2, None)]).await;
    world.store.append(&[decisive_draft(1), registry_draft(2), draft(None, 3)]).await.unwrap();
    let mut shown: Vec<Joined> = Vec::new();
    let revision = world.store.registry_and_ledger(&mut collect_into(&mut shown)).await.unwrap();
    assert_eq!(revision.sequence, 2);
    let found: Vec<_> = shown
        .iter()
        .map(|joined| {
            let row = joined.row.as_ref().map(|row| row.as_ref().unwrap().key());
            (joined.entry.as_ref().map(|entry| entry.sequence), row)
        })
        .collect();
    for id in [id(1), id(2)] {
        assert_eq!(found.iter().filter(|(_, row)| *row == Some(RowKey::Entity(id))).count(), 1, "{found:?}");
    }
    let entries: Vec<_> = found.iter().filter_map(|(entry, _)| *entry).collect();
    assert!(entries.iter().all(|entry| [1, 2].contains(entry)) && !entries.is_empty(), "{found:?}");
    // A visitor that says `false` is shown no more.
    let mut count = 0;
    let mut stop = |_| {
        count += 1;
        false
    };
    world.store.registry_and_ledger(&mut stop).await.unwrap();
    assert_eq!(count, 1);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn versions_are_shown_joined_with_the_entries_that_made_them(#[case] backend: Backend) {
    let world = World::new(backend).await;
    with_versions(&world).await;
    let mut shown: Vec<HistoryItem> = Vec::new();
    let state = world.store.versions_and_ledger(&mut collect_into(&mut shown)).await.unwrap();
    assert_eq!(state, world.store.history_state().await.unwrap());
    let found: Vec<_> = shown
        .iter()
        .map(|item| match item {
            HistoryItem::Version(one) => {
                let version = one.version.as_ref().map(|version| (version.valid_from, version.valid_to));
                (one.table, one.entry.as_ref().map(|entry| entry.sequence), version)
            }
            HistoryItem::Misfit(difference) => panic!("{difference:?}"),
        })
        .collect();
    // The entries of these drafts name other rows than the versions.
    for version in [
        ("entity_versions", (1, Some(4))),
        ("entity_versions", (4, None)),
        ("role_versions", (2, None)),
        ("assignment_versions", (3, None)),
    ] {
        assert!(found.iter().any(|(table, _, shown)| (*table, *shown) == (version.0, Some(version.1))), "{found:?}");
    }
    assert!(found.iter().any(|(_, entry, _)| *entry == Some(1)), "{found:?}");
    // A visitor that says `false` is shown no more.
    let mut count = 0;
    let mut stop = |_| {
        count += 1;
        false
    };
    world.store.versions_and_ledger(&mut stop).await.unwrap();
    assert_eq!(count, 1);
}

//! The border of the ledger, and dropping archived entries.

use epr_core::domain::{AuditFilter, AuditPage, Incarnation};
use epr_core::ledger::archive::read_hex;
use epr_core::ledger::merkle::Hash;
use epr_core::store::{DropStep, EntryHashes, Result, ScanRange, StepDropped, Store, StoredCheckpoint, collect_into};
use epr_testkit::ledger::outcome_text;
use rstest::rstest;

use crate::ledger::Seen;
use crate::support::{Backend, World, at, decisive_draft, draft};

async fn incarnation(store: &dyn Store) -> Incarnation {
    store.registry_state().await.unwrap().revision.incarnation
}

/// A ledger of twelve entries, of which 4 and 8 are about the registry, and 1, 2, 3 and 11 have event ids. A checkpoint
/// covers ten of them.
async fn ledger(backend: Backend) -> World {
    let world = World::new(backend).await;
    for n in 1..=12 {
        let entry = match n {
            4 | 8 => decisive_draft(n),
            1..=3 | 11 => draft(Some(n.try_into().unwrap()), n),
            _ => draft(None, n),
        };
        assert_eq!(outcome_text(&world.store.append(&[entry]).await.unwrap()[0]), format!("recorded {n}"));
    }
    let incarnation = incarnation(&*world.store).await;
    let checkpoint =
        StoredCheckpoint { incarnation, size: 10, root: [1; 32], note: "note".to_owned(), signed_at: at(10) };
    assert!(world.store.add_checkpoint(0, &checkpoint, &[]).await.unwrap());
    world
}

fn bytes(hashes: &[EntryHashes]) -> Vec<Hash> {
    hashes.iter().map(|entry| read_hex(&entry.entry_hash).unwrap()).collect()
}

/// Drops the entries after `after` with these hashes in the archive.
async fn try_drop(store: &dyn Store, after: i64, archived: &[Hash]) -> Result<StepDropped> {
    let incarnation = incarnation(store).await;
    let step = DropStep { after, archived, archive: "s3://private/ledger", incarnation, now: at(99) };
    let mut tx = store.begin().await.unwrap();
    let dropped = tx.drop_entries(&step).await?;
    if matches!(dropped, StepDropped::Dropped(_)) {
        tx.commit().await?;
    }
    Ok(dropped)
}

async fn drop_to(store: &dyn Store, last: i64) -> StepDropped {
    let after = store.ledger_border().await.unwrap().map_or(0, |border| border.sequence);
    let archived = bytes(&store.entry_hashes(after + 1, last).await.unwrap());
    try_drop(store, after, &archived).await.unwrap()
}

/// The owner of the tables lacks nothing that a drop needs, and a file has no users.
#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_owner_of_the_tables_lacks_no_privilege_to_drop(#[case] backend: Backend) {
    let world = World::new(backend).await;
    assert_eq!(world.store.missing_drop_privileges().await.unwrap(), Vec::<String>::new());
}

async fn sequences(store: &dyn Store) -> Vec<i64> {
    let mut rows = Vec::new();
    let page = AuditPage { limit: 100, after: None, ascending: true };
    store.audit_entries(&AuditFilter::default(), page, &mut collect_into(&mut rows)).await.unwrap();
    rows.iter().map(|entry| entry.sequence).collect()
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn dropped_entries_leave_their_hashes_and_those_about_the_registry_stay(#[case] backend: Backend) {
    let world = ledger(backend).await;
    let store = &*world.store;
    assert_eq!(store.ledger_border().await.unwrap(), None);
    let before = store.entry_hashes(1, 12).await.unwrap();
    assert_eq!(drop_to(store, 5).await, StepDropped::Dropped(4));
    assert_eq!(drop_to(store, 9).await, StepDropped::Dropped(3));
    let border = store.ledger_border().await.unwrap().unwrap();
    let incarnation = incarnation(store).await;
    assert_eq!((border.sequence, border.archive.as_str(), border.incarnation), (9, "s3://private/ledger", incarnation));
    assert_eq!(border.dropped_at, at(99));
    assert_eq!(sequences(store).await, [4, 8, 10, 11, 12]);
    assert_eq!(store.entry_hashes(1, 12).await.unwrap(), before, "also the hashes before each");
    assert_eq!(store.entry_hashes(3, 3).await.unwrap(), before[2..3]);
    let mut seen = Seen::default();
    store.scan_ledger(ScanRange { from: 2, to: 12 }, &mut seen).await.unwrap();
    assert_eq!(seen.start.unwrap().anchor.as_ref(), Some(&before[0].entry_hash));
    let expected: Vec<_> = before[1..].iter().map(|entry| (entry.sequence, entry.entry_hash.clone())).collect();
    assert_eq!(seen.entries, expected);
    assert_eq!(seen.dropped, [2, 3, 5, 6, 7, 9]);
    // The chain goes on.
    assert_eq!(outcome_text(&store.append(&[draft(None, 13)]).await.unwrap()[0]), "recorded 13");
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn an_event_of_a_dropped_entry_is_still_a_duplicate_and_another_with_its_key_a_conflict(
    #[case] backend: Backend,
) {
    let world = ledger(backend).await;
    let drafts = [draft(Some(1), 1), draft(Some(2), 20), draft(Some(3), 3), draft(Some(11), 11), draft(Some(11), 12)];
    let expected = ["duplicate of 1", "conflict with 2", "duplicate of 3", "duplicate of 11", "conflict with 11"];
    for last in [0, 2, 10] {
        if last > 0 {
            drop_to(&*world.store, last).await;
        }
        let outcomes = world.store.append(&drafts).await.unwrap();
        assert_eq!(outcomes.iter().map(outcome_text).collect::<Vec<_>>(), expected, "up to {last}");
        assert_eq!(world.store.registry_state().await.unwrap().head, 12, "nothing was appended");
    }
    // One call with a new event among them.
    let outcomes = world.store.append(&[draft(Some(1), 1), draft(Some(50), 50)]).await.unwrap();
    assert_eq!(outcomes.iter().map(outcome_text).collect::<Vec<_>>(), ["duplicate of 1", "recorded 13"]);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn nothing_is_dropped_unless_the_archive_has_each_entry_from_the_border_on(#[case] backend: Backend) {
    let world = ledger(backend).await;
    let store = &*world.store;
    let all = bytes(&store.entry_hashes(1, 12).await.unwrap());
    let mut changed = all.clone();
    changed[2][0] ^= 1;
    assert_eq!(try_drop(store, 0, &changed[..5]).await.unwrap(), StepDropped::Differs(3));
    assert_eq!(try_drop(store, 0, &all[1..6]).await.unwrap(), StepDropped::Differs(1));
    let longer = [all.as_slice(), &[[7; 32]]].concat();
    assert_eq!(try_drop(store, 0, &longer).await.unwrap(), StepDropped::Differs(13));
    assert_eq!(try_drop(store, 3, &all[3..6]).await.unwrap(), StepDropped::Moved(0), "from the oldest one on");
    // No checkpoint covers it.
    try_drop(store, 0, &all[..11]).await.unwrap_err();
    assert_eq!(sequences(store).await.len(), 12);
    assert_eq!(store.ledger_border().await.unwrap(), None);
    assert_eq!(try_drop(store, 0, &all[..5]).await.unwrap(), StepDropped::Dropped(4));
    assert_eq!(try_drop(store, 0, &all[..5]).await.unwrap(), StepDropped::Moved(5), "another process was first");
    // A transaction that is not committed drops nothing.
    let step =
        DropStep { after: 5, archived: &all[5..9], archive: "a", incarnation: incarnation(store).await, now: at(1) };
    store.begin().await.unwrap().drop_entries(&step).await.unwrap();
    assert_eq!(store.ledger_border().await.unwrap().unwrap().sequence, 5);
    assert_eq!(sequences(store).await, [4, 6, 7, 8, 9, 10, 11, 12]);
}

#[rstest]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_database_refuses_every_other_deletion_and_every_other_border(#[case] backend: Backend) {
    let world = ledger(backend).await;
    drop_to(&*world.store, 5).await;
    let database = world.database();
    let postgres = backend == Backend::Postgres;
    let (hash, id) = if postgres {
        ("decode(entry_hash, 'hex')", "'00000000-0000-0000-0000-000000000002'::uuid")
    } else {
        ("unhex(entry_hash)", "'00000000-0000-0000-0000-000000000002'")
    };
    let insert = |sequence: i64, hash: &str, from: i64| {
        format!(
            "INSERT INTO dropped_entries (sequence, entry_hash, occurred_at) \
             SELECT {sequence}, {hash}, occurred_at FROM audit_logs WHERE sequence = {from}"
        )
    };
    let border = |sequence: i64, of: i64| {
        format!(
            "UPDATE ledger_border SET sequence = {sequence}, \
             entry_hash = (SELECT entry_hash FROM audit_logs WHERE sequence = {of})"
        )
    };
    let repeat = format!(
        "UPDATE audit_chain_head SET sequence = 13, entry_hash = repeat_hash; INSERT INTO audit_logs (sequence, \
         previous_hash, entry_hash, hash_version, event_id, source, action, actor_type, details, occurred_at) \
         SELECT 13, entry_hash, repeat_hash, 1, {id}, 'x', 'x', 'user', '{{}}', occurred_at FROM audit_logs \
         WHERE sequence = 12"
    )
    .replace("repeat_hash", &format!("'{}'", "a".repeat(64)));
    let mut refused = vec![
        "DELETE FROM audit_logs WHERE sequence = 4".to_owned(),
        "DELETE FROM audit_logs WHERE sequence = 6".to_owned(),
        "DELETE FROM audit_logs".to_owned(),
        "UPDATE audit_logs SET action = 'x' WHERE sequence = 4".to_owned(),
        "DELETE FROM dropped_entries WHERE sequence = 1".to_owned(),
        "UPDATE dropped_entries SET event_id = NULL WHERE sequence = 1".to_owned(),
        "DELETE FROM ledger_border".to_owned(),
        "UPDATE ledger_border SET sequence = 4".to_owned(),
        insert(6, hash, 7),
        insert(8, hash, 8),
        insert(13, hash, 12),
        // The hashes of the entries on the way were not kept.
        border(6, 6),
        repeat,
    ];
    if postgres {
        refused.extend(["audit_logs", "dropped_entries", "ledger_border"].map(|table| format!("TRUNCATE {table}")));
    }
    for statement in &refused {
        assert!(database.execute(statement).await.is_err(), "accepted: {statement}");
    }
    // What is refused for its hash alone.
    database.execute(&insert(6, hash, 6)).await.unwrap();
    database.execute("DELETE FROM audit_logs WHERE sequence = 6").await.unwrap_err();
    database.execute(&border(6, 7)).await.unwrap_err();
    database.execute(&border(6, 6)).await.unwrap();
    database.execute("DELETE FROM audit_logs WHERE sequence = 6").await.unwrap();
    assert_eq!(sequences(&*world.store).await, [4, 7, 8, 9, 10, 11, 12]);
    // A hash that somebody kept beyond the border is not that of a dropped entry, and stops no later drop.
    database.execute(&insert(9, hash, 9)).await.unwrap();
    assert_eq!(sequences(&*world.store).await, [4, 7, 8, 9, 10, 11, 12]);
    let hashes = world.store.entry_hashes(1, 12).await.unwrap();
    assert!(hashes.iter().map(|entry| entry.sequence).eq(1..=12));
    drop_to(&*world.store, 10).await;
    assert_eq!(sequences(&*world.store).await, [4, 8, 11, 12]);
}

#[rstest]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn an_older_program_cannot_start_after_the_first_drop(#[case] backend: Backend) {
    let world = ledger(backend).await;
    let oldest = async || world.database().number("SELECT max(oldest_program) FROM _sqlx_migrations").await;
    assert!(oldest().await < 43);
    drop_to(&*world.store, 2).await;
    assert_eq!(oldest().await, 43);
    world.store.schema().await.unwrap().check_start().unwrap();
}

#[rstest]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_are_repeated_while_their_entries_are_dropped_are_never_recorded_twice(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let events: Vec<_> = (1..=400).map(|n| draft(Some(n), n.try_into().unwrap())).collect();
    world.store.append(&events).await.unwrap();
    let incarnation = incarnation(&*world.store).await;
    let checkpoint = StoredCheckpoint { incarnation, size: 400, root: [1; 32], note: "n".to_owned(), signed_at: at(1) };
    assert!(world.store.add_checkpoint(0, &checkpoint, &[]).await.unwrap());
    let other = world.database().store().await;
    let dropping = async {
        for last in (10..=400).step_by(10) {
            assert_eq!(drop_to(&*other, last).await, StepDropped::Dropped(10));
        }
    };
    let repeating = async {
        let mut is_over = false;
        while !is_over {
            // Once more after the last one was dropped.
            is_over = world.store.ledger_border().await.unwrap().is_some_and(|border| border.sequence == 400);
            for chunk in events.chunks(20) {
                for (at, outcome) in world.store.append(chunk).await.unwrap().iter().enumerate() {
                    assert!(outcome_text(outcome).starts_with("duplicate of "), "{at}: {outcome:?}");
                }
            }
        }
    };
    tokio::join!(dropping, repeating);
    assert_eq!(world.store.registry_state().await.unwrap().head, 400);
    assert_eq!(sequences(&*world.store).await, Vec::<i64>::new());
}

//! A process that stops in the middle of a change, with the ledger's lock held: the others go on.

use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::Process;
use serde_json::{Value, json};

/// 1 if the ledger's lock is held by a transaction whose process sends nothing. That its statement was named is not
/// enough: it may be prepared only.
const HELD: &str = "SELECT COUNT(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) \
    WHERE l.relation = 'audit_chain_head'::regclass AND l.mode = 'RowShareLock' AND a.state = 'idle in transaction' \
      AND NOT EXISTS (SELECT 1 FROM (SELECT h.id FROM audit_chain_head h FOR UPDATE SKIP LOCKED) free)";

async fn create(base: &str, name: &str) -> u16 {
    let body = json!({"name": name, "type": "spv"});
    let sent = reqwest::Client::new().post(format!("{base}/api/v1/entities")).json(&body).send();
    sent.await.map_or(0, |answer| answer.status().as_u16())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_stops_with_the_ledgers_lock_loses_it_before_others_give_up() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let settings = [("EPR_DATABASE_URL", database.url.as_str()), ("EPR_EVENT_RELAY", "false")];
    let (stopped, stopped_base) = Process::api(&settings).await;
    let (_other, other_base) = Process::api(&settings).await;
    assert_eq!(create(&other_base, "before").await, 201);

    // Changes, one after the other, until the process is stopped while it has the lock.
    let changes = tokio::spawn(async move {
        for n in 0.. {
            create(&stopped_base, &format!("change {n}")).await;
        }
    });
    loop {
        stopped.suspend().await;
        if database.number(HELD).await == 1 {
            break;
        }
        stopped.signal("CONT").await;
    }
    // The first attempt, without a retry: a caller waits for a lock for at most 5 s, and the stopped process has it for
    // 2.5 s.
    let begun = std::time::Instant::now();
    assert_eq!(create(&other_base, "after").await, 201);
    println!("a change of another process waited {:?}", begun.elapsed());
    assert_eq!(database.number(HELD).await, 0);

    // The suspended process rolls back its transaction and continues.
    stopped.signal("CONT").await;
    database
        .until_at_least(
            "SELECT COUNT(*) FROM entities WHERE created_at > (SELECT created_at FROM entities WHERE name = 'after')",
            1,
        )
        .await;
    changes.abort();
    let ready: Value = reqwest::get(format!("{other_base}/readyz")).await.unwrap().json().await.unwrap();
    assert_eq!(ready["status"], "ready");
}

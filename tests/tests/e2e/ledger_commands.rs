//! `epr audit verify` and `epr audit export`, as an auditor uses them.

use epr_testkit::api::Api;
use epr_testkit::database::DatabaseKind;
use epr_testkit::ledger::audit_verify;
use epr_testkit::process::epr;
use rstest::rstest;
use serde_json::json;
use tokio::process::Command;

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_are_verified_with_their_exit_codes(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let url = &api.database.url;
    assert_eq!(epr(url, &["audit", "verify"]).await, (0, "The ledger is empty.\n".into(), String::new()));
    for n in 0..5 {
        api.entity(&format!("e{n}"), "spv", None).await;
    }
    assert_eq!(epr(url, &["audit", "verify"]).await.1, "The chain holds: 5 entries, 1 to 5.\n");
    let (code, report) = audit_verify(url, &["--start-sequence", "2", "--end-sequence", "4"]).await;
    assert_eq!(
        (code, report),
        (0, json!({"valid": true, "checked": 3, "start_sequence": 2, "end_sequence": 4, "finding": null}))
    );
    assert_eq!(audit_verify(url, &["--start-sequence", "6"]).await.0, 0, "nothing after the end, and the head agrees");

    // An error before the range is not reported; one in it is, and so is a missing entry just before it.
    api.database.remove_ledger_triggers().await;
    api.database.execute("UPDATE audit_logs SET action = 'forged' WHERE sequence = 2").await.unwrap();
    assert_eq!(audit_verify(url, &["--start-sequence", "3"]).await.0, 0);
    assert_eq!(audit_verify(url, &["--end-sequence", "1"]).await.0, 0);
    let (code, out, _) = epr(url, &["audit", "verify", "--end-sequence", "2"]).await;
    assert_eq!(code, 1);
    assert!(out.starts_with("BROKEN at entry 2: changed content: entry 2 is stored with hash "), "{out}");
    assert!(out.ends_with("Entries before it that are intact: 1.\n"), "{out}");
    api.database.execute("DELETE FROM audit_logs WHERE sequence = 2").await.unwrap();
    let (code, report) = audit_verify(url, &["--start-sequence", "3"]).await;
    assert_eq!((code, &report["finding"]["kind"], &report["finding"]["sequence"]), (1, &json!("gap"), &json!(2)));
    api.database.execute("DELETE FROM audit_logs WHERE sequence = 5").await.unwrap();
    let (code, report) = audit_verify(url, &["--start-sequence", "6"]).await;
    assert_eq!(
        (code, &report["finding"]["kind"], &report["finding"]["sequence"]),
        (1, &json!("missing_tail"), &json!(5))
    );
    let (code, report) = audit_verify(url, &["--start-sequence", "9"]).await;
    assert_eq!(
        (code, &report["finding"]["kind"], &report["finding"]["sequence"]),
        (1, &json!("missing_tail"), &json!(5))
    );
    assert_eq!(epr(url, &["audit", "verify", "--start-sequence", "4", "--end-sequence", "3"]).await.0, 2);
    assert_eq!(epr(url, &["audit", "verify", "--start-sequence", "-1"]).await.0, 2);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_must_be_there_as_a_whole(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let url = &api.database.url;
    let incomplete = async |arguments: &[&str], first: i64| {
        let (code, report) = audit_verify(url, arguments).await;
        let found = (&report["valid"], &report["finding"]["kind"], &report["finding"]["sequence"]);
        assert_eq!((code, found), (1, (&json!(false), &json!("incomplete_range"), &json!(first))), "{arguments:?}");
    };
    incomplete(&["--end-sequence", "1"], 1).await;
    incomplete(&["--start-sequence", "4", "--end-sequence", "5"], 4).await;
    for n in 0..9 {
        api.entity(&format!("e{n}"), "spv", None).await;
    }
    // The tail is cut and the head set back: the chain holds, but it is not the one that was asked for.
    api.database.remove_ledger_triggers().await;
    api.database.execute("DELETE FROM audit_logs WHERE sequence > 7").await.unwrap();
    let head =
        "UPDATE audit_chain_head SET sequence = 7, entry_hash = (SELECT entry_hash FROM audit_logs WHERE sequence = 7)";
    api.database.execute(head).await.unwrap();
    assert_eq!(audit_verify(url, &[]).await.0, 0);
    assert_eq!(audit_verify(url, &["--end-sequence", "7"]).await.0, 0);
    incomplete(&["--end-sequence", "10"], 8).await;
    incomplete(&["--end-sequence", "8"], 8).await;
    incomplete(&["--start-sequence", "8", "--end-sequence", "8"], 8).await;
    incomplete(&["--start-sequence", "9", "--end-sequence", "10"], 9).await;
    incomplete(&["--end-sequence", "9223372036854775806"], 8).await;
    let (code, out, _) = epr(url, &["audit", "verify", "--end-sequence", "10"]).await;
    assert_eq!(code, 1);
    assert_eq!(
        out,
        "BROKEN at entry 8: incomplete range: entry 8 is not in the ledger, but the range goes to entry 10\n\
             Entries before it that are intact: 7.\n"
    );
    // No end is named and the start is after the last entry: nothing to verify, which the head confirms.
    let nothing = "The ledger ends at entry 7, as its head says: no entry to verify.\n";
    for start in ["8", "9", "1000"] {
        let output = epr(url, &["audit", "verify", "--start-sequence", start]).await;
        assert_eq!((output.0, output.1.as_str()), (0, nothing), "{start}");
    }
    assert_eq!(
        epr(url, &["audit", "verify", "--start-sequence", "0"]).await.1,
        "The chain holds: 7 entries, 1 to 7.\n"
    );
    // Exports say it too.
    assert_eq!(epr(url, &["audit", "export", "--end-sequence", "7"]).await.0, 0);
    let (code, lines, err) = epr(url, &["audit", "export", "--start-sequence", "6", "--end-sequence", "10"]).await;
    assert_eq!((code, lines.lines().count()), (1, 2));
    assert!(err.ends_with("The range ends at entry 10, but the ledger has no entries 8 to 10.\n"), "{err}");
    // The last entry of a range is missing while later ones are there: no row of the range shows the gap.
    api.database.execute("DELETE FROM audit_logs WHERE sequence = 6").await.unwrap();
    incomplete(&["--end-sequence", "6"], 6).await;
    // Without the head there is nothing that confirms the end.
    api.database.execute("DELETE FROM audit_chain_head").await.unwrap();
    for arguments in [&["--start-sequence", "1000"][..], &["--start-sequence", "7"]] {
        let (code, report) = audit_verify(url, arguments).await;
        assert_eq!(code, 1, "{arguments:?}: {report}");
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_verifies_offline_with_the_documented_script(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    for n in 0..5 {
        api.entity(&format!("Zoë {n}"), "spv", None).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.jsonl");
    let (code, _, err) = epr(&api.database.url, &["audit", "export", "--output", file.to_str().unwrap()]).await;
    assert_eq!((code, err.as_str()), (0, "5 entries written.\n"));
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/verify_export.py");
    let verify = async || {
        let output = Command::new("python3").arg(&script).arg(&file).output().await.unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(verify().await, (0, "5 entries hold\n".into()));
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("entity.create", "entity.creatE", 1)).unwrap();
    assert_eq!(verify().await, (1, "entry 1 is broken\n".into()));
    let lines: Vec<_> = text.lines().collect();
    std::fs::write(&file, [&lines[..2], &lines[3..]].concat().join("\n")).unwrap();
    assert_eq!(verify().await, (1, "entry 4 is broken\n".into()));
}

#[tokio::test]
async fn a_ledger_that_cannot_be_read_has_an_exit_code_of_its_own() {
    let (code, _, err) = epr("postgres://nobody@127.0.0.1:1/none", &["audit", "verify"]).await;
    assert_eq!(code, 2);
    assert!(err.contains("not available"), "{err}");
    let api = Api::start(DatabaseKind::Sqlite).await;
    api.database.execute("DROP TABLE audit_chain_head").await.unwrap();
    assert_eq!(epr(&api.database.url, &["audit", "verify"]).await.0, 2);
}

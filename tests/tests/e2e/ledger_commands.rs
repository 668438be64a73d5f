//! `epr audit verify` and `epr audit export`, as an auditor uses them.

use epr_testkit::api::Api;
use epr_testkit::database::Kind;
use epr_testkit::ledger::verdict;
use epr_testkit::on_both;
use epr_testkit::process::epr;
use serde_json::json;
use tokio::process::Command;

on_both! {
    async fn ranges_and_exit_codes(api) {
        let url = &api.database.url;
        assert_eq!(epr(url, &["audit", "verify"]).await, (0, "The ledger is empty.\n".into(), String::new()));
        for n in 0..5 {
            api.entity(&format!("e{n}"), "spv", None).await;
        }
        assert_eq!(epr(url, &["audit", "verify"]).await.1, "The chain holds: 5 entries, 1 to 5.\n");
        let (code, said) = verdict(url, &["--start-sequence", "2", "--end-sequence", "4"]).await;
        assert_eq!((code, said), (0, json!({"valid": true, "checked": 3, "start_sequence": 2, "end_sequence": 4, "finding": null})));
        assert_eq!(verdict(url, &["--start-sequence", "6"]).await.0, 0, "nothing after the end, and the head agrees");

        // A fault before the range is not looked at; one in it is found; a missing entry just before it is.
        api.database.disarm().await;
        api.database.execute("UPDATE audit_logs SET action = 'forged' WHERE sequence = 2").await.unwrap();
        assert_eq!(verdict(url, &["--start-sequence", "3"]).await.0, 0);
        assert_eq!(verdict(url, &["--end-sequence", "1"]).await.0, 0);
        let (code, said, _) = epr(url, &["audit", "verify", "--end-sequence", "2"]).await;
        assert_eq!(code, 1);
        assert!(said.starts_with("BROKEN at entry 2: changed content: entry 2 is stored with hash "), "{said}");
        assert!(said.ends_with("1 entries before it are whole.\n"), "{said}");
        api.database.execute("DELETE FROM audit_logs WHERE sequence = 2").await.unwrap();
        let (code, said) = verdict(url, &["--start-sequence", "3"]).await;
        assert_eq!((code, &said["finding"]["kind"], &said["finding"]["sequence"]), (1, &json!("gap"), &json!(2)));
        api.database.execute("DELETE FROM audit_logs WHERE sequence = 5").await.unwrap();
        let (code, said) = verdict(url, &["--start-sequence", "6"]).await;
        assert_eq!((code, &said["finding"]["kind"], &said["finding"]["sequence"]), (1, &json!("missing_tail"), &json!(5)));
        let (code, _, said) = epr(url, &["audit", "verify", "--start-sequence", "9"]).await;
        assert_eq!(code, 2);
        assert!(said.contains("the ledger ends at entry 4"), "{said}");
        assert_eq!(epr(url, &["audit", "verify", "--start-sequence", "4", "--end-sequence", "3"]).await.0, 2);
        assert_eq!(epr(url, &["audit", "verify", "--start-sequence", "0"]).await.0, 2);
    }

    async fn an_export_verifies_offline_with_the_documented_script(api) {
        for n in 0..5 {
            api.entity(&format!("Zoë {n}"), "spv", None).await;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ledger.jsonl");
        let (code, _, said) = epr(&api.database.url, &["audit", "export", "--output", file.to_str().unwrap()]).await;
        assert_eq!((code, said.as_str()), (0, "5 entries written.\n"));
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
}

#[tokio::test]
async fn it_could_not_look() {
    let (code, _, said) = epr("postgres://nobody@127.0.0.1:1/none", &["audit", "verify"]).await;
    assert_eq!(code, 2);
    assert!(said.contains("not available"), "{said}");
    let api = Api::start(Kind::Sqlite).await;
    api.database.execute("DROP TABLE audit_chain_head").await.unwrap();
    assert_eq!(epr(&api.database.url, &["audit", "verify"]).await.0, 2);
}

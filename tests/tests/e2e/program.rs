//! Exit codes have one meaning in every program.

use epr_testkit::process::run;

#[tokio::test]
async fn a_panic_has_an_exit_code_of_its_own_and_one_line() {
    let (code, stdout, stderr) = run("panic-on-purpose", &[], &[]).await;
    assert_eq!(code, 70, "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("internal error at") && stderr.contains("on purpose in two lines"), "{stderr}");
    assert!(stdout.is_empty());
}

#[tokio::test]
async fn every_program_documents_the_exit_code_of_an_internal_error() {
    for name in ["epr-api", "epr", "epr-audit-worker"] {
        let (_, help, _) = run(name, &[], &["--help"]).await;
        assert!(help.contains("70") && help.contains("internal error"), "{name}: {help}");
    }
}

//! What every program does around its work: exit codes that mean one thing.

use epr_testkit::process::program;
use tokio::process::Command;

#[tokio::test]
async fn a_panic_has_an_exit_code_of_its_own_and_one_line() {
    let output = Command::new(program("panic-on-purpose")).env_clear().output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(70), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("internal error at") && said.contains("on purpose in two lines"), "{said}");
    assert!(output.stdout.is_empty());
}

#[tokio::test]
async fn every_program_documents_the_exit_code_of_an_internal_error() {
    for name in ["epr-api", "epr", "epr-audit-worker"] {
        let output = Command::new(program(name)).env_clear().arg("--help").output().await.unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.contains("70") && help.contains("internal error"), "{name}: {help}");
    }
}

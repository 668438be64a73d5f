//! The `.env` file as the scripts of the deployment read it: the same grammar as the service's own reader.

use std::path::Path;

use serde_json::Value;
use tokio::process::Command;

/// Reads the file `$ENV_FILE` and prints `=` and the value of `EPR_A`, or `!` and the first error.
const READ: &str = r#"
    source scripts/deploy-settings.sh
    settings_begin
    if ((${#ERRORS[@]} > 0)); then printf '!%s' "${ERRORS[0]}"; else printf '=%s' "${EPR_A:-}"; fi
"#;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[tokio::test]
async fn the_shell_reads_every_case_of_the_grammar() {
    let cases = std::fs::read_to_string(repository().join("tests/vectors/dot_env.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&cases).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    for case in cases {
        std::fs::write(file.path(), case["file"].as_str().unwrap()).unwrap();
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", READ]).current_dir(repository());
        let output = shell.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("ENV_FILE", file.path());
        let output = output.output().await.unwrap();
        let (read, complaint) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success() && complaint.is_empty(), "{case}: {complaint}");
        let expected = match case["error_line"].as_u64() {
            Some(line) => format!("!{}: line {line} is not of the form NAME=value", file.path().display()),
            None => format!("={}", case["value"].as_str().unwrap_or_default()),
        };
        assert_eq!(read, expected, "{case}");
    }
}

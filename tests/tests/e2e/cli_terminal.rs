//! Output on a terminal: colours there only, hostile names harmless, lines that fit; and completions.

use epr_testkit::cli::Cli;
use epr_testkit::database::{Database, DatabaseKind};

async fn seeded() -> (Database, Cli) {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let cli = Cli::on(&database.url);
    cli.ok(&["migrate"]).await;
    cli.ok(&["seed"]).await;
    (database, cli)
}

#[tokio::test]
async fn colours_appear_on_a_terminal_only() {
    let (_database, cli) = seeded().await;
    let check = ["check", "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a01", "document:download", "spv:Berlin One"];
    let cli = cli.with("TERM", "xterm-256color");
    assert!(cli.run_on_terminal(&check).await.contains("\u{1b}[32mALLOWED\u{1b}[0m"), "green");
    assert!(!cli.ok(&check).await.contains('\u{1b}'), "into a pipe");
    assert!(!cli.clone().with("NO_COLOR", "1").run_on_terminal(&check).await.contains('\u{1b}'), "unwanted");
    assert!(!cli.clone().with("TERM", "dumb").run_on_terminal(&check).await.contains('\u{1b}'), "not understood");
    let json = cli.run_on_terminal(&[&check[..], &["--json"]].concat()).await;
    assert!(!json.contains('\u{1b}'), "JSON has none anywhere: {json}");
}

#[tokio::test]
async fn names_do_not_command_the_terminal() {
    let (_database, cli) = seeded().await;
    let name = "\u{1b}]0;owned\u{7}\u{202e}evil\r\n\u{9b}2J";
    cli.ok(&["entities", "create", "spv", name]).await;
    let cli = cli.with("COLUMNS", "");
    let shown = "\\u{1b}]0;owned\\u{7}\\u{202e}evil\\r\\n\\u{9b}2J";
    for command in [&["entities", "list"][..], &["entities", "show", &format!("spv:{name}")]] {
        let out = cli.ok(command).await;
        assert!(out.contains(shown) && !out.contains('\u{1b}') && !out.contains('\u{202e}'), "{out:?}");
    }
}

#[tokio::test]
async fn lines_fit_a_terminal_and_are_whole_in_a_pipe() {
    let (_database, cli) = seeded().await;
    let name = "株式会社 ".repeat(20);
    cli.ok(&["entities", "create", "spv", &name]).await;
    let line = |out: String| out.lines().nth(1).unwrap().to_owned();
    let cut = line(cli.ok(&["entities", "list"]).await);
    assert!(cut.ends_with('…'), "{cut}");
    // Two columns for each of these characters.
    assert!(cut.chars().map(|c| if c.len_utf8() == 3 && c != '…' { 2 } else { 1 }).sum::<usize>() <= 80, "{cut}");
    let whole = line(cli.with("COLUMNS", "").ok(&["entities", "list"]).await);
    assert!(whole.ends_with(name.trim_end()), "{whole}");
}

#[tokio::test]
async fn help_fits_and_lists_the_exit_codes() {
    let cli = Cli::on("sqlite:///none.db");
    let commands: [&[&str]; 17] = [
        &["--help"],
        &["check", "--help"],
        &["who-can", "--help"],
        &["what-can", "--help"],
        &["seed", "--help"],
        &["entities", "create", "--help"],
        &["entities", "update", "--help"],
        &["roles", "update", "--help"],
        &["assignments", "create", "--help"],
        &["export", "--help"],
        &["import", "--help"],
        &["report", "--help"],
        &["events", "requeue", "--help"],
        &["audit", "verify", "--help"],
        &["audit", "list", "--help"],
        &["explain", "--help"],
        &["token", "new", "--help"],
    ];
    for command in commands {
        let out = cli.ok(command).await;
        let long: Vec<_> = out.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(long.is_empty(), "{command:?}: {long:#?}");
    }
    let help = cli.ok(&["--help"]).await;
    for code in ["  0  done; the answer is yes", "  1  done; the answer is no", "  2  could not"] {
        assert!(help.contains(code), "{help}");
    }
}

#[tokio::test]
async fn completions_are_readable_by_the_shell() {
    let folder = tempfile::tempdir().unwrap();
    let cli = Cli::on("sqlite:///none.db");
    for shell in ["bash", "zsh", "fish"] {
        let script = cli.ok(&["completions", shell]).await;
        assert!(script.contains("unheld-roles"), "{shell}");
    }
    let file = folder.path().join("epr.bash");
    std::fs::write(&file, cli.ok(&["completions", "bash"]).await).unwrap();
    let ask = format!(
        "source {}; COMP_WORDS=(epr report or); COMP_CWORD=2; _epr epr or report; echo \"${{COMPREPLY[@]}}\"",
        file.display()
    );
    let output = tokio::process::Command::new("bash").args(["--norc", "-c", &ask]).output().await.unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "orphaned", "{:?}", String::from_utf8(output.stderr));
}

//! The command `epr` as an operator runs it: at 80 columns, on a database or over an API.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::Value;
use tokio::process::Command;

use crate::process::program;

/// The command `epr` with its target (a database or an API), environment and working folder.
#[derive(Clone)]
pub struct Cli {
    environment: Vec<(String, String)>,
    always: Vec<String>,
    folder: PathBuf,
}

/// The result of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliOutput {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Cli {
    /// The command on a database.
    pub fn on(database_url: &str) -> Self {
        let mut cli = Self { environment: Vec::new(), always: Vec::new(), folder: std::env::temp_dir() };
        cli.environment.push(("EPR_DATABASE_URL".into(), database_url.into()));
        cli.with("COLUMNS", "80")
    }

    /// The command over an API at the base URL `base`.
    pub fn over(base: &str) -> Self {
        let cli = Self { environment: Vec::new(), always: Vec::new(), folder: std::env::temp_dir() };
        let mut cli = cli.with("COLUMNS", "80");
        cli.always = vec!["--url".into(), base.into()];
        cli
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Sets the working folder.
    #[must_use]
    pub fn in_folder(mut self, folder: &std::path::Path) -> Self {
        folder.clone_into(&mut self.folder);
        self
    }

    /// Runs the command to its end.
    pub async fn run(&self, arguments: &[&str]) -> CliOutput {
        self.end_of(Command::new(program("epr")).args(&self.always).args(arguments)).await
    }

    /// Runs the command on a terminal of its own; returns the text on it, with line feeds as line ends.
    pub async fn run_on_terminal(&self, arguments: &[&str]) -> String {
        let epr = program("epr").display().to_string();
        let words: Vec<_> = std::iter::once(epr.as_str()).chain(self.always.iter().map(String::as_str)).collect();
        let line: Vec<_> = words.iter().chain(arguments).map(|word| format!("'{word}'")).collect();
        // `script` of util-linux, because a child without a session of its own would inherit this terminal.
        let output = self.end_of(Command::new("script").args(["-qec", &line.join(" "), "/dev/null"])).await;
        output.out.replace("\r\n", "\n")
    }

    async fn end_of(&self, command: &mut Command) -> CliOutput {
        let output = command
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .current_dir(&self.folder)
            .stdin(std::process::Stdio::null())
            .output()
            .await
            .expect("the command");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        CliOutput {
            code: output.status.code().expect("an exit code"),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// Runs the command, expects exit code 0, and returns standard output.
    pub async fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert_eq!(output.code, 0, "{arguments:?}: {output:?}");
        output.out
    }

    /// Runs the command with `--json`, expects exit code 0, and returns each line of standard output.
    pub async fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let out = self.ok(&[arguments, &["--json"]].concat()).await;
        out.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
    }
}

/// Replaces the parts of `text` that differ between runs, keeping its width: ids by their order, times by zeros.
pub fn normalized(text: &str) -> String {
    let mut ids: HashMap<String, usize> = HashMap::new();
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = rest.get(..36).filter(|word| is_id(word));
        let stamp = ["####-##-##T##:##:##.######Z", "####-##-## ##:## UTC"].into_iter().find(|shape| fits(rest, shape));
        if let Some(id) = word {
            let next = ids.len() + 1;
            let number = *ids.entry(id.to_owned()).or_insert(next);
            let _ = write!(out, "00000000-0000-0000-0000-{number:012}");
            rest = &rest[36..];
        } else if let Some(shape) = stamp {
            out.push_str(&shape.replace('#', "0"));
            rest = &rest[shape.len()..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

fn is_id(word: &str) -> bool {
    word.bytes().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    })
}

fn fits(text: &str, shape: &str) -> bool {
    text.len() >= shape.len()
        && text
            .bytes()
            .zip(shape.bytes())
            .all(|(byte, place)| if place == b'#' { byte.is_ascii_digit() } else { byte == place })
}

//! The command `epr` as an operator runs it: at 80 columns, on a database or over an API.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::Value;
use tokio::process::Command;

use crate::process::program;

/// Whom the command speaks to, and in which surroundings.
#[derive(Clone)]
pub struct Cli {
    environment: Vec<(String, String)>,
    always: Vec<String>,
    folder: PathBuf,
}

/// What it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Cli {
    /// On a database.
    pub fn on(database_url: &str) -> Self {
        let mut cli = Self { environment: Vec::new(), always: Vec::new(), folder: std::env::temp_dir() };
        cli.environment.push(("EPR_DATABASE_URL".into(), database_url.into()));
        cli.with("COLUMNS", "80")
    }

    /// Over an API.
    pub fn over(base: &str) -> Self {
        let cli = Self { environment: Vec::new(), always: Vec::new(), folder: std::env::temp_dir() };
        let mut cli = cli.with("COLUMNS", "80");
        cli.always = vec!["--url".into(), base.into()];
        cli
    }

    /// With one more variable, or another value for one.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.into(), value.into()));
        self
    }

    /// In this folder.
    #[must_use]
    pub fn within(mut self, folder: &std::path::Path) -> Self {
        folder.clone_into(&mut self.folder);
        self
    }

    /// Runs it to its end.
    pub async fn run(&self, arguments: &[&str]) -> Said {
        self.end_of(Command::new(program("epr")).args(&self.always).args(arguments)).await
    }

    /// Runs it on a terminal of its own; gives what appeared there. The terminal ends lines as terminals do.
    pub async fn on_a_terminal(&self, arguments: &[&str]) -> String {
        let epr = program("epr").display().to_string();
        let words: Vec<_> = std::iter::once(epr.as_str()).chain(self.always.iter().map(String::as_str)).collect();
        let line: Vec<_> = words.iter().chain(arguments).map(|word| format!("'{word}'")).collect();
        // Without a session of its own, `script` of util-linux hands our own terminal on.
        let said = self.end_of(Command::new("script").args(["-qec", &line.join(" "), "/dev/null"])).await;
        said.out.replace("\r\n", "\n")
    }

    async fn end_of(&self, command: &mut Command) -> Said {
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
        Said { code: output.status.code().expect("an exit code"), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Runs it, expects exit code 0, and gives standard output.
    pub async fn ok(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments).await;
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
        said.out
    }

    /// The same with `--json`: every line.
    pub async fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let out = self.ok(&[arguments, &["--json"]].concat()).await;
        out.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
    }
}

/// Text that is the same in every run, and as wide: ids by the order in which they appear, moments as zeros.
pub fn steady(text: &str) -> String {
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

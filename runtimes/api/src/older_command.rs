//! Commands of the older implementation's image, as its task definitions write them, and the programs that replace
//! them.
//!
//! Must never start a program for an unknown command: the error names the known ones.

use std::path::Path;

/// The program that replaces an older command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Replacement {
    /// A program of the image.
    pub(crate) program: &'static str,
    /// The arguments of the command.
    pub(crate) arguments: Vec<String>,
    /// Variables that options of the older command set.
    pub(crate) variables: Vec<(&'static str, String)>,
    /// Options without effect.
    pub(crate) ignored: Vec<String>,
}

impl Replacement {
    fn new(program: &'static str, arguments: impl IntoIterator<Item = String>) -> Self {
        Self { program, arguments: arguments.into_iter().collect(), variables: Vec::new(), ignored: Vec::new() }
    }
}

/// Whether a command that begins with `program` belongs to the older image.
pub(crate) fn is_older(program: &str) -> bool {
    matches!(file_name(program), "uvicorn") || is_interpreter(file_name(program))
}

fn file_name(program: &str) -> &str {
    Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or(program)
}

/// `python`, `python3`, `python3.12`.
fn is_interpreter(name: &str) -> bool {
    name.strip_prefix("python").is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

/// The replacement of `program` with `arguments`.
///
/// # Errors
/// The command is unknown, or has an option that cannot be replaced.
pub(crate) fn replace(program: &str, arguments: &[String]) -> Result<Replacement, String> {
    if file_name(program) == "uvicorn" {
        return uvicorn(arguments);
    }
    let rest = without_interpreter_options(arguments);
    let (module, rest) = match rest {
        [flag, module, rest @ ..] if flag == "-m" => (module.replace('.', "/"), rest),
        [script, rest @ ..] => (script.trim_end_matches(".py").trim_start_matches("./").to_owned(), rest),
        [] => return Err(unknown(program, arguments)),
    };
    match module.trim_start_matches("/app/") {
        "app/workers/audit_consumer" => Ok(Replacement::new("epr-audit-worker", rest.iter().cloned())),
        "scripts/verify_audit_chain" => {
            let fixed = ["audit", "verify", "--as-older-script"].map(str::to_owned);
            Ok(Replacement::new("epr", fixed.into_iter().chain(rest.iter().cloned())))
        }
        "app/main" if rest.is_empty() => Ok(Replacement::new("epr-api", [])),
        "uvicorn" => uvicorn(rest),
        _ => Err(unknown(program, arguments)),
    }
}

/// The arguments after the interpreter's own options, such as `-u`.
fn without_interpreter_options(mut arguments: &[String]) -> &[String] {
    loop {
        arguments = match arguments {
            [option, _, rest @ ..] if matches!(option.as_str(), "-W" | "-X") => rest,
            [option, rest @ ..] if option.starts_with('-') && option != "-m" && option != "-c" => rest,
            rest => return rest,
        };
    }
}

fn uvicorn(arguments: &[String]) -> Result<Replacement, String> {
    let mut replacement = Replacement::new("epr-api", []);
    let mut application = false;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let (option, attached) = match argument.split_once('=') {
            Some((option, value)) if option.starts_with("--") => (option, Some(value.to_owned())),
            _ => (argument.as_str(), None),
        };
        let mut value =
            || attached.clone().or_else(|| rest.next().cloned()).ok_or_else(|| format!("{option} has no value"));
        match option {
            "app.main:app" => application = true,
            "--host" => replacement.variables.push(("HOST", value()?)),
            "--port" => replacement.variables.push(("PORT", value()?)),
            "--no-access-log" => replacement.variables.push(("EPR_LOG_ACCESS", "false".into())),
            "--reload" | "--proxy-headers" | "--no-proxy-headers" | "--access-log" | "--use-colors"
            | "--no-use-colors" | "--server-header" | "--no-server-header" | "--date-header" | "--no-date-header" => {
                replacement.ignored.push(option.to_owned());
            }
            "--workers"
            | "--log-level"
            | "--loop"
            | "--http"
            | "--ws"
            | "--lifespan"
            | "--interface"
            | "--backlog"
            | "--forwarded-allow-ips"
            | "--limit-concurrency"
            | "--limit-max-requests"
            | "--timeout-keep-alive"
            | "--timeout-graceful-shutdown"
            | "--app-dir" => {
                replacement.ignored.push(format!("{option} {}", value()?));
            }
            _ => return Err(format!("the argument `{argument}` of uvicorn is not supported; {KNOWN}")),
        }
    }
    if application { Ok(replacement) } else { Err(unknown("uvicorn", arguments)) }
}

const KNOWN: &str = "known are `python -m app.workers.audit_consumer`, `python -m scripts.verify_audit_chain \
     [--start-sequence N] [--end-sequence N] [--verbose]` and `uvicorn app.main:app [--host H] [--port P]`";

fn unknown(program: &str, arguments: &[String]) -> String {
    format!(
        "this image has no Python, and `{program} {}` is not a command of the older image; {KNOWN}",
        arguments.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(command: &str) -> Result<Replacement, String> {
        let mut words = command.split(' ').map(str::to_owned);
        let program = words.next().unwrap();
        assert!(is_older(&program), "{command}");
        replace(&program, &words.collect::<Vec<_>>())
    }

    #[test]
    fn older_commands_have_a_program_here() {
        for (command, expected) in [
            ("python -m app.workers.audit_consumer", "epr-audit-worker"),
            ("python3 -m app.workers.audit_consumer", "epr-audit-worker"),
            ("/usr/local/bin/python3.12 -u -X dev -m app.workers.audit_consumer", "epr-audit-worker"),
            ("python app/workers/audit_consumer.py", "epr-audit-worker"),
            ("python -m scripts.verify_audit_chain", "epr audit verify --as-older-script"),
            ("python scripts/verify_audit_chain.py --verbose", "epr audit verify --as-older-script --verbose"),
            ("python ./scripts/verify_audit_chain.py", "epr audit verify --as-older-script"),
            (
                "python /app/scripts/verify_audit_chain.py --start-sequence 0 --end-sequence=9",
                "epr audit verify --as-older-script --start-sequence 0 --end-sequence=9",
            ),
            ("python -m uvicorn app.main:app", "epr-api"),
            ("python -m app.main", "epr-api"),
            ("uvicorn app.main:app --workers 4", "epr-api"),
        ] {
            let found = replaced(command).unwrap_or_else(|why| panic!("{command}: {why}"));
            assert_eq!([&[found.program.to_owned()], &found.arguments[..]].concat().join(" "), expected, "{command}");
        }
    }

    #[test]
    fn options_of_the_server_become_variables_or_are_named() {
        let found =
            replaced("uvicorn app.main:app --host 0.0.0.0 --port=80 --workers 4 --proxy-headers --no-access-log")
                .unwrap();
        let expected = [("HOST", "0.0.0.0"), ("PORT", "80"), ("EPR_LOG_ACCESS", "false")];
        assert_eq!(found.variables, expected.map(|(name, value)| (name, value.to_owned())));
        assert_eq!(found.ignored, ["--workers 4", "--proxy-headers"]);
    }

    #[test]
    fn other_commands_are_refused() {
        for command in [
            "python",
            "python -c print(1)",
            "python -m http.server",
            "python other.py",
            "python -m app.main now",
            "uvicorn other:app",
            "uvicorn app.main:app --uds /tmp/socket",
            "uvicorn app.main:app --ssl-keyfile key.pem",
            "uvicorn app.main:app --port",
        ] {
            assert!(replaced(command).is_err(), "{command}");
        }
        assert!(!is_older("pythonic") && !is_older("epr"));
    }
}

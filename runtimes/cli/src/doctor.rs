//! `epr doctor`: settings with their origin, and the state of every dependency.

use std::process::ExitCode;

use epr_core::Settings;
use epr_core::inspect::{self, Finding, State};
use epr_core::settings::{Described, Origin, Source};
use serde_json::json;

use crate::output::{Output, count, escaped};
use crate::{EXIT_NO, Outcome};

pub(crate) async fn run(out: &mut Output) -> Outcome {
    let (settings, described) = match Source::from_env() {
        Ok(source) => Settings::describe(&source),
        Err(error) => (Err(error), Vec::new()),
    };
    let mut findings = Vec::new();
    match &settings {
        Err(errors) => findings.extend(errors.0.iter().map(|error| {
            Finding::new("settings", State::Wrong, error.clone()).advise("correct it; the other checks need it")
        })),
        Ok(settings) => {
            findings.push(Finding::new("settings", State::Fine, "every variable parses"));
            findings.extend(settings.unknown_variables.iter().map(|variable| {
                Finding::new("settings", State::Wrong, variable.to_string()).advise("correct its name, or remove it")
            }));
            findings.extend(inspect::authentication(settings).await);
            findings.extend(settings.warnings.iter().map(|warning| {
                Finding::new("settings", State::Doubtful, warning.clone()).advise("set the intended value")
            }));
            findings.extend(inspect::database(settings).await);
            findings.push(inspect::cache(settings).await);
            findings.push(inspect::topic(settings).await);
            findings.push(inspect::queue(settings).await);
        }
    }
    let wrong = findings.iter().map(|finding| u64::from(finding.state == State::Wrong)).sum();
    if out.json {
        out.object(&json!({"healthy": wrong == 0, "findings": findings, "settings": described}))?;
    } else {
        print_settings(&described, out)?;
        out.line(format_args!(""))?;
        for finding in &findings {
            print_finding(finding, out)?;
        }
        out.line(format_args!(""))?;
        let doubtful = findings.iter().any(|finding| finding.state == State::Doubtful);
        out.line(format_args!(
            "{}",
            match (wrong, doubtful) {
                (0, false) => "No errors.".to_owned(),
                (0, true) => "No errors; see the warnings.".to_owned(),
                (wrong, _) => format!("{}.", count(wrong, "error", "errors")),
            }
        ))?;
    }
    out.flush()?;
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NO) })
}

fn print_settings(described: &[Described], out: &mut Output) -> std::io::Result<()> {
    let set: Vec<_> = described.iter().filter(|variable| variable.origin != Origin::Default).collect();
    if !set.is_empty() {
        out.heading("Set variables")?;
    }
    for Described { name, origin, value } in set {
        let from = match origin {
            Origin::DotEnv => " (.env)",
            Origin::Environment | Origin::Default => "",
        };
        let value = escaped(value.as_deref().unwrap_or_default());
        out.line(format_args!("{name}={value}{from}"))?;
    }
    let defaults: Vec<_> = described
        .iter()
        .filter(|variable| variable.origin == Origin::Default)
        .map(|variable| variable.name.as_str())
        .collect();
    if !defaults.is_empty() {
        out.heading("Variables with their defaults")?;
        out.paragraph(&defaults.join(" "))?;
    }
    Ok(())
}

fn print_finding(finding: &Finding, out: &mut Output) -> std::io::Result<()> {
    let word = match finding.state {
        State::Fine => Output::good("ok"),
        State::Doubtful => Output::warning("warning"),
        State::Wrong => Output::bad("ERROR"),
        State::Unused => "unused".to_owned(),
    };
    let mut lines = vec![(finding.what, format!("{word}: {}", escaped(&finding.seen)))];
    if let Some(advice) = &finding.advice {
        lines.push(("", format!("-> {advice}")));
    }
    out.fields_at(11, &lines)
}

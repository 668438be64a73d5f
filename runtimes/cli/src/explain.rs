//! `epr explain PRINCIPAL ACTION RESOURCE`: a decision as a tree of what it rests on.
//!
//! Owns the tree. Must never decide: the service explains.

use std::process::ExitCode;

use clap::Args;
use epr_core::decision::{
    ConditionResult, ExplainedAssignment, ExplainedCondition, ExplainedWindow, Explanation, Question, WindowState,
};
use epr_core::domain::principal::PrincipalStatus;

use crate::backend::Backend;
use crate::check::Asked;
use crate::entities::entity_label;
use crate::moment::MomentOptions;
use crate::output::{Output, escaped, minute};
use crate::times::times_help;
use crate::{EXIT_NO, Outcome};

#[derive(Args)]
#[command(after_help = concat!(
    "The exit code is that of `epr check`. The explanation is recorded in the ledger; a check is not made. With --url, \
     the token needs the scope epr:explain.\n\n",
    times_help!()
))]
pub(crate) struct Explain {
    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    moment: MomentOptions,
}

pub(crate) async fn run(backend: &Backend, command: &Explain, out: &mut Output) -> Outcome {
    let question = command.asked.question(backend).await?;
    let context = command.asked.context();
    let explanation = backend.explain(&question, &context, command.moment.moment(backend.now())).await?;
    if out.json {
        out.object(&explanation)?;
    } else {
        let word = if explanation.decision { Output::good("ALLOWED") } else { Output::bad("DENIED") };
        out.line(format_args!("{word}"))?;
        show(&question, &explanation, out)?;
    }
    Ok(if explanation.decision { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NO) })
}

/// The sentence, and the tree: the resource, its ancestors and everywhere, each with the assignments there.
pub(crate) fn show(question: &Question, explanation: &Explanation, out: &mut Output) -> std::io::Result<()> {
    out.paragraph(&escaped(&explanation.sentence))?;
    out.line(format_args!(""))?;
    out.fields(&heading(question, explanation))?;
    out.line(format_args!(""))?;
    let resource = &explanation.resource;
    let levels = std::iter::once((Some(resource.id), entity_label(&resource.entity_type, &resource.name)))
        .chain(resource.ancestors.iter().map(|one| (Some(one.id), entity_label(&one.entity_type, &one.name))));
    for (level, (id, label)) in levels.chain([(None, "everywhere".to_owned())]).enumerate() {
        let here: Vec<_> =
            explanation.assignments.iter().filter(|one| one.entity.as_ref().map(|entity| entity.id) == id).collect();
        // Without an assignment, an ancestor only shows the way.
        let note = match (level, here.is_empty()) {
            (0, true) => "  (the resource; no assignment)",
            (0, false) => "  (the resource)",
            (_, true) => "  (no assignment)",
            (_, false) => "",
        };
        out.clipped_line(&format!("{label}{note}"))?;
        for (at, assignment) in here.iter().enumerate() {
            branch(assignment, at + 1 == here.len(), out)?;
        }
    }
    Ok(())
}

fn heading(question: &Question, explanation: &Explanation) -> Vec<(&'static str, String)> {
    let principal = &explanation.principal;
    let state = match (principal.is_registered, principal.status) {
        (_, PrincipalStatus::Suspended) => Output::bad("suspended"),
        (true, PrincipalStatus::Active) => "active".to_owned(),
        (false, PrincipalStatus::Active) => "not registered".to_owned(),
    };
    let name = principal.display_name.as_deref().map(|name| format!(" {}", escaped(name))).unwrap_or_default();
    let resource = &explanation.resource;
    vec![
        ("principal", format!("{} {}{name}, {state}", escaped(&principal.principal_type), principal.id)),
        ("action", escaped(question.action.as_str())),
        ("resource", format!("{} {}", resource.id, entity_label(&resource.entity_type, &resource.name))),
        ("reason", explanation.reason.clone()),
        ("at", explanation.at.to_string()),
        ("revision", escaped(&explanation.revision)),
        ("until", explanation.until.map_or_else(|| "something is changed".to_owned(), |until| until.to_string())),
    ]
}

/// An assignment and its tests, as a branch of the tree.
fn branch(assignment: &ExplainedAssignment, is_last: bool, out: &mut Output) -> std::io::Result<()> {
    let (fork, line) = if is_last { ("└─", "  ") } else { ("├─", "│ ") };
    let verdict = match assignment.why_not {
        None => Output::good("applies"),
        Some(why) => Output::bad(format_args!("does not apply: {why}")),
    };
    out.clipped_line(&format!("{fork} {}  {verdict}", escaped(&assignment.role.name)))?;
    let mut lines = vec![
        test(assignment.holds_action, "the role has the action", "the role does not have the action"),
        test(
            assignment.in_scope,
            "the role is meant for entities of this type",
            "the role is not meant for entities of this type",
        ),
        window(&assignment.window),
    ];
    lines.extend(assignment.condition.as_ref().map(condition).into_iter().flatten());
    lines.push(format!("assignment {}", assignment.assignment_id));
    for text in lines {
        out.clipped_line(&format!("{line}   {text}"))?;
    }
    Ok(())
}

fn test(passed: bool, yes: &str, no: &str) -> String {
    if passed { Output::good(yes) } else { Output::bad(no) }
}

fn window(window: &ExplainedWindow) -> String {
    match (window.state, window.expires_at) {
        (WindowState::Ended, end) => {
            Output::bad(format_args!("the window ended {}", end.map(minute).unwrap_or_default()))
        }
        (WindowState::NotStarted, _) => Output::bad(format_args!("the window begins {}", minute(window.effective_at))),
        (WindowState::InForce, Some(end)) => Output::good(format_args!("in force until {}", minute(end))),
        (WindowState::InForce, None) => Output::good("in force without end"),
    }
}

/// The condition, and each part of it with what came out.
fn condition(condition: &ExplainedCondition) -> Vec<String> {
    let result = |result: ConditionResult, text: String| match result {
        ConditionResult::True => Output::good(text),
        ConditionResult::False => Output::bad(text),
        ConditionResult::Missing | ConditionResult::Error => Output::warning(text),
    };
    let detail = match (condition.outcome, &condition.error) {
        (ConditionResult::Missing, _) => format!(" {}", escaped(&condition.missing.join(", "))),
        (_, Some(error)) => format!(" {}", escaped(error)),
        _ => String::new(),
    };
    let head = format!("condition {}{detail}: {}", condition.outcome, escaped(&condition.expression));
    let mut lines = vec![result(condition.outcome, head)];
    if condition.parts.len() > 1 {
        let part = |one: &epr_core::decision::ExplainedPart| {
            format!("   {}", result(one.value, format!("{} {}", one.value, escaped(&one.text))))
        };
        lines.extend(condition.parts.iter().map(part));
    }
    lines
}

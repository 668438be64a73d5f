//! Batches of 100 checks beside single checks, in turn, from the database and from the cache.

use axum::body::Bytes;

use crate::http::Script;
use crate::load::middle;
use crate::report::{Aim, Report};
use crate::scale::Scale;
use crate::server::Server;
use crate::world::Asked;

/// The checks of a batch.
const CHECKS: usize = 100;

/// Every question once, in batches, with the whole right answer of each.
fn batches(asked: &[Asked]) -> Script {
    let batch = |asked: &[Asked]| {
        let checks: Vec<_> = asked.iter().map(Asked::body).collect();
        let body: Bytes = format!(r#"{{"checks":[{}]}}"#, checks.join(",")).into();
        let decisions: Vec<_> = asked.iter().map(|one| format!(r#"{{"authorized":{}}}"#, one.expected)).collect();
        let answer = format!(r#"{{"decisions":[{}]}}"#, decisions.join(","));
        let answer: &'static str = answer.leak();
        (body, answer.as_bytes())
    };
    Script::of("/api/v1/authorize/batch", asked.chunks_exact(CHECKS).map(batch).collect())
}

pub(crate) async fn measure(scale: &Scale, database: &str, asked: &[Asked], report: &mut Report) {
    #[allow(clippy::cast_precision_loss, reason = "a small number")]
    let checks = CHECKS as f64;
    let (single, batched) = (Script::checks(asked).even(), batches(asked).even());
    let cold = [("EPR_DECISION_CACHE", "false"), ("EPR_AUDIT_DECISIONS", "off"), ("EPR_GRAPH", "off")];
    let memory = [("EPR_DECISION_CACHE", "false"), ("EPR_AUDIT_DECISIONS", "off"), ("EPR_GRAPH", "on")];
    let audited = [("EPR_DECISION_CACHE", "false"), ("EPR_GRAPH", "on")];
    let warm = [("EPR_AUDIT_DECISIONS", "off")];
    let mut errors = 0;
    for (what, environment, aim) in [
        ("cold", &cold[..], None),
        ("from memory", &memory, Some(Aim::AtLeast(8.0))),
        ("from memory, recorded", &audited, None),
        ("warm", &warm, None),
    ] {
        let server = match what {
            "warm" => Server::cached(database, environment).await,
            "cold" => Server::api(database, environment).await,
            _ => Server::with_graph(database, environment).await.0,
        };
        errors += batched.once(&server.address).await;
        let [mut alone, mut together] = [const { Vec::new() }; 2];
        for _ in 0..scale.rounds {
            alone.push(single.run(&server.address, scale.span).await);
            together.push(batched.run(&server.address, scale.span).await);
        }
        let [alone, together] = [middle(&alone), middle(&together)];
        errors += alone.errors + together.errors;
        report.say(format!("single check, each asked as often as any other, {what}"), alone.rate, "/s");
        report.say(format!("checks in batches of {CHECKS}, {what}"), together.rate * checks, "/s");
        report.say(format!("batch of {CHECKS}, {what}, p50"), together.millis(0.5), "ms");
        let (name, ratio) =
            (format!("checks in batches of {CHECKS} / single checks, {what}"), together.rate * checks / alone.rate);
        match aim {
            Some(aim) => report.aim(name, ratio, "x", aim),
            None => report.say(name, ratio, "x"),
        }
    }
    report.errors("batches: wrong or failed answers", errors);
}

//! The bench: a seeded world on PostgreSQL, checks under load beside their yardsticks, lists, starts, memory. Run by
//! `scripts/bench.sh`, which builds the programs and starts the servers.

mod access;
mod authzen;
mod bare;
mod batch;
mod checks;
mod conditions;
mod console;
mod explain;
mod graph;
mod history;
mod history_world;
mod http;
mod ledger;
mod life;
mod lists;
mod load;
mod peers;
mod proofs;
mod report;
mod scale;
mod server;
mod world;
mod writes;

use std::path::PathBuf;
use std::process::ExitCode;

use epr_bench::measure::{fsync_rate, machine};
use epr_testkit::seed;
use report::Report;
use scale::Scale;
use world::{World, tidy};

/// The values of `--only`.
const PARTS: [&str; 16] = [
    "starts",
    "warm",
    "conditions",
    "cold",
    "batch",
    "writes",
    "growth",
    "revocation",
    "ledger",
    "lists",
    "access",
    "history",
    "authzen",
    "proofs",
    "graph",
    "console",
];

#[tokio::main]
async fn main() -> ExitCode {
    let (mut scale, mut out, mut only, mut peers) = (Scale::FULL, None, None, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "bare" => {
                bare::serve(arguments.next().as_deref()).await;
                return ExitCode::SUCCESS;
            }
            "hash" => {
                proofs::hash_file(&PathBuf::from(arguments.next().expect("a file")));
                return ExitCode::SUCCESS;
            }
            "--smoke" => scale = Scale::SMOKE,
            "--peers" => peers = true,
            "--only" => only = arguments.next(),
            "--out" => out = arguments.next().map(PathBuf::from),
            other => panic!("`{other}` is no argument of the bench"),
        }
    }
    if let Some(part) = &only {
        assert!(PARTS.contains(&part.as_str()), "`{part}` is no part of the bench; there are {PARTS:?}");
    }
    let mut rng = seed::rng("bench");
    let environment = |name: &str| std::env::var(name).unwrap_or_else(|_| "unknown".into());
    let mut circumstances = vec![
        ("commit", environment("EPR_BENCH_COMMIT")),
        ("profile", environment("EPR_BENCH_PROFILE")),
        ("machine", machine()),
        ("servers", environment("EPR_BENCH_SERVERS")),
        ("fsync of 8 KiB", format!("{:.0}/s", fsync_rate())),
    ];
    if peers {
        Box::pin(peers::measure(&scale, &circumstances, &mut rng, out.as_deref())).await;
        return ExitCode::SUCCESS;
    }
    let Scale { entities, roles, principals, assignments, questions, .. } = scale;
    circumstances.extend([
        (
            "world",
            format!(
                "{entities} entities in trees 4 deep, {roles} roles, {principals} principals, {assignments} assignments"
            ),
        ),
        ("load", format!("{} connections, {questions} different questions", load::CONNECTIONS)),
    ]);
    let mut report = Report::new(circumstances);
    let world = World::new(&scale, &mut rng);
    let asked = world.questions(questions, &mut rng);
    let database = world.database().await;
    tidy(&database).await;

    let (wanted, url) = (|part: &str| only.as_deref().is_none_or(|only| only == part), database.url.as_str());
    if wanted("starts") {
        life::starts(&scale, url, &mut report).await;
    }
    if wanted("warm") {
        checks::warm(&scale, url, &asked, &mut report).await;
    }
    if wanted("conditions") {
        conditions::measure(&scale, url, &world, &mut report).await;
    }
    if wanted("cold") {
        Box::pin(checks::cold(&scale, url, &asked, &mut report)).await;
    }
    if wanted("batch") {
        batch::measure(&scale, url, &asked, &mut report).await;
    }
    if wanted("growth") {
        checks::growth(&scale, url, &world, &mut report).await;
        explain::explain(&scale, url, &world, &mut report).await;
    }
    if wanted("revocation") {
        checks::revocation(&scale, url, &world, &asked, &mut report).await;
    }
    if wanted("writes") {
        writes::measure(&scale, url, &world, &mut report).await;
    }
    if wanted("ledger") {
        ledger::measure(&scale, url, &mut report).await;
    }
    if wanted("lists") {
        lists::measure(&scale, url, &world, &mut report).await;
    }
    if wanted("authzen") {
        authzen::measure(&scale, url, &world, &mut rng, &mut report).await;
    }
    if wanted("access") {
        access::measure(&scale, &mut report).await;
    }
    if wanted("history") {
        history::measure(&scale, &mut rng, &mut report).await;
    }
    if wanted("graph") {
        Box::pin(graph::measure(&scale, &mut report)).await;
    }
    if wanted("proofs") {
        proofs::measure(&scale, &mut report).await;
    }
    if wanted("console") {
        console::measure(&scale, &mut report).await;
    }
    if let Some(out) = out {
        report.write(&out);
        println!("written to {}", out.display());
    }
    println!("aims missed: {}", report.missed());
    // Speed depends on the machine; right answers do not.
    if report.wrong() > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

//! EPR beside its peers, libraries and servers of others: the same world, questions and load for all of them, in one
//! run. `scripts/bench.sh --peers` installs them and passes where they are.
//!
//! Every question is asked once before the measurements: an answer that differs from the right one, which EPR gives,
//! ends the bench. What cannot be had is in the table with the reason.

mod cerbos;
mod grpc;
pub(crate) mod registry;
mod table;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use tempfile::TempDir;
use tokio::process::Command;

use crate::graph::{AUDITED_GRAPH, GRAPH, NO_LINE, STATEMENT, WARM};
use crate::http::Script;
use crate::load::{CONNECTIONS, Measurement, middle};
use crate::scale::Scale;
use crate::server::Server;
use crate::world::{Asked, World, tidy};

use cerbos::Form;
use grpc::GrpcScript;
use table::Row;

/// One line of the table.
struct Contender {
    name: String,
    /// What it does not do here, compared with EPR.
    lacks: &'static str,
    /// Whether the measurement is only a lower bound.
    floor: bool,
    /// Or the reason why it does not run.
    running: Result<Running, String>,
}

struct Running {
    server: Arc<Server>,
    script: PeerScript,
    /// Time from the start of the process until it has the world.
    loaded_after: Duration,
}

/// The questions in the protocol of the contender.
enum PeerScript {
    Http(Script),
    Grpc(GrpcScript),
}

impl PeerScript {
    async fn once(&self, server: &Server) -> u64 {
        match self {
            Self::Http(script) => script.once(&server.address).await,
            Self::Grpc(script) => script.once().await,
        }
    }

    async fn run(&self, server: &Server, span: Duration) -> Measurement {
        match self {
            Self::Http(script) => script.run(&server.address, span).await,
            Self::Grpc(script) => script.run(span).await,
        }
    }
}

/// The world, its questions, and the folder with its files.
struct Stage {
    world: World,
    asked: Vec<Asked>,
    folder: TempDir,
}

pub(crate) async fn measure(
    scale: &Scale,
    circumstances: &[(&'static str, String)],
    rng: &mut StdRng,
    out: Option<&Path>,
) {
    let stage = Stage::new(&scale.of_peers(), rng);
    let database = stage.world.database().await;
    tidy(&database).await;
    let mut contenders = epr(&stage, &database.url).await;
    contenders.extend(libraries(&stage).await);
    contenders.extend(cerbos(&stage).await);
    contenders.push(spicedb(&stage).await);

    for Contender { name, running, .. } in &contenders {
        if let Ok(Running { server, script, .. }) = running {
            let errors = script.once(server).await;
            assert!(errors == 0, "{name}: {errors} of {} answers are missing or differ from EPR's", stage.asked.len());
        }
    }
    println!("{} different questions: all answers are the same", stage.asked.len());
    let mut measured: Vec<_> = contenders.iter().map(|_| Vec::new()).collect();
    for _ in 0..scale.rounds {
        for (Contender { name, running, .. }, measured) in contenders.iter().zip(&mut measured) {
            if let Ok(Running { server, script, .. }) = running {
                let measurement = script.run(server, scale.span).await;
                assert!(measurement.errors == 0, "{name}: {} wrong or missing answers under load", measurement.errors);
                measured.push(measurement);
            }
        }
    }
    let rows = contenders.into_iter().zip(measured).map(|(contender, measured)| row(contender, &measured)).collect();
    let text = table::page(circumstances, &stage.description(), rows);
    println!("{text}");
    if let Some(out) = out {
        std::fs::create_dir_all(out).expect("a folder");
        std::fs::write(out.join("peers.md"), text).expect("a file");
        println!("written to {}", out.display());
    }
}

fn row(contender: Contender, measured: &[Measurement]) -> Row {
    let Contender { name, lacks, floor, running } = contender;
    let measured = running.map(|running| table::Measured {
        whole: middle(measured),
        floor,
        resident: running.server.resident().0,
        loaded_after: running.loaded_after,
    });
    Row { name, lacks, measured }
}

impl Stage {
    fn new(scale: &Scale, rng: &mut StdRng) -> Self {
        let world = World::plain(scale, rng);
        let mut asked = world.questions(scale.questions, rng);
        let mut seen = HashSet::new();
        asked.retain(|one| seen.insert(one.body()));
        let folder = tempfile::tempdir().expect("a folder");
        let text = serde_json::to_vec(&world.registry()).expect("JSON");
        std::fs::write(folder.path().join("world.json"), text).expect("a file");
        Self { world, asked, folder }
    }

    fn description(&self) -> String {
        let registry = self.world.registry();
        let mut held: Vec<_> = registry.by_principal().values().map(Vec::len).collect();
        held.sort_unstable();
        let allowed = self.asked.iter().filter(|asked| asked.expected).count();
        format!(
            "{} entities in trees 4 deep, {} roles, {} assignments of {} principals (at most {} of one), \
             {} different questions, {allowed} of them allowed, {CONNECTIONS} connections",
            registry.entities.len(),
            registry.roles.len(),
            registry.assignments.len(),
            held.len(),
            held.last().copied().unwrap_or_default(),
            self.asked.len(),
        )
    }

    /// The questions as EPR and the bare handler read them; each as often as any other, so that all contenders are
    /// asked the same ones in the same order.
    fn checks(&self) -> PeerScript {
        PeerScript::Http(Script::checks(&self.asked).even())
    }

    /// A library behind the bare handler.
    async fn library(&self, arguments: &[&str]) -> Result<Running, String> {
        let mut command = Command::new(setting("PEERS")?);
        command.arg(arguments[0]).arg(self.folder.path().join("world.json")).args(&arguments[1..]);
        let server = Server::announced(command).await;
        Ok(Running { loaded_after: server.ready_after, server: server.into(), script: self.checks() })
    }
}

async fn epr(stage: &Stage, database: &str) -> Vec<Contender> {
    let bare = Server::bare(None).await;
    let PeerScript::Http(checks) = stage.checks() else { unreachable!("checks are sent over HTTP") };
    let mut all = vec![Contender {
        name: "bare axum handler".into(),
        lacks: "decide",
        floor: false,
        running: Ok(Running {
            loaded_after: bare.ready_after,
            server: bare.into(),
            script: PeerScript::Http(checks.any_answer()),
        }),
    }];
    for (name, settings, lacks) in [
        ("EPR, decisions cached", &WARM[..], "record decisions (turned off)"),
        ("EPR, from memory", &GRAPH, "record decisions (turned off)"),
        ("EPR, from memory, each decision recorded", &AUDITED_GRAPH, ""),
        ("EPR, by the statement", &STATEMENT, "record decisions (turned off)"),
    ] {
        let settings = [settings, &[NO_LINE]].concat();
        let (server, waited) = if settings.contains(&("EPR_GRAPH", "off")) {
            (Server::api(database, &settings).await, Duration::ZERO)
        } else {
            Server::with_graph(database, &settings).await
        };
        let loaded_after = server.ready_after + waited;
        let running = Running { server: server.into(), script: stage.checks(), loaded_after };
        all.push(Contender { name: name.into(), lacks, floor: false, running: Ok(running) });
    }
    all
}

async fn libraries(stage: &Stage) -> [Contender; 2] {
    let lacks = "store, keep processes current, record, windows (the application does)";
    [
        Contender {
            name: named("Cedar", "CEDAR", "in the bare handler"),
            lacks,
            floor: false,
            running: stage.library(&["cedar"]).await,
        },
        Contender {
            name: named("casbin", "CASBIN", "in the bare handler"),
            lacks,
            floor: false,
            running: stage.library(&["casbin"]).await,
        },
    ]
}

async fn spicedb(stage: &Stage) -> Contender {
    let running = match setting("SPICEDB") {
        Ok(library) => stage.library(&["spicedb", &library]).await,
        Err(reason) => Err(reason),
    };
    Contender {
        name: named("SpiceDB", "SPICEDB", "embedded, its caches off, in the bare handler"),
        lacks: "record decisions, windows with a beginning; here also store",
        floor: true,
        running,
    }
}

async fn cerbos(stage: &Stage) -> Vec<Contender> {
    let lacks = "know assignments and hierarchy: each request carries them; keep a chained ledger";
    let contender =
        |protocol: &str, running| Contender { name: named("Cerbos", "CERBOS", protocol), lacks, floor: false, running };
    let program = match setting("CERBOS") {
        Ok(program) => program,
        Err(reason) => return vec![contender("HTTP", Err(reason))],
    };
    let registry = stage.world.registry();
    let (server, grpc) = cerbos::start(&program, &registry, stage.folder.path()).await;
    let server = Arc::new(server);
    let running = |script| Ok(Running { server: Arc::clone(&server), script, loaded_after: server.ready_after });
    let http = |form| PeerScript::Http(cerbos::http(&registry, &stage.asked, form).even());
    vec![
        contender("HTTP", running(http(Form::Assignments))),
        contender("gRPC", running(PeerScript::Grpc(cerbos::grpc(&registry, &stage.asked, Form::Assignments, &grpc)))),
        contender("HTTP, roles on the resource resolved by the caller", running(http(Form::Resolved))),
    ]
}

/// The name of a contender with its version.
fn named(name: &str, setting: &str, how: &str) -> String {
    let version = std::env::var(format!("EPR_BENCH_{setting}_VERSION")).unwrap_or_default();
    format!("{name} {version}, {how}").replace(" ,", ",")
}

/// Where something is, or why it is missing.
fn setting(name: &str) -> Result<String, String> {
    std::env::var(format!("EPR_BENCH_{name}")).map_err(|_| {
        let reason = std::env::var(format!("EPR_BENCH_{name}_MISSING"));
        reason.unwrap_or_else(|_| format!("EPR_BENCH_{name} is not set; scripts/bench.sh --peers sets it"))
    })
}

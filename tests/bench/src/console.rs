//! Pages of the console in a large registry: the time to the first byte of each, one call after the other.

use std::time::Instant;

use epr_core::authn::token;
use epr_testkit::browser::{Browser, form_token};
use epr_testkit::console::missing_pages;
use epr_testkit::seed;
use hdrhistogram::Histogram;
use serde_json::json;
use uuid::Uuid;

use crate::http::Connection;
use crate::ledger;
use crate::report::{Aim, Report};
use crate::scale::Scale;
use crate::server::Server;
use crate::world::{Asked, World, tidy};

/// The cookie of a session.
const SESSION: &str = "__Host-epr-console";
/// Scopes that open every page.
const SCOPES: [&str; 7] =
    ["epr:read", "epr:audit", "epr:list", "epr:explain", "epr:events", "epr:operate", "epr:write"];
/// The share of the reads of other lists: a page costs several statements.
const READS_SHARE: usize = 10;

/// The pages that are not measured: a file, for which the service would have to prove the ledger of the bench.
const NOT_MEASURED: [&str; 1] = ["/console/ledger/{sequence}/proof"];

/// The address of a page about a question of the world.
type Address = Box<dyn Fn(&Asked) -> String>;

/// A world of its own: as many entities and assignments as the lists of access have.
pub(crate) async fn measure(scale: &Scale, report: &mut Report) {
    let scale = scale.of_lists();
    let mut rng = seed::rng("bench of the console");
    let world = World::new(&scale, &mut rng);
    let database = world.database().await;
    ledger::fill(&database.url, scale.rows).await;
    tidy(&database).await;
    let assignments = database.texts("SELECT CAST(id AS text) FROM role_assignments LIMIT 100").await;
    let asked: Vec<Asked> =
        world.questions(scale.questions, &mut rng).into_iter().filter(|asked| asked.expected).collect();
    let minted = token::mint().expect("randomness");
    let hash = token::hex(&token::hash(&minted).expect("a token"));
    let tokens = json!([{"name": "bench", "sha256": hash, "scopes": SCOPES}]).to_string();
    let environment = [("EPR_AUTH_MODE", "token"), ("EPR_API_TOKENS", tokens.as_str()), ("EPR_CONSOLE", "on")];
    let server = Server::api(&database.url, &environment).await;
    let browser = Browser::new(&format!("http://{}", server.address));
    assert_eq!(browser.log_in(&minted).await.status, 303, "the login");
    let cookie = format!("{SESSION}={}", browser.cookie(SESSION).expect("a session"));
    let mut connection = Connection::to(&server.address).await;
    let mut pages = pages(world.some_root(), world.some_role().0, assignments);
    let difference = difference(&browser).await;
    pages.push(("a difference of a role", Box::new(move |_| difference.clone())));
    let addresses: Vec<_> = pages.iter().map(|(_, address)| address(&asked[0])).collect();
    let missing = missing_pages(&addresses.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(missing, NOT_MEASURED, "every other page is measured");
    for (name, address) in pages {
        let mut times = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).expect("a minute at most");
        for asked in asked.iter().take(scale.list_reads / READS_SHARE) {
            let path = address(asked);
            let begun = Instant::now();
            let status = connection.first_byte(&path, &cookie, begun, &mut times).await;
            assert!(status == 200, "{path}: {status}");
        }
        #[allow(clippy::cast_precision_loss, reason = "microseconds")]
        let millis = |share| times.value_at_quantile(share) as f64 / 1000.0;
        report.aim(format!("console, {name}: first byte, p50"), millis(0.5), "ms", Aim::AtMost(50.0));
        report.say("the same, p99", millis(0.99), "ms");
    }
}

/// The address of the difference of a role between the entries that created and changed it: the roles of the world have
/// no history.
async fn difference(browser: &Browser) -> String {
    let form_token = form_token(&browser.get("/console").await.expect(200));
    let change = async |fields: &[(&str, &str)]| {
        let fields = [&[("form_token", form_token.as_str())], fields].concat();
        let made = browser.post("/console/change/role", &fields).await;
        let page = browser.get(made.location()).await.expect(200);
        let (_, entry) = page.split_once("recorded as entry ").expect("an entry");
        let entry: String = entry.chars().take_while(char::is_ascii_digit).collect();
        let subject = made.location().replace("%2F", "/");
        let (_, role) = subject.rsplit_once('/').expect("the address of the role");
        (role.to_owned(), entry)
    };
    let (role, from) = change(&[("name", "Changed role"), ("permissions", "a:b")]).await;
    let (_, to) = change(&[("id", &role), ("permissions", "a:b\nc:d")]).await;
    format!("/console/roles/{role}/difference?from={from}&to={to}")
}

/// The pages, by name.
fn pages(root: Uuid, role: Uuid, assignments: Vec<String>) -> Vec<(&'static str, Address)> {
    let fixed = |path: &str| {
        let path = path.to_owned();
        Box::new(move |_: &Asked| path.clone()) as Address
    };
    let assignment = move |asked: &Asked| {
        let pick = usize::try_from(asked.resource.as_u128() % 100).unwrap_or_default();
        format!("/console/assignments/{}", assignments[pick % assignments.len()])
    };
    let around = |reach: &'static str| {
        Box::new(move |asked: &Asked| format!("/console/entities/{}/assignments/{reach}", asked.resource)) as Address
    };
    let question = |asked: &Asked| {
        format!("principal_type=user&action={}&resource_id={}", asked.action.replace(':', "%3A"), asked.resource)
    };
    vec![
        ("home", fixed("/console")),
        ("entities", fixed("/console/entities")),
        ("entities of a type", fixed("/console/entities?type=spv")),
        ("an entity", Box::new(|asked| format!("/console/entities/{}", asked.resource))),
        ("a root", fixed(&format!("/console/entities/{root}"))),
        ("everything below a root", fixed(&format!("/console/entities?ancestor_id={root}"))),
        ("the tree", fixed("/console/tree")),
        ("a level of the tree", fixed(&format!("/console/tree?under={root}"))),
        ("assignments on an entity", around("here")),
        ("inherited assignments", around("inherited")),
        ("assignments below a root", fixed(&format!("/console/entities/{root}/assignments/below"))),
        ("entities by name", fixed("/console/entities?q=spv")),
        ("principals", fixed("/console/principals")),
        ("a principal", Box::new(|asked| format!("/console/principal?type=user&id={}", asked.principal))),
        ("roles", fixed("/console/roles")),
        ("a role", fixed(&format!("/console/roles/{role}"))),
        ("an assignment", Box::new(assignment)),
        ("expiring", fixed("/console/attention/expiring")),
        ("never in force", fixed("/console/attention/never-effective")),
        ("global roles", fixed("/console/attention/global")),
        ("orphans", fixed("/console/attention/orphans")),
        ("a check", Box::new(move |asked| format!("/console/check?user_id={}&{}", asked.principal, question(asked)))),
        ("who can", Box::new(move |asked| format!("/console/access?list=principals&{}", question(asked)))),
        (
            "what can",
            Box::new(|asked| {
                let action = asked.action.replace(':', "%3A");
                let principal = asked.principal;
                format!("/console/access?list=resources&principal_id={principal}&principal_type=user&action={action}")
            }),
        ),
        (
            "which actions",
            Box::new(|asked| {
                let Asked { principal, resource, .. } = asked;
                format!("/console/access?list=actions&principal_id={principal}&resource_id={resource}")
            }),
        ),
        ("ledger", fixed("/console/ledger")),
        ("an entry", fixed("/console/ledger/1")),
        ("the checkpoint", fixed("/console/ledger/checkpoint")),
        ("events", fixed("/console/events")),
        ("health", fixed("/console/health")),
        ("the form of an assignment", fixed(&format!("/console/change/assignment?entity_id={root}"))),
        ("the form of an entity", Box::new(|asked| format!("/console/change/entity?id={}", asked.resource))),
        ("the form of a role", fixed(&format!("/console/change/role?id={role}"))),
        ("the form of a revocation", fixed(&format!("/console/change/revoke?id={role}"))),
        (
            "the form of a suspension",
            Box::new(|asked| format!("/console/change/suspension?id={}&status=suspended", asked.principal)),
        ),
        ("the form of an import", fixed("/console/change/import")),
        ("the form for failed events", fixed("/console/change/requeue?all=1")),
        ("the page after a change", fixed("/console/changed?form=none")),
    ]
}

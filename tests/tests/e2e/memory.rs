//! The memory that answers take: lists in pieces, pages that end by bytes, callers that read slowly.

use std::collections::BTreeSet;
use std::time::Duration;

use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::Process;
use epr_testkit::wait;
use reqwest::{Client, Response};
use rstest::rstest;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const ENTITIES: &str = "/api/v1/entities";
/// The memory that the documented task leaves to the API, in KiB.
const MOST: u64 = 512 << 10;

/// Writes `count` entities with attributes of `bytes` bytes, behind the service's back.
async fn fill(database: &Database, kind: DatabaseKind, count: u32, bytes: u32) {
    let statement = match kind {
        DatabaseKind::Postgres => format!(
            "INSERT INTO entities (id, name, type, status, attributes, created_at, \
             updated_at) SELECT gen_random_uuid(), \
             'n' || n, 'spv', 'active', json_build_object('x', repeat('a', {bytes})), now(), now() \
             FROM generate_series(1, {count}) n"
        ),
        DatabaseKind::Sqlite => format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) INSERT INTO entities \
             (id, name, type, status, attributes, created_at, updated_at) SELECT printf('%08x-0000-4000-8000-%012x', \
             i, i), \
             'n' || i, 'spv', 'active', '{{\"x\":\"' || replace(hex(zeroblob({bytes} / 2)), '0', 'a') || '\"}}', \
             '2026-01-01T00:00:00.000000Z', '2026-01-01T00:00:00.000000Z' FROM n"
        ),
    };
    database.execute(&statement).await.unwrap();
}

fn next(answer: &Response, base: &str) -> Option<String> {
    let link = answer.headers().get("link")?.to_str().unwrap().to_owned();
    let path = link.split(['<', '>']).nth(1).unwrap().to_owned();
    Some(reqwest::Url::parse(&format!("{base}{ENTITIES}")).unwrap().join(&path).unwrap().to_string())
}

/// Walks a list from `path` on; gives the bytes of each answer, and the ids.
async fn walk(base: &str, path: &str) -> (Vec<usize>, BTreeSet<String>) {
    let (mut sizes, mut ids) = (Vec::new(), BTreeSet::new());
    let mut url = Some(format!("{base}{path}"));
    while let Some(at) = url {
        let answer = reqwest::get(at).await.unwrap();
        assert_eq!(answer.status(), 200);
        url = next(&answer, base);
        let text = answer.text().await.unwrap();
        sizes.push(text.len());
        assert!(text.starts_with('[') && text.ends_with(']'));
        // Not by a JSON parser: without optimisation it takes most of a minute for the large lists.
        for (at, mark) in text.match_indices("\"id\":\"") {
            let id = text[at + mark.len()..].split('"').next().unwrap().to_owned();
            assert!(ids.insert(id.clone()), "{id} twice");
        }
    }
    (sizes, ids)
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn a_list_without_limit_and_cursor_gives_everything(#[case] kind: DatabaseKind) {
    let database = Database::create(kind).await;
    let (_process, base) = Process::api(&[("EPR_DATABASE_URL", &database.url)]).await;
    fill(&database, kind, 2500, 200).await;
    let (sizes, ids) = walk(&base, ENTITIES).await;
    assert_eq!((sizes.len(), ids.len()), (1, 2500), "streamed, and all of it");
    let (sizes, ids) = walk(&base, &format!("{ENTITIES}?limit=1000")).await;
    assert_eq!((sizes.len(), ids.len()), (3, 2500), "with a limit as before");
    for path in ["/api/v1/roles", "/api/v1/assignments"] {
        assert_eq!(walk(&base, path).await.1.len(), 0);
    }
}

#[tokio::test]
async fn answers_end_by_bytes_and_say_so() {
    let kind = DatabaseKind::Postgres;
    let database = Database::create(kind).await;
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &database.url)]).await;
    fill(&database, kind, 70, 1_000_000).await;
    let page = reqwest::get(format!("{base}{ENTITIES}?limit=1000")).await.unwrap();
    assert!(next(&page, &base).is_some());
    let size = page.bytes().await.unwrap().len();
    assert!((2 << 20..4 << 20).contains(&size), "{size}");
    // The whole list ends at its bound; a cursor continues from there.
    let (sizes, ids) = walk(&base, ENTITIES).await;
    assert_eq!(ids.len(), 70);
    assert!(sizes[0] > 60 << 20 && sizes[0] <= 64 << 20, "{sizes:?}");
    assert!(process.peak_memory_kib() < MOST, "{} KiB", process.peak_memory_kib());
}

#[tokio::test]
async fn a_list_that_cannot_be_finished_is_not_closed() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let (mut process, base) = Process::api(&[("EPR_DATABASE_URL", &database.url)]).await;
    fill(&database, DatabaseKind::Postgres, 20, 100_000).await;
    // The oldest is the last one.
    let spoil = "UPDATE entities SET attributes = '[]', created_at = '2020-01-01' WHERE name = 'n7'";
    database.execute(spoil).await.unwrap();
    let answer = reqwest::get(format!("{base}{ENTITIES}")).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.is_err(), "the connection is cut");
    process.wait_for_log("list_interrupted").await;
}

#[tokio::test]
async fn callers_that_read_slowly_hold_little() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &database.url), ("EPR_MAX_CONCURRENCY", "2")]).await;
    fill(&database, DatabaseKind::Postgres, 50, 1_000_000).await;
    let address = base.trim_start_matches("http://").to_owned();
    let mut readers = Vec::new();
    for n in 0..40 {
        let path = if n % 2 == 0 { ENTITIES.to_owned() } else { format!("{ENTITIES}?limit=1000") };
        let mut reader = TcpStream::connect(&address).await.unwrap();
        reader.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut first = [0; 12];
        reader.read_exact(&mut first).await.unwrap();
        assert!(first.ends_with(b"200") || first.ends_with(b"503"), "{}", String::from_utf8_lossy(&first));
        readers.push(reader);
    }
    // Others go on.
    let entity = "00000000-0000-4000-8000-000000000001";
    let question = json!({"user_id": entity, "action": "document:download", "resource_id": entity});
    let check = Client::new().post(format!("{base}/api/v1/authorize")).json(&question).send().await.unwrap();
    assert_eq!(check.status(), 404);
    assert!(process.peak_memory_kib() < MOST, "{} KiB", process.peak_memory_kib());
}

/// Connects and sends a request with this body but for its last byte.
async fn half_sent(address: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("POST {ENTITIES} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    // Refused ones are read to their end, too.
    stream.write_all(&body[..body.len() - 1]).await.unwrap();
    stream
}

async fn status(stream: &mut TcpStream) -> String {
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.unwrap();
    String::from_utf8_lossy(&first[9..]).into_owned()
}

#[tokio::test]
async fn bodies_that_are_half_sent_hold_little() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    // On a slow machine it takes long to send so much.
    let settings = [("EPR_DATABASE_URL", database.url.as_str()), ("EPR_BODY_TIMEOUT", "300")];
    let (process, base) = Process::api(&settings).await;
    let address = base.trim_start_matches("http://").to_owned();
    let body = format!("{{\"name\": \"n\", \"type\": \"spv\"}}{}", " ".repeat((1 << 20) - 32));
    let callers = futures_util::future::join_all((0..300).map(|_| half_sent(&address, body.as_bytes())));
    let mut callers = callers.await;
    // Others go on.
    let small = json!({"name": "small", "type": "spv"});
    let made = Client::new().post(format!("{base}{ENTITIES}")).json(&small).send().await.unwrap();
    assert_eq!(made.status(), 201);
    assert!(process.peak_memory_kib() < 200 << 10, "{} KiB", process.peak_memory_kib());
    let mut answers = std::collections::BTreeMap::<String, usize>::new();
    for caller in &mut callers {
        let _ = caller.write_all(b" ").await;
        *answers.entry(status(caller).await).or_default() += 1;
    }
    // The name is taken by the first of those that got in.
    assert_eq!(answers.keys().collect::<Vec<_>>(), ["201", "409", "503"], "{answers:?}");
    assert_eq!(answers["201"], 1);
    assert!(process.peak_memory_kib() < 200 << 10, "{} KiB", process.peak_memory_kib());
    // The service returns their memory to the system.
    drop(callers);
    let little = async || process.memory_kib() < 100 << 10;
    wait::until_value("memory that is given back", Duration::from_millis(50), little, |little| *little).await;
}

#[tokio::test]
async fn documents_of_many_values_are_admitted_by_bytes() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &database.url)]).await;
    let client = Client::new();
    let values = vec!["{\"\":0}"; 49_000].join(",");
    let calls = (0..64).map(async |n| {
        let body = format!("{{\"name\": \"n{n}\", \"type\": \"spv\", \"attributes\": {{\"x\": [{values}]}}}}");
        client.post(format!("{base}{ENTITIES}")).body(body).send().await.unwrap().status().as_u16()
    });
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().all(|status| matches!(status, 201 | 503)), "{answers:?}");
    assert!(answers.contains(&201));
    // Without the budget it is 250 MiB.
    assert!(process.peak_memory_kib() < 190 << 10, "{} KiB", process.peak_memory_kib());
}

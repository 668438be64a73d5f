//! The change feed as server-sent events from real processes: over kills, to slow readers, and at the stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use epr_client::{Client, RetryPolicy};
use epr_core::domain::{EntityType, Json, NewEntity};
use epr_core::{Call, Epr};
use epr_testkit::api::Api;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::{Process, free_port};
use epr_testkit::seed;
use futures_util::StreamExt as _;
use rand::Rng as _;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;

use crate::changes::{REGISTRY_ENTRIES, entry};
use crate::history_world::World;

/// An event of a stream.
#[derive(Debug, Default)]
struct Event {
    id: Option<String>,
    kind: Option<String>,
    data: Option<Value>,
}

/// Reads server-sent events from bytes in pieces of any size.
#[derive(Default)]
struct Events {
    rest: Vec<u8>,
}

impl Events {
    /// The events that are complete with these bytes; comments are none.
    fn read(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.rest.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.rest.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.rest.drain(..end + 2).collect();
            let block = std::str::from_utf8(&block).expect("UTF-8").trim_end();
            let mut event = Event::default();
            for line in block.lines() {
                match line.split_once(": ") {
                    Some(("id", id)) => event.id = Some(id.to_owned()),
                    Some(("event", kind)) => event.kind = Some(kind.to_owned()),
                    Some(("data", data)) => event.data = Some(serde_json::from_str(data).expect("JSON")),
                    _ => assert!(line.starts_with(':') || line.starts_with("retry"), "{line}"),
                }
            }
            if event.data.is_some() {
                events.push(event);
            }
        }
        events
    }
}

/// Reads a stream as a browser does, which connects again after the last event, and sends every change.
async fn follow(url: String, changes: mpsc::UnboundedSender<Value>) {
    let http = reqwest::Client::new();
    let mut last: Option<String> = None;
    loop {
        let mut request = http.get(&url).header("Accept", "text/event-stream");
        if let Some(id) = &last {
            request = request.header("Last-Event-ID", id);
        }
        let Ok(mut answer) = request.send().await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        if answer.status() != 200 {
            assert_eq!(answer.status(), 503);
            continue;
        }
        let mut events = Events::default();
        while let Ok(Some(bytes)) = answer.chunk().await {
            for event in events.read(&bytes) {
                if event.kind.is_some() {
                    continue;
                }
                last = Some(event.id.expect("an id"));
                let change = event.data.expect("data");
                assert_eq!(change["revision"], last.as_deref().unwrap());
                if changes.send(change).is_err() {
                    return;
                }
            }
        }
    }
}

async fn start(port: &str, url: &str) -> Process {
    let environment = [("HOST", "127.0.0.1"), ("PORT", port), ("EPR_DATABASE_URL", url)];
    let mut process = Process::start("epr-api", &environment);
    process.wait_for_log("listening").await;
    process
}

/// Changes by a process that is not killed, and by one that is.
async fn load(epr: &Epr, base: &str, seed: u64, stop: &AtomicBool) {
    let mut rng = seed::rng(&format!("load {seed}"));
    let mut world = World { prefix: Some(seed), ..World::default() };
    let http = reqwest::Client::new();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        world.change(epr, &mut rng, epr.now()).await;
        n += 1;
        let body = json!({"name": format!("{seed} over http {n}"), "type": "spv"});
        // A process that is killed may not answer.
        let _ = http.post(format!("{base}/api/v1/entities")).json(&body).send().await;
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_change_is_lost_or_repeated_over_kills_of_the_server(#[case] kind: DatabaseKind) {
    const KILLS: usize = 8;
    let mut rng = seed::rng("no_change_is_lost_or_repeated_over_kills_of_the_server");
    let database = Arc::new(Database::create(kind).await);
    let api = Api::on(database.clone()).await;
    let port = free_port();
    let base = format!("http://127.0.0.1:{port}");
    let mut process = start(&port, &database.url).await;
    let (events, mut by_stream) = mpsc::unbounded_channel();
    let streaming = tokio::spawn(follow(format!("{base}/api/v1/changes"), events));
    let client = Client::builder(&base).retries(RetryPolicy::never()).build().unwrap();
    let mut by_polls = client.changes(None).stream();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3)
        .map(|seed| {
            let (epr, base, stop) = (api.epr.clone(), base.clone(), Arc::clone(&stop));
            tokio::spawn(async move { load(&epr, &base, seed, &stop).await })
        })
        .collect();
    let (mut streamed, mut polled) = (Vec::new(), Vec::new());
    for _ in 0..KILLS {
        // In the middle of what both readers get.
        for _ in 0..rng.random_range(5..40) {
            streamed.push(entry(&by_stream.recv().await.expect("a stream")));
            let change = by_polls.next().await.unwrap().unwrap();
            polled.push(format!("{} {} {}", change.entry.sequence, change.entry.action, change.entry.entry_hash));
        }
        process.signal("KILL").await;
        process.wait_for_exit().await;
        process = start(&port, &database.url).await;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let expected = database.texts(REGISTRY_ENTRIES).await;
    while streamed.last() != expected.last() {
        streamed.push(entry(&by_stream.recv().await.expect("a stream")));
        assert!(streamed.len() <= expected.len(), "{streamed:#?}");
    }
    while polled.last() != expected.last() {
        let change = by_polls.next().await.unwrap().unwrap();
        polled.push(format!("{} {} {}", change.entry.sequence, change.entry.action, change.entry.entry_hash));
        assert!(polled.len() <= expected.len(), "{polled:#?}");
    }
    assert_eq!(streamed, expected);
    assert_eq!(polled, expected);
    println!("{} changes over {KILLS} kills", expected.len());
    streaming.abort();
}

/// Entities with 32 KiB of attributes each.
async fn large_entities(epr: &Epr, count: usize) {
    for n in 0..count {
        let mut new = NewEntity::new(format!("large {n}").parse().unwrap(), EntityType::Spv);
        new.attributes.insert("text".into(), Json::from("x".repeat(32 << 10)));
        epr.create_entity(&Call::default(), new).await.unwrap();
    }
}

/// A stream whose reader has a small buffer and has read nothing yet.
async fn unread_stream(base: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut stream = socket.connect(base.strip_prefix("http://").unwrap().parse().unwrap()).await.unwrap();
    // HTTP/1.0: the body has no chunks, and ends with the connection.
    let head = b"GET /api/v1/changes HTTP/1.0\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n";
    stream.write_all(head).await.unwrap();
    stream
}

/// Everything up to the end of the connection.
async fn rest_of(mut stream: TcpStream) -> Vec<Event> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200") && head.to_lowercase().contains("text/event-stream"), "{head}");
    Events::default().read(body.as_bytes())
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_is_cut_with_a_sentence_and_goes_on_where_it_was_cut(#[case] kind: DatabaseKind) {
    const READERS: usize = 40;
    let database = Arc::new(Database::create(kind).await);
    let api = Api::on(database.clone()).await;
    // More than the buffers of a socket.
    large_entities(&api.epr, 400).await;
    let (mut process, base) = Process::api(&[("EPR_DATABASE_URL", &database.url)]).await;
    let before = process.memory_kib();
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push(unread_stream(&base).await);
    }
    for _ in 0..READERS {
        process.wait_for_log("change_reader_cut").await;
    }
    // 13 MB for each reader, if they were kept.
    let grown = process.peak_memory_kib() - before;
    assert!(grown < 100 << 10, "{READERS} slow readers took {grown} KiB");
    let mut events = rest_of(readers.pop().unwrap()).await;
    let end = events.pop().unwrap();
    assert_eq!(end.kind.as_deref(), Some("end"));
    let sentence = end.data.unwrap()["detail"].as_str().unwrap().to_owned();
    assert!(sentence.contains("10 seconds") && sentence.contains("Last-Event-ID"), "{sentence}");
    assert!(!events.is_empty() && events.len() < 400, "{}", events.len());
    let last = events.last().unwrap().id.clone().unwrap();
    let request = reqwest::Client::new().get(format!("{base}/api/v1/changes"));
    let mut rest = request.header("Accept", "text/event-stream").header("Last-Event-ID", last).send().await.unwrap();
    let mut reading = Events::default();
    while events.len() < 400 {
        events.extend(reading.read(&rest.chunk().await.unwrap().expect("more events")));
    }
    let found: Vec<_> = events.iter().map(|event| entry(event.data.as_ref().unwrap())).collect();
    assert_eq!(found, database.texts(REGISTRY_ENTRIES).await);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_and_polls_end_when_the_service_stops(#[case] kind: DatabaseKind) {
    let database = Arc::new(Database::create(kind).await);
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &database.url)]).await;
    let http = reqwest::Client::new();
    http.post(format!("{base}/api/v1/roles")).json(&json!({"name": "Reader"})).send().await.unwrap();
    let url = format!("{base}/api/v1/changes");
    let mut stream = http.get(&url).header("Accept", "text/event-stream").send().await.unwrap();
    let after = stream.headers()["epr-revision"].to_str().unwrap().to_owned();
    assert!(after.ends_with("0000000000000000000"), "{after}");
    let mut events = Events::default();
    let mut seen = Vec::new();
    while seen.is_empty() {
        seen = events.read(&stream.chunk().await.unwrap().unwrap());
    }
    let newest = seen[0].id.clone().unwrap();
    let poll = http.get(format!("{url}?wait=30&after={newest}")).send();
    let (polled, ended, stopped) = tokio::join!(
        poll,
        async {
            let mut ended = Vec::new();
            while let Some(bytes) = stream.chunk().await.unwrap() {
                ended.extend(events.read(&bytes));
            }
            ended
        },
        async {
            // The poll is running.
            wait_for_waiting_poll(&http, &base).await;
            process.terminate().await
        }
    );
    assert_eq!(polled.unwrap().json::<Value>().await.unwrap(), json!([]));
    let sentence = ended[0].data.as_ref().unwrap()["detail"].as_str().unwrap();
    assert!(ended[0].kind.as_deref() == Some("end") && sentence.starts_with("The service is stopping"), "{sentence}");
    assert!(stopped.0.success());
}

/// What was read belongs to the former incarnation: the reader is not told to go on after it.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_with_a_sentence_when_a_new_incarnation_begins(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    api.create_numbered_entity(1).await;
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &api.database.url)]).await;
    let request = reqwest::Client::new().get(format!("{base}/api/v1/changes"));
    let mut stream = request.header("Accept", "text/event-stream").send().await.unwrap();
    let (mut events, mut seen) = (Events::default(), Vec::new());
    while seen.is_empty() {
        seen = events.read(&stream.chunk().await.unwrap().unwrap());
    }
    api.epr.reincarnate(&Call::default(), &"a drill".parse().unwrap()).await.unwrap();
    let mut last = None;
    while let Some(bytes) = stream.chunk().await.unwrap() {
        last = events.read(&bytes).pop().or(last);
    }
    let last = last.expect("an end");
    let sentence = last.data.unwrap()["detail"].as_str().unwrap().to_owned();
    assert!(last.kind.as_deref() == Some("end") && sentence.contains("incarnation"), "{sentence}");
    assert!(!sentence.contains("Last-Event-ID"), "{sentence}");
    process.terminate().await;
}

/// A client whose calls cannot wait asks now and then, and not again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_a_short_timeout_pauses_between_its_calls() {
    let database = Arc::new(Database::create(DatabaseKind::Sqlite).await);
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &database.url)]).await;
    let client = Client::builder(&base).timeout(Duration::from_millis(1500)).build().unwrap();
    let mut changes = client.changes(None).stream();
    let nothing = tokio::time::timeout(Duration::from_secs(2), changes.next()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    let metrics = reqwest::get(format!("{base}/metrics")).await.unwrap().text().await.unwrap();
    let calls = metrics.lines().find(|line| {
        line.starts_with("epr_http_requests_total{route=\"/api/v1/changes\",method=\"GET\",status=\"200\"}")
    });
    let calls: u32 = calls.and_then(|line| line.rsplit(' ').next()?.parse().ok()).expect("some calls");
    assert!((1..=6).contains(&calls), "{calls} calls in two seconds");
    process.terminate().await;
}

/// A stream on which nothing happens is not the first connection to be closed when there are too many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_stream_is_not_closed_to_make_room() {
    let database = Arc::new(Database::create(DatabaseKind::Sqlite).await);
    let environment = [("EPR_DATABASE_URL", database.url.as_str()), ("EPR_MAX_CONNECTIONS", "16")];
    let (process, base) = Process::api(&environment).await;
    let request = reqwest::Client::new().get(format!("{base}/api/v1/changes"));
    let mut stream = request.header("Accept", "text/event-stream").send().await.unwrap();
    let address: std::net::SocketAddr = base.strip_prefix("http://").unwrap().parse().unwrap();
    // Each is silent for less time than the stream is.
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(TcpStream::connect(address).await.unwrap());
        let alive = reqwest::Client::new().get(format!("{base}/healthz")).send().await.unwrap();
        assert_eq!(alive.status(), 200);
    }
    let http = reqwest::Client::new();
    http.post(format!("{base}/api/v1/roles")).json(&json!({"name": "Reader"})).send().await.unwrap();
    let (mut events, mut seen) = (Events::default(), Vec::new());
    while seen.is_empty() {
        seen = events.read(&stream.chunk().await.unwrap().expect("a stream that is still open"));
    }
    assert_eq!(seen[0].data.as_ref().unwrap()["action"], "role.create");
    process.terminate().await;
}

/// Waits until two calls of changes have begun: the stream, and the poll.
async fn wait_for_waiting_poll(http: &reqwest::Client, base: &str) {
    epr_testkit::wait::until("two calls", async || {
        let metrics = http.get(format!("{base}/metrics")).send().await.unwrap().text().await.unwrap();
        let line = metrics.lines().find(|line| line.starts_with("epr_http_requests_in_flight"));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u32>().ok()).is_some_and(|running| running >= 2)
    })
    .await;
}

//! Requests that are refused before their body was read: the caller gets the answer, not a reset, however it sends the
//! body.

use std::process::Stdio;
use std::time::Duration;

use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::nginx::Nginx;
use epr_testkit::process::Process;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

/// More than the buffers of both sockets hold.
const LARGE: usize = 12 << 20;

async fn socket(base: &str) -> TcpStream {
    TcpStream::connect(base.trim_start_matches("http://")).await.unwrap()
}

fn too_large() -> Value {
    json!({"detail": "The body is larger than 1048576 bytes"})
}

async fn api(environment: &[(&str, &str)]) -> (Database, Process, String) {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let mut all = vec![("EPR_DATABASE_URL", database.url.as_str())];
    all.extend_from_slice(environment);
    let (process, base) = Process::api(&all).await;
    (database, process, base)
}

/// Writes everything, and only then reads to the end of the connection; gives the status and the body.
async fn written_then_read(base: &str, head: &str, body: &[u8]) -> (u16, Value) {
    let mut stream = socket(base).await;
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap_or_else(|error| panic!("{head}: {error}"));
    answer(&mut stream, head).await
}

async fn answer(stream: &mut TcpStream, head: &str) -> (u16, Value) {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap_or_else(|error| panic!("{head}: {error} after {text}"));
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).unwrap_or_else(|| panic!("{text}"));
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status.parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn a_caller_that_writes_all_before_it_reads_gets_the_answer() {
    let token = json!([{"name": "reader", "sha256": "0".repeat(64), "scopes": ["epr:read"]}]).to_string();
    let (_database, process, base) = api(&[("EPR_AUTH_MODE", "token"), ("EPR_API_TOKENS", &token)]).await;
    let (_open, _process, open) = api(&[]).await;
    let body = vec![b'a'; LARGE];
    let chunked: Vec<u8> = body.chunks(100_000).flat_map(|part| [b"186a0\r\n", part, b"\r\n"].concat()).collect();
    let head =
        |method: &str, path: &str| format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n");
    let declared = format!("content-length: {LARGE}\r\n\r\n");
    for (base, method, path, status) in [
        (&open, "POST", "/api/v1/entities", 413),
        (&open, "PATCH", "/api/v1/entities/aaaaaaaa-0000-4000-8000-000000000001", 413),
        (&open, "POST", "/api/v1/authorize", 413),
        (&open, "POST", "/api/v1/events", 413),
        (&open, "POST", "/nowhere", 404),
        (&open, "PUT", "/api/v1/entities", 405),
        (&open, "GET", "/healthz", 200),
        (&base, "POST", "/api/v1/entities", 401),
    ] {
        let sent = written_then_read(base, &(head(method, path) + &declared), &body).await;
        assert_eq!(sent.0, status, "{method} {path}: {}", sent.1);
        let sent =
            written_then_read(base, &(head(method, path) + "transfer-encoding: chunked\r\n\r\n"), &chunked).await;
        assert_eq!(sent.0, status, "{method} {path}, chunked: {}", sent.1);
        if status == 413 {
            assert_eq!(sent.1, too_large());
        }
    }
    // A head that is too large is refused.
    let long = format!("{}x: {}\r\n\r\n", head("GET", "/healthz"), "a".repeat(LARGE));
    assert_eq!(written_then_read(&open, &long, b"").await.0, 431);
    assert!(process.peak_memory_kib() < 200 << 10, "{} KiB", process.peak_memory_kib());
}

/// Reads one response; returns its status and whether it announces the end of the connection.
async fn next_answer(stream: &mut TcpStream) -> (u16, bool) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap_or_else(|error| panic!("{error} after {head:?}")));
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.split_once("content-length: ").and_then(|(_, rest)| rest.split_once("\r\n")).unwrap().0;
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    (head[9..12].parse().unwrap(), head.contains("\r\nconnection: close\r\n"))
}

/// A caller that keeps its connection must learn from the answer that it ends: else its next request is lost.
#[tokio::test]
async fn a_connection_ends_only_after_an_answer_that_says_so() {
    const SMALL: &str = r#"{"small": true}"#;
    let token = json!([{"name": "reader", "sha256": "0".repeat(64), "scopes": ["epr:read"]}]).to_string();
    let (_database, _process, guarded) = api(&[("EPR_AUTH_MODE", "token"), ("EPR_API_TOKENS", &token)]).await;
    let (_open, _process, open) = api(&[]).await;
    for (base, method, path, kind, status) in [
        (&guarded, "POST", "/access/v1/evaluation", "application/json", 401),
        (&guarded, "POST", "/nowhere", "application/json", 401),
        (&open, "POST", "/access/v1/evaluations", "text/plain", 400),
        (&open, "POST", "/access/v1/search/subject", "application/json", 400),
        (&open, "POST", "/nowhere", "application/json", 404),
        (&open, "PUT", "/access/v1/evaluation", "application/json", 405),
        (&open, "DELETE", "/api/v1/assignments/aaaaaaaa-0000-4000-8000-000000000001", "application/json", 404),
        (&open, "GET", "/healthz", "application/json", 200),
    ] {
        for (declared, body) in [
            (format!("content-length: {}", SMALL.len()), SMALL.to_owned()),
            ("transfer-encoding: chunked".to_owned(), format!("{:x}\r\n{SMALL}\r\n0\r\n\r\n", SMALL.len())),
        ] {
            let name = format!("{method} {path}, {declared}");
            let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\n{declared}\r\n\r\n");
            let mut stream = socket(base).await;
            stream.set_nodelay(true).unwrap();
            // With the body in a segment of its own, as most clients send it.
            for _ in 0..3 {
                stream.write_all(head.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
                stream.write_all(body.as_bytes()).await.unwrap();
                assert_eq!(next_answer(&mut stream).await, (status, false), "{name}");
            }
            if status == 400 {
                // These routes read the body first.
                continue;
            }
            // A body that does not come, or is large, ends the connection, and the answer says it.
            let large = declared.replace(&format!(": {}", SMALL.len()), ": 100000");
            let head = head.replace(&declared, &large);
            stream.write_all(head.as_bytes()).await.unwrap();
            assert_eq!(next_answer(&mut stream).await, (status, true), "{name}, a body that does not come");
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0, "{name}: closed, not reset");
        }
    }
}

#[tokio::test]
async fn a_caller_that_asks_first_need_not_send_the_body() {
    let (_database, _process, base) = api(&[]).await;
    for length in ["1048577", "99999999999", "9223372036854775807"] {
        let mut stream = socket(&base).await;
        let head = format!(
            "POST /api/v1/entities HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(answer(&mut stream, &head).await, (413, too_large()));
    }
}

#[tokio::test]
async fn a_body_at_the_limit_is_accepted() {
    let (_database, _process, base) = api(&[]).await;
    let start = r#"{"name": "n", "type": "spv"}"#;
    let body = format!("{start}{}", " ".repeat((1 << 20) - start.len()));
    let head = "POST /api/v1/entities HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    let declared = format!("{head}content-length: {}\r\n\r\n", body.len());
    assert_eq!(written_then_read(&base, &declared, body.as_bytes()).await.0, 201);
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n100000\r\n{body}\r\n0\r\n\r\n");
    assert_eq!(written_then_read(&base, &chunked, b"").await.0, 409);
    let over = format!("{head}transfer-encoding: chunked\r\n\r\n100000\r\n{body}\r\n1\r\n \r\n0\r\n\r\n");
    assert_eq!(written_then_read(&base, &over, b"").await, (413, too_large()));
}

#[tokio::test]
async fn a_caller_that_never_stops_sending_is_cut_off() {
    let (_database, _process, base) = api(&[("EPR_BODY_TIMEOUT", "1")]).await;
    let (mut reader, mut writer) = socket(&base).await.into_split();
    let head = "POST /api/v1/entities HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n";
    writer.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    // Ends, with an error, once the service has closed the socket.
    while writer.write_all(b"a").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs a script of another language's client with the URL as its argument.
async fn script(program: &str, option: &str, text: &str, url: &str) -> String {
    let output = Command::new(program)
        .args([option, text, url])
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap_or_else(|error| panic!("{program}: {error}; install it, as scripts/test.sh does"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{program}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

const PYTHON: &str = r#"
import http.client, sys, urllib.error, urllib.parse, urllib.request
url = sys.argv[1] + "/api/v1/entities"
at = urllib.parse.urlsplit(url)
body = b"a" * (12 << 20)
for sent, headers in ((body, {}), (iter([body[:5000000], body]), {"Transfer-Encoding": "chunked"})):
    connection = http.client.HTTPConnection(at.hostname, at.port, timeout=60)
    all = {"Content-Type": "application/json", **headers}
    connection.request("POST", at.path, sent, all, encode_chunked=bool(headers))
    answer = connection.getresponse()
    print(answer.status, answer.read().decode())
try:
    urllib.request.urlopen(url, body)
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
"#;

const NODE: &str = r#"
const url = process.argv[1] + "/api/v1/entities";
const http = require("http");
const body = Buffer.alloc(12 << 20, "a");
const send = (headers) => new Promise((done, failed) => {
  const request = http.request(url, { method: "POST", headers }, (answer) => {
    let text = "";
    answer.on("data", (part) => (text += part)).on("end", () => done(console.log(answer.statusCode, text)));
  });
  request.on("error", failed);
  request.end(body);
});
(async () => {
  await send({ "content-length": body.length });
  await send({ "transfer-encoding": "chunked" });
  const answer = await fetch(url, { method: "POST", body });
  console.log(answer.status, await answer.text());
})().catch((error) => { console.error(error); process.exit(1); });
"#;

#[tokio::test]
async fn python_and_node_get_the_answer() {
    let (_database, _process, base) = api(&[]).await;
    let expected = ["413 {\"detail\":\"The body is larger than 1048576 bytes\"}"; 3].join("\n");
    for _ in 0..3 {
        assert_eq!(script("python3", "-c", PYTHON, &base).await, expected);
        assert_eq!(script("node", "-e", NODE, &base).await, expected);
    }
}

#[tokio::test]
async fn a_proxy_that_does_not_buffer_bodies_passes_the_answer_on() {
    let (_database, _process, base) = api(&[]).await;
    let nginx = Nginx::start(&base, "proxy_request_buffering off;").await;
    // A caller that writes and reads at once, each time on a connection of its own.
    let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
    for n in 0..20 {
        let bytes = if n % 2 == 0 { 2 << 20 } else { LARGE };
        let url = format!("{}/api/v1/entities", nginx.url);
        let answer = client.post(url).body(vec![b'a'; bytes]).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.json::<Value>().await.unwrap()), (413, too_large()), "{n}");
    }
    assert_eq!(
        script("python3", "-c", PYTHON, &nginx.url).await.lines().filter(|line| line.starts_with("413")).count(),
        3
    );
    // The connections that nginx keeps are still good.
    assert_eq!(reqwest::get(format!("{}/healthz", nginx.url)).await.unwrap().status(), 200);
}

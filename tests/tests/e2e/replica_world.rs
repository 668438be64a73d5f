//! A primary, a standby of it, and services that read lists from the standby.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use epr_testkit::postgres_server::PostgresServer;
use epr_testkit::process::Process;
use epr_testkit::wait;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// Between two readings of a value that a test waits for.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Two servers, the second of which follows the first.
pub(crate) struct Replicated {
    pub(crate) primary: PostgresServer,
    pub(crate) standby: PostgresServer,
}

/// A standby that follows `primary` with these settings.
pub(crate) fn standby_of(primary: &PostgresServer, settings: &str) -> PostgresServer {
    let standby = PostgresServer::standby_of(primary);
    standby.start(settings);
    standby
}

impl Replicated {
    /// Starts both servers, the standby with `settings`.
    pub(crate) async fn start(settings: &'static str) -> Self {
        let servers = move || {
            let primary = PostgresServer::create(&[], "");
            let standby = standby_of(&primary, settings);
            Self { primary, standby }
        };
        tokio::task::spawn_blocking(servers).await.unwrap()
    }

    /// A service that reads lists from the standby, of any age: what is behind is decided by what calls need.
    pub(crate) async fn service(&self, environment: &[(&str, &str)]) -> Service {
        let mut all = vec![("EPR_DATABASE_READ_MAX_LAG", "3600")];
        all.extend_from_slice(environment);
        Service::start(&self.primary.url(), Some(&self.standby.url()), &all).await
    }

    /// Waits until the standby has replayed everything.
    pub(crate) async fn caught_up(&self) {
        let written = text(&self.primary, "SELECT CAST(pg_current_wal_lsn() AS text)").await;
        let replayed = format!("SELECT CAST(pg_last_wal_replay_lsn() >= '{written}' AS text)");
        let read = || text(&self.standby, &replayed);
        wait::until_value("a standby that has everything", POLL_INTERVAL, read, |seen| seen == "true").await;
    }

    /// Stops replay on the standby.
    pub(crate) async fn pause(&self) {
        self.caught_up().await;
        execute(&self.standby, "SELECT pg_wal_replay_pause()").await;
        let state = || text(&self.standby, "SELECT CAST(pg_get_wal_replay_pause_state() AS text)");
        wait::until_value("a pause", POLL_INTERVAL, state, |seen| seen == "paused").await;
    }

    /// Goes on with replay.
    pub(crate) async fn resume(&self) {
        execute(&self.standby, "SELECT pg_wal_replay_resume()").await;
        self.caught_up().await;
    }
}

/// The one value of a query.
pub(crate) async fn text(server: &PostgresServer, sql: &str) -> String {
    let mut conn = PgConnection::connect(&server.url()).await.unwrap();
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut conn).await.unwrap()
}

pub(crate) async fn execute(server: &PostgresServer, sql: &str) {
    let mut conn = PgConnection::connect(&server.url()).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut conn).await.unwrap();
}

/// A running API.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) base: Arc<str>,
    http: Client,
    _process: Arc<Process>,
}

/// An answer with what matters of its headers.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) revision: Option<String>,
    /// The path of the next page of the list.
    pub(crate) next: Option<String>,
}

impl Answer {
    /// The member `name` of each row.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body.as_array().unwrap().iter().map(|row| row[name].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn id(&self) -> String {
        self.body["id"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }

    pub(crate) fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or_else(|| panic!("{self:?}"))
    }
}

impl Service {
    pub(crate) async fn start(url: &str, replica: Option<&str>, environment: &[(&str, &str)]) -> Self {
        let mut all = vec![("EPR_DATABASE_URL", url), ("EPR_LOG_LEVEL", "CRITICAL")];
        all.extend(replica.map(|replica| ("EPR_DATABASE_READ_URL", replica)));
        all.extend_from_slice(environment);
        let (process, base) = Process::api_at(&all).await;
        Self { base: base.into(), http: Client::new(), _process: Arc::new(process) }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    async fn answer(&self, path: &str, request: RequestBuilder) -> Answer {
        let answer = request.send().await.expect("an answer");
        let header = |name| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let next = header("link").map(|link| {
            let query = link.strip_prefix('<').and_then(|link| link.split_once('>')).expect("a link").0.to_owned();
            format!("{}{query}", path.split('?').next().unwrap())
        });
        let (status, revision) = (answer.status().as_u16(), header("epr-revision"));
        Answer { status, revision, next, body: answer.json().await.expect("JSON") }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.answer(path, self.request(Method::GET, path)).await
    }

    /// A GET that needs a revision.
    pub(crate) async fn get_at_least(&self, path: &str, revision: &str) -> Answer {
        self.answer(path, self.request(Method::GET, path).header("EPR-At-Least", revision)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.answer(path, self.request(Method::POST, path).json(&body)).await
    }

    pub(crate) async fn entity(&self, name: &str) -> Answer {
        let created = self.post("/api/v1/entities", json!({"name": name, "type": "spv"})).await;
        assert_eq!(created.status, 201, "{created:?}");
        created
    }

    /// The numbers of reads by server and reason, as `replica ok` or `primary behind`.
    pub(crate) async fn reads(&self) -> BTreeMap<String, u64> {
        let text = self.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
        let line = |line: &str| {
            let (labels, count) = line.strip_prefix("epr_database_reads_total{from=\"")?.split_once("\"} ")?;
            Some((labels.replace("\",reason=\"", " "), count.parse().unwrap()))
        };
        text.lines().filter_map(line).filter(|(_, count)| *count > 0).collect()
    }

    /// What `call` adds to [`Service::reads`].
    pub(crate) async fn counted<T>(&self, call: impl Future<Output = T>) -> (T, BTreeMap<String, u64>) {
        let before = self.reads().await;
        let value = call.await;
        let mut after = self.reads().await;
        for (reason, count) in before {
            *after.get_mut(&reason).unwrap() -= count;
        }
        after.retain(|_, count| *count > 0);
        (value, after)
    }

    /// Waits until a list comes from the replica.
    pub(crate) async fn until_from_replica(&self) {
        let path = "/api/v1/roles?limit=1";
        let read = async || self.counted(self.get(path)).await.1;
        wait::until_value("a list from the replica", POLL_INTERVAL, read, |reads| *reads == once("replica ok")).await;
    }

    /// The state of the replica by `/readyz`, which must be ready.
    pub(crate) async fn replica_state(&self) -> String {
        let ready = self.get("/readyz").await;
        assert_eq!(ready.status, 200, "{}", ready.body);
        ready.body["dependencies"]["database_replica"]["status"].as_str().unwrap().to_owned()
    }
}

/// One read that was counted.
pub(crate) fn once(reason: &str) -> BTreeMap<String, u64> {
    BTreeMap::from([(reason.to_owned(), 1)])
}

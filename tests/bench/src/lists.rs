//! First pages of the lists, one call after the other.

use std::time::Instant;

use axum::body::Bytes;
use axum::http::Method;
use hdrhistogram::Histogram;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::http::Connection;
use crate::ledger;
use crate::report::{Aim, Report};
use crate::scale::Scale;
use crate::server::Server;
use crate::world::World;

/// Each list is read this often for each round.
const READS: usize = 40;

pub(crate) async fn measure(scale: &Scale, database: &str, world: &World, report: &mut Report) {
    let mut conn = PgConnection::connect(database).await.expect("the database");
    let rows = scale.rows;
    let events = format!(
        "INSERT INTO platform_events (id, event_id, event_type, source, payload, context, occurred_at, schema_version, \
           delivery_state, created_at, updated_at, ingested, next_attempt_at) \
         SELECT gen_random_uuid(), gen_random_uuid(), 'document.uploaded', 'vault', json_build_object('n', n), '{{}}', \
           '2026-01-01Z'::timestamptz + n * interval '1 second', 'v1', 'succeeded', now(), now(), true, now() \
         FROM generate_series(1, {rows}) n"
    );
    sqlx::raw_sql(AssertSqlSafe(events)).execute(&mut conn).await.expect("events");
    sqlx::raw_sql("ANALYZE").execute(&mut conn).await.expect("statistics");
    ledger::fill(database, rows).await;
    let server = Server::api(database, &[]).await;
    let mut connection = Connection::to(&server.address).await;
    let principal = format!("/api/v1/assignments?principal_id={}", world.some_principal());
    let paths = [
        "/api/v1/entities?limit=500",
        "/api/v1/entities?limit=50",
        "/api/v1/entities?type=offering&limit=50",
        "/api/v1/roles?limit=50",
        "/api/v1/assignments?limit=50",
        &principal,
        "/api/v1/events",
        "/api/v1/audit/entries?limit=50",
    ];
    for path in paths {
        let mut times = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).expect("a minute at most");
        for _ in 0..READS * scale.rounds {
            let begun = Instant::now();
            let (status, body) = connection.send(Method::GET, path, Bytes::new()).await;
            times.saturating_record(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
            assert!(status == 200 && body.len() > 2, "{path}: {status}");
        }
        #[allow(clippy::cast_precision_loss, reason = "microseconds")]
        let millis = times.value_at_quantile(0.5) as f64 / 1000.0;
        let name = path.split("?principal_id").next().unwrap_or(path).trim_start_matches("/api/v1/");
        let name = if path == principal { "assignments?principal_id=" } else { name };
        report.aim(format!("first page of {name}, p50"), millis, "ms", Aim::AtMost(10.0));
    }
}

//! The yardstick of appends to the ledger: the same rows in one statement, into a table with the ledger's columns and
//! indexes, and without its chain, triggers and head.

use sqlx::types::time::OffsetDateTime;
use sqlx::{Connection as _, PgConnection};
use uuid::{Uuid, uuid};

/// A table beside the ledger.
pub struct PlainRows {
    conn: PgConnection,
    last: i64,
}

impl PlainRows {
    /// Creates the table in the database at `url`.
    pub async fn create(url: &str) -> Self {
        let mut conn = PgConnection::connect(url).await.expect("a connection");
        let create = "CREATE TABLE plain_rows (LIKE audit_logs INCLUDING DEFAULTS INCLUDING INDEXES)";
        sqlx::query(create).execute(&mut conn).await.expect("a table");
        Self { conn, last: 0 }
    }

    /// Values for as many rows, those of the events that the bench appends.
    #[must_use]
    pub fn prepare(&mut self, count: usize) -> Rows {
        let first = self.last + 1;
        self.last += i64::try_from(count).expect("a count");
        let hashes = || (0..count).map(|_| hash()).collect();
        Rows {
            sequences: (first..=self.last).collect(),
            previous_hashes: hashes(),
            entry_hashes: hashes(),
            event_ids: (0..count).map(|_| Uuid::new_v4()).collect(),
        }
    }

    /// Inserts the rows in one statement, which sends every value of every row as an append does, and commits them.
    pub async fn insert(&mut self, rows: &Rows) {
        const INSERT: &str = "INSERT INTO plain_rows (sequence, previous_hash, entry_hash, hash_version, event_id, \
             source, action, actor_id, actor_type, entity_id, entity_type, correlation_id, details, occurred_at) \
             SELECT t.sequence, t.previous_hash, t.entry_hash, 1, t.event_id, t.source, t.action, t.actor_id, \
               t.actor_type, t.entity_id, t.entity_type, t.correlation_id, CAST(t.details AS json), t.occurred_at \
             FROM UNNEST($1::bigint[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::uuid[], \
               $8::text[], $9::uuid[], $10::text[], $11::text[], $12::text[], $13::timestamptz[]) \
             AS t(sequence, previous_hash, entry_hash, event_id, source, action, actor_id, actor_type, entity_id, \
               entity_type, correlation_id, details, occurred_at)";
        let count = rows.sequences.len();
        let occurred_at = OffsetDateTime::from_unix_timestamp(1_767_225_600).expect("a time");
        sqlx::query(INSERT)
            .bind(&rows.sequences)
            .bind(&rows.previous_hashes)
            .bind(&rows.entry_hashes)
            .bind(&rows.event_ids)
            .bind(vec!["document-vault-service"; count])
            .bind(vec!["document.uploaded"; count])
            .bind(vec![uuid!("aaaaaaaa-0000-4000-8000-000000000001"); count])
            .bind(vec!["user"; count])
            .bind(vec![uuid!("bbbbbbbb-0000-4000-8000-000000000002"); count])
            .bind(vec!["document"; count])
            .bind(vec!["req-12345"; count])
            .bind(vec![r#"{"name":"prospectus.pdf","size":123456,"tags":["a","b"]}"#; count])
            .bind(vec![occurred_at; count])
            .execute(&mut self.conn)
            .await
            .expect("rows");
    }
}

/// The values of rows that differ from one row to the next.
pub struct Rows {
    sequences: Vec<i64>,
    previous_hashes: Vec<String>,
    entry_hashes: Vec<String>,
    event_ids: Vec<Uuid>,
}

/// A text of the form of a SHA-256 hash.
fn hash() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

//! The yardstick of appends to the ledger: the same rows in one statement, into a table with the ledger's columns and
//! indexes, and without its chain, triggers and head.

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

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

    /// Inserts rows with the values of the events that the bench appends, and commits them.
    pub async fn insert(&mut self, count: usize) {
        const INSERT: &str = "INSERT INTO plain_rows (sequence, previous_hash, entry_hash, hash_version, event_id, \
             source, action, actor_id, actor_type, entity_id, entity_type, correlation_id, details, occurred_at) \
             SELECT t.sequence, t.previous_hash, t.entry_hash, 1, t.event_id, 'document-vault-service', \
             'document.uploaded', 'aaaaaaaa-0000-4000-8000-000000000001', 'user', \
             'bbbbbbbb-0000-4000-8000-000000000002', 'document', 'req-12345', CAST(t.details AS json), \
             '2026-01-01T00:00:00.123456Z' \
             FROM UNNEST($1::bigint[], $2::text[], $3::text[], $4::uuid[], $5::text[]) \
             AS t(sequence, previous_hash, entry_hash, event_id, details)";
        let first = self.last + 1;
        self.last += i64::try_from(count).expect("a count");
        let hashes = || (0..count).map(|_| hash()).collect::<Vec<_>>();
        let details = r#"{"name":"prospectus.pdf","size":123456,"tags":["a","b"]}"#;
        sqlx::query(INSERT)
            .bind((first..=self.last).collect::<Vec<_>>())
            .bind(hashes())
            .bind(hashes())
            .bind((0..count).map(|_| Uuid::new_v4()).collect::<Vec<_>>())
            .bind(vec![details; count])
            .execute(&mut self.conn)
            .await
            .expect("rows");
    }
}

/// A text of the form of a SHA-256 hash.
fn hash() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

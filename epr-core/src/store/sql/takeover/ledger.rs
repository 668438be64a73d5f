//! The ledger of an older implementation, verified entry by entry and written again as it was hashed.
//!
//! INVARIANT: an entry is written with the text that has its hash, or not at all.

use super::super::dialect::{Conn, Row, classify, entries};
use super::pages::Progress;
use super::row::TextRow;
use crate::domain::{AuditEvent, JsonObject};
use crate::ledger::chain::{Draft, Head, Sealed};
use crate::ledger::older_details;
use crate::store::{Result, StoreError, TakeoverProblem, TakeoverReport};

/// Entries read and written at a time.
const PAGE: i64 = 1000;

const UNCHANGEABLE: &str = "restore the entry from a backup: nothing in a ledger can be corrected";

/// Copies intact entries; entries after a broken one are only verified.
pub(super) async fn copy(conn: &mut Conn, report: &mut TakeoverReport) -> Result<()> {
    let mut head = Head::genesis();
    let (mut former_numbers, mut former_numbers_up_to) = (0_u64, 0_i64);
    let mut last_read = 0_i64;
    let mut read = 0_i64;
    let count = concat!("SELECT COUNT(*) FROM ", set_aside!("audit_logs"));
    let mut progress = Progress::begin(&mut *conn, "audit_logs", count).await?;
    loop {
        let before = head.clone();
        let page = page(&mut *conn, last_read).await?;
        if page.is_empty() {
            break;
        }
        let mut kept = Vec::with_capacity(page.len());
        for row in &page {
            let found = OldEntry::read(row, &head, report)?;
            read += 1;
            // The chain continues from what is stored: one broken entry says nothing about the next.
            (last_read, head.sequence) = (found.sequence, found.sequence);
            head.entry_hash.clone_from(&found.entry_hash);
            if found.former_numbers {
                (former_numbers, former_numbers_up_to) = (former_numbers + 1, found.sequence);
            }
            kept.push(found);
        }
        progress.add(page.len());
        if report.blocking > 0 {
            continue;
        }
        let sealed: Vec<Sealed<'_>> = kept.iter().filter_map(OldEntry::sealed).collect();
        if !entries::insert(&mut *conn, &before, &sealed, &head).await? {
            return Err(StoreError::corrupt("ledger", "the new one is not empty"));
        }
    }
    progress.report();
    let count: i64 = sqlx::query_scalar(count).fetch_one(&mut *conn).await.map_err(classify)?;
    if count != read {
        let unplaced = format!("{} rows have no sequence, or one that is taken", count - read);
        report.add(entry_problem("as a whole", "sequence", unplaced));
    }
    if former_numbers > 0 && report.blocking == 0 {
        tracing::warn!(entries = former_numbers, up_to = former_numbers_up_to, "ledger_former_numbers");
        sqlx::query("UPDATE audit_chain_head SET former_numbers_up_to = $1 WHERE id = 1")
            .bind(former_numbers_up_to)
            .execute(&mut *conn)
            .await
            .map_err(classify)?;
    }
    Ok(())
}

async fn page(conn: &mut Conn, after: i64) -> Result<Vec<Row>> {
    sqlx::query(concat!(
        "SELECT CAST(sequence AS TEXT) AS sequence, CAST(previous_hash AS TEXT) AS previous_hash, \
         CAST(entry_hash AS TEXT) AS entry_hash, CAST(hash_version AS TEXT) AS hash_version, \
         CAST(event_id AS TEXT) AS event_id, CAST(source AS TEXT) AS source, CAST(action AS TEXT) AS action, \
         CAST(actor_id AS TEXT) AS actor_id, CAST(actor_type AS TEXT) AS actor_type, \
         CAST(entity_id AS TEXT) AS entity_id, CAST(entity_type AS TEXT) AS entity_type, \
         CAST(correlation_id AS TEXT) AS correlation_id, CAST(details AS TEXT) AS details, \
         CAST(occurred_at AS TEXT) AS occurred_at FROM ",
        set_aside!("audit_logs"),
        " o WHERE o.sequence > $1 ORDER BY o.sequence LIMIT $2"
    ))
    .bind(after)
    .bind(PAGE)
    .fetch_all(conn)
    .await
    .map_err(classify)
}

fn entry_problem(id: &str, column: &str, problem: String) -> TakeoverProblem {
    TakeoverProblem {
        table: "audit_logs",
        row_kind: "ledger entry",
        id: id.to_owned(),
        column: column.to_owned(),
        value: None,
        problem,
        remedy: UNCHANGEABLE.to_owned(),
        decisions: "none".to_owned(),
        blocks: true,
    }
}

/// An entry of the older ledger.
struct OldEntry {
    sequence: i64,
    previous_hash: String,
    entry_hash: String,
    /// The event that was hashed; `None` when the entry is broken.
    draft: Option<Draft>,
    /// Whether a number has the form of an earlier version of this program.
    former_numbers: bool,
}

impl OldEntry {
    fn sealed(&self) -> Option<Sealed<'_>> {
        Some(Sealed {
            event: self.draft.as_ref()?,
            sequence: self.sequence,
            previous_hash: self.previous_hash.clone(),
            entry_hash: self.entry_hash.clone(),
        })
    }

    /// Reads a row behind `last`, and reports what is wrong with it.
    fn read(row: &Row, last: &Head, report: &mut TakeoverReport) -> Result<Self> {
        let mut texts = TextRow::new(row, "audit_logs", "ledger entry")?;
        let sequence: i64 = texts.name.parse().map_err(|error| StoreError::corrupt("sequence", error))?;
        let expected = last.sequence.saturating_add(1);
        if sequence != expected {
            let problem = format!("is missing, the next one is {sequence}");
            report.add(entry_problem(&expected.to_string(), "sequence", problem));
        }
        let (previous_hash, entry_hash) = (texts.text("previous_hash")?, texts.text("entry_hash")?);
        if sequence == expected && previous_hash != last.entry_hash {
            let problem = format!("is {previous_hash}, the entry before has {}", last.entry_hash);
            texts.block("previous_hash", problem, UNCHANGEABLE, "none");
        }
        if texts.text("hash_version")? != "1" {
            texts.block("hash_version", "is not 1", UNCHANGEABLE, "none");
        }
        let mut entry = Self { sequence, previous_hash, entry_hash, draft: None, former_numbers: false };
        if let Some(event) = event(&mut texts)? {
            entry.find_text(&mut texts, &event)?;
        }
        texts.finish(report);
        Ok(entry)
    }

    fn find_text(&mut self, texts: &mut TextRow<'_>, event: &AuditEvent) -> Result<()> {
        let stored = texts.get("details")?.unwrap_or_else(|| "{}".into());
        let draft = |details: &str| Draft::recorded(event.clone(), details.to_owned());
        let has_the_hash =
            |details: &str| draft(details).hash_at(self.sequence, &self.previous_hash) == self.entry_hash;
        match older_details::find(&stored, has_the_hash) {
            Ok(Some(hashed)) => {
                self.draft = Some(draft(&hashed.details));
                self.former_numbers = hashed.former_numbers;
            }
            Ok(None) => {
                let problem = format!("do not have the hash {}, nor do the other columns", self.entry_hash);
                texts.block("details", problem, UNCHANGEABLE, "none");
            }
            Err(problem) => texts.block("details", problem, UNCHANGEABLE, "none"),
        }
        Ok(())
    }
}

/// The event of a row, without its details; `None` when a column does not fit.
fn event(texts: &mut TextRow<'_>) -> Result<Option<AuditEvent>> {
    let (source, action, actor_type) = (texts.text("source")?, texts.text("action")?, texts.text("actor_type")?);
    let (entity_type, correlation_id) = (texts.get("entity_type")?, texts.get("correlation_id")?);
    let (event_id, actor_id) = (texts.optional_id("event_id")?, texts.optional_id("actor_id")?);
    let (entity_id, occurred_at) = (texts.optional_id("entity_id")?, texts.time("occurred_at")?);
    let (source, action) = (texts.typed("source", source), texts.typed("action", action));
    let actor_type = texts.typed("actor_type", actor_type);
    let entity_type = entity_type.and_then(|text| texts.typed("entity_type", text));
    let correlation_id = correlation_id.and_then(|text| texts.typed("correlation_id", text));
    if !texts.is_usable() {
        return Ok(None);
    }
    let event = source.zip(action).zip(actor_type).map(|((source, action), actor_type)| AuditEvent {
        event_id,
        source,
        action,
        actor_id,
        actor_type,
        entity_id,
        entity_type,
        correlation_id,
        details: JsonObject::new(),
        occurred_at,
    });
    Ok(event)
}

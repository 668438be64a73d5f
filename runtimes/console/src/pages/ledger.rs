//! The ledger: its entries, the canonical text of one with its hashes, the newest checkpoint, proofs to download.

use askama::Template;
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse as _, Redirect};
use epr_core::Error;
use epr_core::authn::Scope;
use epr_core::domain::{AuditEntry, AuditFilter, AuditPage};
use epr_core::store::{ScanRange, StoredCheckpoint};
use sha2::{Digest as _, Sha256};

use super::rows::{MANY, actor_cell, entry_path, entry_table, limited, subject_cell};
use crate::Page;
use crate::assets;
use crate::blocks::{Block, Cell, Facts, Field, Form, Links, Look, Notice, Text};
use crate::format::hex;
use crate::page::{Answer, Page as Shown};
use crate::query::link;
use crate::refusal::Refusal;
use crate::texts::Texts;
use crate::visitor::Ask;

pub(crate) const TAB: &str = "/console/ledger";
/// The most characters of details that a page shows as they are written.
const MAX_TEXT_CHARS: usize = 100_000;

pub(crate) fn pages() -> Vec<Page> {
    vec![
        Page::get(TAB, list),
        Page::get("/console/ledger/checkpoint", checkpoint),
        Page::get("/console/ledger/{sequence}", show),
        Page::get("/console/ledger/{sequence}/proof", proof),
    ]
}

async fn list(ask: Ask) -> Answer {
    ask.visitor.require(Scope::Audit)?;
    let t = ask.texts();
    if let Some(sequence) = ask.query.get("sequence") {
        let sequence: i64 = sequence.parse().map_err(|_| Refusal::not_found(t.no_such_entry))?;
        return Ok(Redirect::to(&entry_path(sequence)).into_response());
    }
    let mut fields = ask.query.fields();
    let filter = AuditFilter::read(&mut fields);
    let before = fields.given("before", epr_core::domain::fields::sequence);
    let filter = fields.finish(Some(filter))?;
    let mut rows = Vec::new();
    let page = AuditPage { limit: u32::try_from(MANY).unwrap_or(u32::MAX), after: before, ascending: false };
    let listed = ask.epr().show_audit_entries(&filter, page, &mut limited(&mut rows, MANY)).await?;
    let last = rows.last().filter(|_| rows.len() == MANY).map(|entry: &AuditEntry| entry.sequence.to_string());
    let next = last.map(|last| format!("?{}", ask.query.with("before", Some(&last))));
    let table = entry_table(t, t.ledger, &rows).with_next(next, t.next_page);
    let checkpoint = Links::new(vec![(t.newest_checkpoint, "/console/ledger/checkpoint".to_owned())]);
    let mut blocks = vec![checkpoint.into(), search(&ask)];
    if let Some(border) = listed.incomplete_to {
        blocks.push(Notice::new(Look::Warning, [format!("{} {border}", t.entries_dropped)]).into());
    }
    blocks.push(table.into());
    Ok(Shown::new(t.ledger, TAB).section("", blocks).respond(&ask))
}

fn search(ask: &Ask) -> Block {
    let t = ask.texts();
    let line = |name, label| Field::line(name, label, ask.query.text(name));
    Form::ask("search", TAB, t.search)
        .field(line("action", t.action))
        .field(line("entity_id", t.subject_id))
        .field(line("principal_id", t.principal_id))
        .field(line("actor_id", t.actor_id))
        .field(line("assignment_id", t.assignment_id))
        .field(line("occurred_from", t.from).hinted(t.at_hint))
        .field(line("occurred_to", t.until).hinted(t.at_hint))
        .into()
}

/// The newest checkpoint; `None` when there is none.
async fn newest_checkpoint(ask: &Ask) -> Result<Option<StoredCheckpoint>, Refusal> {
    match ask.epr().newest_checkpoint().await {
        Ok(checkpoint) => Ok(Some(checkpoint)),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn checkpoint(ask: Ask) -> Answer {
    ask.visitor.require(Scope::Audit)?;
    let t = ask.texts();
    let page = Shown::new(t.newest_checkpoint, TAB);
    let Some(checkpoint) = newest_checkpoint(&ask).await? else {
        let notice = Notice::new(Look::Plain, [t.no_checkpoint.to_owned()]);
        return Ok(page.section("", vec![notice.into()]).respond(&ask));
    };
    let facts = Facts::new(vec![
        (t.entries, Cell::link(Look::Code, checkpoint.size.to_string(), entry_path(checkpoint.size))),
        (t.root, Cell::code(hex(&checkpoint.root))),
        (t.signed, Cell::time(checkpoint.signed_at)),
        (t.incarnation, Cell::code(checkpoint.incarnation.to_string())),
    ]);
    // The signatures of the ledger's keys and of witnesses are lines of the note.
    let mut blocks = vec![facts.into(), Text::new(t.signed_note, &checkpoint.note).into()];
    blocks.extend(keys(&ask).await?.map(|keys| Block::from(Text::new(t.verifier_keys, &keys))));
    Ok(page.section("", blocks).respond(&ask))
}

/// The part of a page that verifies the proof of an entry in the browser.
#[derive(Template)]
#[template(path = "verify.html")]
struct Verify<'a> {
    t: &'static Texts,
    sequence: i64,
    hash: &'a str,
    proof: String,
    keys: String,
}

/// The keys of the ledger, one a line; `None` when this process has none.
async fn keys(ask: &Ask) -> Result<Option<String>, Refusal> {
    match ask.epr().verifier_keys().await {
        Ok(keys) => Ok(Some(keys.join("\n"))),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// An entry of the ledger as it is hashed.
struct Hashed {
    previous_hash: String,
    entry_hash: String,
    canonical: String,
}

async fn show(Path(sequence): Path<String>, ask: Ask) -> Answer {
    ask.visitor.require(Scope::Audit)?;
    let t = ask.texts();
    let sequence = number(&sequence, t)?;
    let filter = AuditFilter { from_sequence: Some(sequence), to_sequence: Some(sequence), ..AuditFilter::default() };
    let mut rows = Vec::new();
    let page = AuditPage { limit: 1, after: None, ascending: true };
    ask.epr().show_audit_entries(&filter, page, &mut limited(&mut rows, 1)).await?;
    let entry = rows.pop().ok_or_else(|| Refusal::not_found(t.no_such_entry))?;
    let hashed = hashed(&ask, sequence).await?.ok_or_else(|| Refusal::not_found(t.no_such_entry))?;
    let checkpoint = ask.epr().checkpoint_status();
    let mut links = vec![(t.next_entry, entry_path(sequence + 1))];
    if sequence > 1 {
        links.insert(0, (t.previous_entry, entry_path(sequence - 1)));
    }
    links.extend(explained(&ask, &entry));
    links.push((t.download_proof, format!("{}/proof", entry_path(sequence))));
    // What this process knows: another one may have signed a newer checkpoint.
    let chain = match checkpoint.and_then(|status| status.newest) {
        Some((size, _)) if size >= sequence => Cell::new(Look::Good, t.covered),
        Some(_) => Cell::new(Look::Warning, t.not_covered_yet),
        None => Cell::link(Look::Muted, t.newest_checkpoint, "/console/ledger/checkpoint"),
    };
    // The hash of the entry before goes in front of the text.
    let text = [hashed.previous_hash.as_bytes(), hashed.canonical.as_bytes()].concat();
    let digest: [u8; 32] = Sha256::digest(text).into();
    let matches = hex(&digest) == hashed.entry_hash;
    let (look, word) = if matches { (Look::Good, t.hash_matches) } else { (Look::Bad, t.hash_differs) };
    let facts = Facts::new(vec![
        (t.time, Cell::time(entry.occurred_at)),
        (t.action, Cell::code(&entry.action)),
        (t.actor, actor_cell(t, &entry)),
        (t.subject, subject_cell(t, &entry)),
        (t.source, Cell::name(&entry.source)),
        (t.correlation_id, entry.correlation_id.as_deref().map(Cell::code).unwrap_or_default()),
        (t.previous_hash, Cell::code(&hashed.previous_hash)),
        (t.entry_hash, Cell::code(&hashed.entry_hash).and(look, word)),
        (t.checkpoint, chain),
    ]);
    let details = pretty(&entry.details.0);
    let blocks = vec![facts.into(), Links::new(links).into(), Text::new(t.details, &details).into()];
    let canonical = Text::new(t.canonical_text, &bounded(&hashed.canonical));
    let title = format!("{} {sequence}", t.entry);
    let mut page = Shown::new(title, TAB).section("", blocks).section("", vec![canonical.into()]);
    if let Some(keys) = keys(&ask).await? {
        let proof = format!("{}/proof", entry_path(sequence));
        let verify = Verify { t, sequence, hash: &hashed.entry_hash, proof, keys };
        page = page.section(t.verify_here, vec![Block::of(&verify)]).with_script(assets::verify_address());
    }
    Ok(page.respond(&ask))
}

/// The canonical text and the hashes of an entry.
async fn hashed(ask: &Ask, sequence: i64) -> Result<Option<Hashed>, Refusal> {
    let mut found = None;
    let range = ScanRange { from: sequence, to: sequence };
    ask.epr()
        .export_ledger(range, &mut |entry| {
            found = Some(Hashed {
                previous_hash: entry.previous_hash.to_owned(),
                entry_hash: entry.entry_hash.to_owned(),
                canonical: entry.canonical.to_owned(),
            });
            false
        })
        .await?;
    Ok(found)
}

/// The link from a decision to its explanation, at the time of the decision.
fn explained(ask: &Ask, entry: &AuditEntry) -> Option<(&'static str, String)> {
    if entry.action != "authorization.evaluate" || !ask.visitor.may(Scope::Explain) {
        return None;
    }
    let details: serde_json::Value = serde_json::from_str(&entry.details.0).ok()?;
    let text = |name: &str| details.get(name)?.as_str();
    let at = entry.occurred_at.to_string();
    let parameters = [
        ("user_id", text("principal_id")?),
        ("principal_type", text("principal_type")?),
        ("action", text("action")?),
        ("resource_id", text("resource_id")?),
        ("at", at.as_str()),
    ];
    Some((ask.texts().explain_decision, link("/console/check", &parameters)))
}

/// The proof that the newest checkpoint covers an entry, as a file.
async fn proof(Path(sequence): Path<String>, ask: Ask) -> Answer {
    ask.visitor.require(Scope::Audit)?;
    let sequence = number(&sequence, ask.texts())?;
    let proof = ask.epr().prove_entry(sequence).await?.to_string();
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"entry-{sequence}.tlog-proof\"")),
    ];
    Ok((headers, proof).into_response())
}

fn number(text: &str, t: &Texts) -> Result<i64, Refusal> {
    let number = text.parse().ok().filter(|number: &i64| *number > 0 && number.to_string() == text);
    number.ok_or_else(|| Refusal::not_found(t.no_such_entry))
}

/// JSON with a member a line.
fn pretty(json: &str) -> String {
    let value: Result<serde_json::Value, _> = serde_json::from_str(json);
    let text = value.ok().and_then(|value| serde_json::to_string_pretty(&value).ok());
    bounded(&text.unwrap_or_else(|| json.to_owned()))
}

fn bounded(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

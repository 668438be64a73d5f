//! `epr principals history`: what the ledger has about a principal, with its personal fields while their key exists.
//!
//! Must never print a personal field of an erased principal: without the key it cannot.

use std::process::ExitCode;

use epr_core::Epr;
use epr_core::domain::{AuditEntry, AuditFilter, AuditPage, Json};
use epr_core::store::collect_into;
use serde_json::json;

use crate::Outcome;
use crate::backend::Backend;
use crate::output::{Output, escaped, notice};
use crate::principals::Named;

/// Entries in one page.
const PAGE_ROWS: u32 = 500;

pub(crate) async fn run(backend: &Backend, named: &Named, out: &mut Output) -> Outcome {
    let Backend::Database { epr, .. } = backend else {
        return Err("`epr principals history` needs the database, which has the keys: omit --url and set \
                    EPR_DATABASE_URL"
            .into());
    };
    let filter = AuditFilter {
        entity_id: Some(named.principal),
        entity_type: Some("principal".to_owned()),
        ..AuditFilter::default()
    };
    let (mut after, mut shown) = (None, 0);
    loop {
        let mut entries = Vec::new();
        let page = AuditPage { limit: PAGE_ROWS, after, ascending: true };
        epr.show_audit_entries(&filter, page, &mut collect_into(&mut entries)).await?;
        let Some(last) = entries.last() else { break };
        after = Some(last.sequence);
        for entry in &entries {
            shown += i32::from(show(epr, named, entry, out).await?);
        }
    }
    if shown == 0 && !out.json {
        notice("The ledger has no entry about this principal.");
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints an entry, unless it is about a principal of another type.
async fn show(
    epr: &Epr,
    named: &Named,
    entry: &AuditEntry,
    out: &mut Output,
) -> Result<bool, Box<dyn std::error::Error>> {
    let Ok(Json::Object(details)) = Json::parse(entry.details.0.as_bytes()) else { return Ok(false) };
    if details.get("principal_type").and_then(Json::as_text) != Some(named.principal_type.as_str()) {
        return Ok(false);
    }
    let opened = epr.unsealed(entry).await?;
    if out.json {
        out.object(&json!({"entry": entry, "opened": opened}))?;
        return Ok(true);
    }
    out.line(format_args!("{:>8}  {}  {}", entry.sequence, entry.occurred_at, escaped(&entry.action)))?;
    let known = ["status", "changes", "assignments_revoked"].map(|name| (name, details.get(name)));
    let known = known.into_iter().filter_map(|(name, value)| Some((name, value?.to_string())));
    for (name, text) in known.filter(|(_, text)| text != "{}") {
        out.line(format_args!("          {name}: {}", escaped(&text)))?;
    }
    match (&opened, details.get("sealed_fields")) {
        (Some(fields), _) => {
            for (name, value) in fields {
                out.line(format_args!("          {}: {}", escaped(name), escaped(&value.to_string())))?;
            }
        }
        (None, Some(sealed)) => {
            out.line(format_args!("          sealed, without a key: {}", escaped(&sealed.to_string())))?;
        }
        (None, None) => {}
    }
    Ok(true)
}

//! `epr audit archive …`

use std::process::ExitCode;

use clap::Args;
use epr_core::ledger::note::VerifierKey;
use epr_core::publish::ledger_place::LedgerPlace;
use epr_core::settings::Settings;
use epr_core::{ArchiveCheck, ArchiveCheckOptions, ArchiveOptions, Archived, Epr};

use crate::audit::{LINE_EVERY, Progress};
use crate::output::{Output, escaped};
use crate::{EXIT_NO, Outcome};

#[derive(Args)]
pub(crate) struct Archive {
    /// The place of the archive, which has the texts of entries and must be private: the path of a folder, or
    /// `s3://bucket/prefix`
    #[arg(long, value_name = "PLACE")]
    to: String,
    /// The last entry to archive, which must be published; with --check the last entry that the archive must contain
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    to_sequence: Option<i64>,
    /// Archive only entries that a checkpoint of at least this age covers, in days
    #[arg(long, value_name = "DAYS", conflicts_with = "check")]
    older_than: Option<u32>,
    /// The entries of a bundle in a new archive: a multiple of 256, at most 65,536, which is the default
    #[arg(long, value_name = "N", conflicts_with = "check")]
    bundle_entries: Option<u64>,
    /// Where checkpoints are published; default: `EPR_LEDGER_PUBLISH_URL`
    #[arg(long, value_name = "PLACE")]
    published: Option<String>,
    /// A verifier key (vkey) that signed this ledger before `EPR_LEDGER_KEY` was replaced; may be repeated
    #[arg(long, value_name = "VKEY")]
    former_key: Vec<VerifierKey>,
    /// Archive nothing: read the archive back, verify it, and compare it with the database
    #[arg(long)]
    check: bool,
}

pub(crate) async fn run(epr: &Epr, archive: &Archive, out: &mut Output) -> Outcome {
    let settings = Settings::from_env()?;
    let place = |option: &str, given: &str| {
        LedgerPlace::parse(given).ok_or_else(|| format!("{option} {given}: expected {}", LedgerPlace::ALLOWED))
    };
    let open = |place: &LedgerPlace| place.open(&settings.aws, settings.ledger_retention);
    let to = place("--to", &archive.to)?;
    let published = match &archive.published {
        Some(given) => Some(place("--published", given)?),
        None => settings.publish_ledger_to.clone(),
    };
    let is_public = |place: &LedgerPlace| !archive.check && place.overlaps(&to);
    if [&published, &settings.publish_ledger_to].into_iter().flatten().any(is_public) {
        let refused = "checkpoints are published there, and an archive has the texts of entries: name a private place";
        return Err(format!("--to {}: {refused}", archive.to).into());
    }
    let (target, published) = (open(&to), published.as_ref().map(open));
    let mut progress = Progress::new(LINE_EVERY);
    let mut show = |done, total| progress.show(done, total);
    if archive.check {
        let options = ArchiveCheckOptions {
            target: &*target,
            published: published.as_deref(),
            to_sequence: archive.to_sequence,
            former_keys: &archive.former_key,
        };
        let found = epr.check_archive(&options, &mut show).await;
        progress.clear();
        return report_check(&found?, out);
    }
    let published = published.ok_or(
        "only entries below a published checkpoint are archived: set EPR_LEDGER_PUBLISH_URL, or name the place with \
         --published",
    )?;
    let options = ArchiveOptions {
        target: &*target,
        published: &*published,
        to_sequence: archive.to_sequence,
        older_than_days: archive.older_than,
        bundle_entries: archive.bundle_entries,
        former_keys: &archive.former_key,
    };
    let archived = epr.archive_ledger(&options, &mut show).await;
    progress.clear();
    report(&archived?, &archive.to, out)
}

fn report(archived: &Archived, place: &str, out: &mut Output) -> Outcome {
    let Archived { incarnation, bundles_written, archived_to, published, bytes, .. } = archived;
    if out.json {
        out.object(archived)?;
        return Ok(ExitCode::SUCCESS);
    }
    out.line(format_args!("{bundles_written} bundles written and read back ({bytes} bytes)."))?;
    match archived_to {
        0 => out.line(format_args!("Nothing is archived: no whole bundle is old enough and published."))?,
        last => out.line(format_args!(
            "The entries 1 to {last} are archived at {place}/{incarnation}/archive; {published} are published."
        ))?,
    }
    out.line(format_args!("The database still has every entry."))?;
    Ok(ExitCode::SUCCESS)
}

fn report_check(found: &ArchiveCheck, out: &mut Output) -> Outcome {
    let ArchiveCheck { valid, bundles, entries, root, signatures, published, finding } = found;
    if out.json {
        out.object(found)?;
    } else if let Some(finding) = finding {
        out.line(format_args!("{}: {}", Output::bad("DAMAGED"), escaped(&finding.to_string())))?;
        out.line(format_args!("Entries in the bundles before it, which are intact: {entries}."))?;
    } else {
        let holds = Output::good("The archive holds");
        out.line(format_args!("{holds}: {entries} entries in {bundles} bundles, root {root}."))?;
        out.line(format_args!("The database has the same hash for each. {}", compared(*signatures, *published)))?;
    }
    Ok(if *valid { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NO) })
}

fn compared(signatures: u64, published: Option<u64>) -> String {
    let signed = match signatures {
        0 => "Signatures were not verified, because EPR_LEDGER_KEY is not set here".to_owned(),
        count => format!("A known key signed the checkpoints of {count} bundles"),
    };
    match published {
        None => {
            format!("{signed}; no published checkpoint was compared, because EPR_LEDGER_PUBLISH_URL is not set here.")
        }
        Some(size) => format!("{signed}; the published checkpoint of {size} entries begins with the archive."),
    }
}

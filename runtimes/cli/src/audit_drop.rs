//! `epr audit drop …`

use std::process::ExitCode;

use clap::Args;
use epr_core::ledger::note::VerifierKey;
use epr_core::publish::ledger_place::LedgerPlace;
use epr_core::settings::Settings;
use epr_core::{Call, DropOptions, Dropped, Epr};

use crate::audit::{LINE_EVERY, Progress};
use crate::output::{Output, escaped};
use crate::{EXIT_NO, Outcome};

#[derive(Args)]
pub(crate) struct Drop {
    /// The place of the archive that has the entries: the path of a folder, or `s3://bucket/prefix`; default:
    /// `EPR_LEDGER_ARCHIVE_URL`
    #[arg(long, value_name = "PLACE")]
    archive: Option<String>,
    /// The last entry that may be dropped
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    to_sequence: Option<i64>,
    /// Where checkpoints are published; default: `EPR_LEDGER_PUBLISH_URL`
    #[arg(long, value_name = "PLACE")]
    published: Option<String>,
    /// A verifier key (vkey) that signed this ledger before `EPR_LEDGER_KEY` was replaced; may be repeated
    #[arg(long, value_name = "VKEY")]
    former_key: Vec<VerifierKey>,
    /// Confirm: without it nothing is dropped, and the command says what would be
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn run(epr: &Epr, call: &Call, drop: &Drop, out: &mut Output) -> Outcome {
    let settings = Settings::from_env()?;
    let retention_days = settings.ledger_retention_days.ok_or(
        "EPR_LEDGER_RETENTION_DAYS is not set: no entry is ever dropped. It is the age in days from which archived \
         entries may be dropped from the database",
    )?;
    let place = |option: &str, given: &str| {
        LedgerPlace::parse(given).ok_or_else(|| format!("{option} {given}: expected {}", LedgerPlace::ALLOWED))
    };
    let archive = match &drop.archive {
        Some(given) => Some(place("--archive", given)?),
        None => settings.ledger_archive.clone(),
    };
    let archive = archive.ok_or("name the archive with --archive, or set EPR_LEDGER_ARCHIVE_URL")?;
    let published = match &drop.published {
        Some(given) => Some(place("--published", given)?),
        None => settings.publish_ledger_to.clone(),
    };
    let published = published.ok_or(
        "only entries below a published checkpoint are dropped: set EPR_LEDGER_PUBLISH_URL, or name the place with \
         --published",
    )?;
    let (named, open) =
        (archive.to_string(), |place: &LedgerPlace| place.open(&settings.aws, settings.ledger_retention));
    let (target, published) = (open(&archive), open(&published));
    let options = DropOptions {
        target: &*target,
        place: &named,
        published: &*published,
        to_sequence: drop.to_sequence,
        retention_days,
        former_keys: &drop.former_key,
        confirmed: drop.yes,
    };
    let mut progress = Progress::new(LINE_EVERY);
    let dropped = epr.drop_archived(call, &options, &mut |done, total| progress.show(done, total)).await;
    progress.clear();
    report(&dropped?, &named, out)
}

fn report(dropped: &Dropped, place: &str, out: &mut Output) -> Outcome {
    let Dropped { confirmed, incarnation, first, last, deleted, archived, published, finding } = dropped;
    if out.json {
        out.object(dropped)?;
    } else if let Some(finding) = finding {
        out.line(format_args!("{}: {}", Output::bad("DAMAGED"), escaped(&finding.to_string())))?;
        out.line(format_args!("Nothing was dropped: the archive must hold as a whole."))?;
    } else {
        out.line(format_args!(
            "The archive at {place}/{incarnation}/archive holds: {archived} entries; {published} are published."
        ))?;
        match (last < first, confirmed) {
            (true, _) => out.line(format_args!("Nothing to drop: no further bundle is archived and old enough."))?,
            (false, false) => out.line(format_args!(
                "Would drop the entries {first} to {last} from the database, except for those about the registry. Add \
                 --yes to do so."
            ))?,
            (false, true) => out.line(format_args!(
                "Dropped the entries {first} to {last} from the database: {deleted} rows. Those about the registry \
                 stay."
            ))?,
        }
    }
    Ok(if finding.is_none() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NO) })
}

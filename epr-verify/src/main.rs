//! `epr-verify`: verifies a ledger of EPR without EPR.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use epr_verify::ledger::checkpoint::Checkpoint;
use epr_verify::ledger::hex;
use epr_verify::signatures::{self, Keys, Signed, read_keys, read_note};
use epr_verify::source::{Folder, Source};
use epr_verify::{Finding, Stop, archive, export, proof, published};

/// Verifies a ledger of EPR without EPR: exit code 0 when everything agrees, 1 when something disagrees, 2 when
/// something cannot be read
#[derive(Parser)]
#[command(name = "epr-verify", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Verify a file that `epr audit export` wrote: texts, chain, and the tree if checkpoints are given
    Export {
        /// The file, or - for standard input
        file: PathBuf,
        /// A checkpoint that was kept; may be repeated
        #[arg(long, value_name = "FILE")]
        checkpoint: Vec<PathBuf>,
        #[command(flatten)]
        keys: KeyOptions,
    },
    /// Verify a published ledger completely: bundles, tiles, root and signatures
    Published {
        /// A folder, or a URL such as `https://epr.example/api/v1/ledger`
        place: String,
        /// A checkpoint that was kept, with which the ledger must begin; may be repeated
        #[arg(long, value_name = "FILE")]
        checkpoint: Vec<PathBuf>,
        /// An export that must have the same entries
        #[arg(long, value_name = "FILE")]
        export: Option<PathBuf>,
        #[command(flatten)]
        keys: KeyOptions,
    },
    /// Verify an archive that `epr audit archive` wrote completely: texts, chain, tiles, tree and signatures
    Archive {
        /// The folder of the incarnation in the archive
        place: String,
        /// A checkpoint that was kept, with which the ledger must begin; may be repeated
        #[arg(long, value_name = "FILE")]
        checkpoint: Vec<PathBuf>,
        /// The last entry that the archive must contain
        #[arg(long, value_name = "N")]
        to_sequence: Option<u64>,
        #[command(flatten)]
        keys: KeyOptions,
    },
    /// Verify a proof file and print its entry
    Proof {
        /// The file
        file: PathBuf,
        #[command(flatten)]
        keys: KeyOptions,
    },
    /// Verify the signatures of a checkpoint
    Checkpoint {
        /// The file
        file: PathBuf,
        #[command(flatten)]
        keys: KeyOptions,
    },
    /// Verify that a newer checkpoint's ledger begins with an older one's, by a few published tiles
    Consistency {
        /// The older checkpoint
        older: PathBuf,
        /// The newer checkpoint
        newer: PathBuf,
        /// The published ledger: a folder or a URL
        #[arg(long, value_name = "PLACE")]
        published: String,
        #[command(flatten)]
        keys: KeyOptions,
    },
}

#[derive(Args)]
struct KeyOptions {
    /// A verifier key of the ledger (vkey), or a file with one a line; may be repeated
    #[arg(long, value_name = "VKEY|FILE")]
    key: Vec<String>,
    /// A verifier key of a witness, or a file with one a line; may be repeated
    #[arg(long, value_name = "VKEY|FILE")]
    witness: Vec<String>,
    /// The number of witnesses that must have cosigned
    #[arg(long, value_name = "N", default_value_t = 0)]
    quorum: usize,
}

impl KeyOptions {
    fn read(&self) -> Result<Keys, Stop> {
        let read = |given: &String| {
            if given.contains('+') && !Path::new(given).exists() {
                read_keys(given)
            } else {
                read_keys(&text_of(Path::new(given))?)
            }
        };
        let all = |given: &[String]| -> Result<Vec<_>, Stop> {
            Ok(given.iter().map(read).collect::<Result<Vec<_>, _>>()?.concat())
        };
        Ok(Keys { ledger: all(&self.key)?, witnesses: all(&self.witness)?, quorum: self.quorum })
    }
}

fn main() -> ExitCode {
    let outcome = run(&Cli::parse().command);
    let (code, line) = match outcome {
        Ok(line) => (0, line),
        Err(Stop::Found(Finding { level, sentence })) => {
            (1, format!("DISAGREES at the level {level}: {}", printable(&sentence)))
        }
        Err(Stop::Unreadable(why)) => {
            // Standard error may be closed.
            let _ = writeln!(io::stderr(), "epr-verify: {}", printable(&why));
            return ExitCode::from(2);
        }
    };
    if writeln!(io::stdout(), "{line}").is_err() {
        return ExitCode::from(2);
    }
    ExitCode::from(code)
}

fn run(command: &Command) -> Result<String, Stop> {
    match command {
        Command::Export { file, checkpoint, keys } => {
            let signed = kept(checkpoint, &keys.read()?)?;
            let checkpoints: Vec<Checkpoint> = signed.iter().map(|signed| signed.checkpoint.clone()).collect();
            let found = export::verify(open(file)?, &checkpoints, |_, _| Ok(()))?;
            let root = found.root.map_or_else(String::new, |root| format!(", root {}", hex(&root)));
            let compared = match signed.len() {
                0 => "No checkpoint was given to compare with.".to_owned(),
                count => format!("{count} checkpoints agree ({}).", signed_by(&signed)),
            };
            Ok(format!("AGREES: {} entries from {}{root}. {compared}", found.entries, found.first))
        }
        Command::Published { place, checkpoint, export, keys } => {
            let keys = keys.read()?;
            let older: Vec<Checkpoint> = kept(checkpoint, &keys)?.into_iter().map(|kept| kept.checkpoint).collect();
            let source = source(place)?;
            let found = match export {
                Some(file) => published::verify_with_export(&*source, &keys, &older, open(file)?)?,
                None => published::verify(&*source, &keys, &older, |_, _| Ok(()))?,
            };
            let size = found.checkpoint.size;
            let signatures = signed_by(std::slice::from_ref(&found));
            Ok(format!("AGREES: {size} entries, tiles and root of {} ({signatures})", found.checkpoint.origin()))
        }
        Command::Archive { place, checkpoint, to_sequence, keys } => {
            let keys = keys.read()?;
            let older: Vec<Checkpoint> = kept(checkpoint, &keys)?.into_iter().map(|kept| kept.checkpoint).collect();
            let found = archive::verify(&*source(place)?, &keys, &older, *to_sequence)?;
            let archive::Verified { origin, bundles, entries, root, signed, not_compared } = &found;
            let (root, signatures) = (hex(root), signed_by(signed));
            let compared = match (older.len(), *not_compared) {
                (0, _) => String::new(),
                (count, 0) => format!(". {count} kept checkpoints agree"),
                (count, newer) => {
                    let agree = count - newer;
                    format!(". {agree} kept checkpoints agree; {newer} NOT compared: the archive does not lead to them")
                }
            };
            let origin = printable(origin);
            Ok(format!(
                "AGREES: {entries} entries in {bundles} bundles of {origin}, root {root} ({signatures}){compared}"
            ))
        }
        Command::Proof { file, keys } => {
            let proven = proof::verify(&text_of(file)?, &keys.read()?)?;
            let signatures = signed_by(std::slice::from_ref(&proven.signed));
            let Signed { checkpoint, .. } = &proven.signed;
            let (sequence, size) = (proven.sequence, checkpoint.size);
            let origin = checkpoint.origin();
            Ok(format!("AGREES: entry {sequence} is among the {size} of {origin} ({signatures})\n{}", proven.canonical))
        }
        Command::Checkpoint { file, keys } => {
            let signed = signatures::verify(&read_note(&text_of(file)?, &name(file))?, &keys.read()?)?;
            let Checkpoint { size, root, .. } = &signed.checkpoint;
            let (origin, root) = (signed.checkpoint.origin(), hex(root));
            Ok(format!("AGREES: {origin}, {size} entries, root {root} ({})", signed_by(std::slice::from_ref(&signed))))
        }
        Command::Consistency { older, newer, published, keys } => {
            let both = kept(&[older.clone(), newer.clone()], &keys.read()?)?;
            let [older, newer] = both.as_slice() else { return Err(Stop::Unreadable("two files".to_owned())) };
            published::consistent(&*source(published)?, &older.checkpoint, &newer.checkpoint)?;
            let (from, to) = (older.checkpoint.size, newer.checkpoint.size);
            Ok(format!("AGREES: the ledger of {to} entries begins with that of {from} ({})", signed_by(&both)))
        }
    }
}

/// A text from files without what a terminal could take for the text around it: control characters, and those that
/// change the direction of writing.
fn printable(text: &str) -> String {
    let is_changed = |c: char| {
        c.is_control() || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_changed(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Verifies checkpoints that were kept.
fn kept(files: &[PathBuf], keys: &Keys) -> Result<Vec<Signed>, Stop> {
    files.iter().map(|file| signatures::verify(&read_note(&text_of(file)?, &name(file))?, keys)).collect()
}

/// Who signed, in words. What no given key has signed proves nothing.
fn signed_by(signed: &[Signed]) -> String {
    let least = signed.iter().map(|signed| signed.signatures).min().unwrap_or(0);
    let witnesses = signed.iter().map(|signed| signed.cosignatures).min().unwrap_or(0);
    match (least, witnesses) {
        (0, 0) => "signatures NOT verified: no --key was given".to_owned(),
        (keys, 0) => format!("signatures of {keys} keys verified"),
        (keys, witnesses) => format!("signatures of {keys} keys and {witnesses} witnesses verified"),
    }
}

fn source(place: &str) -> Result<Box<dyn Source>, Stop> {
    if place.starts_with("http://") || place.starts_with("https://") {
        return url(place);
    }
    Ok(Box::new(Folder(place.into())))
}

/// The token of `EPR_API_TOKEN` is sent where it is set.
#[cfg(feature = "http")]
fn url(place: &str) -> Result<Box<dyn Source>, Stop> {
    let token = std::env::var("EPR_API_TOKEN").ok().filter(|token| !token.is_empty());
    Ok(Box::new(epr_verify::source::Url::new(place, token)?))
}

#[cfg(not(feature = "http"))]
fn url(place: &str) -> Result<Box<dyn Source>, Stop> {
    Err(Stop::Unreadable(format!("{place}: this program was built without HTTP; verify a copy in a folder")))
}

fn open(file: &Path) -> Result<Box<dyn Read + Send>, Stop> {
    if file.as_os_str() == "-" {
        return Ok(Box::new(io::stdin()));
    }
    let opened = File::open(file).map_err(|error| Stop::Unreadable(format!("{}: {error}", name(file))))?;
    Ok(Box::new(opened))
}

fn text_of(file: &Path) -> Result<String, Stop> {
    fs::read_to_string(file).map_err(|error| Stop::Unreadable(format!("{}: {error}", name(file))))
}

fn name(file: &Path) -> String {
    file.display().to_string()
}

//! Checkpoints and the keys that must have signed them.

use crate::finding::{Level, Stop};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::note::{KeyType, Note, NoteError, VerifierKey};

/// The keys that an auditor knows.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// Keys of the ledger. Each whose name is the origin of a checkpoint must have signed it; others are ignored.
    pub ledger: Vec<VerifierKey>,
    /// Keys of witnesses.
    pub witnesses: Vec<VerifierKey>,
    /// The number of witnesses that must have cosigned.
    pub quorum: usize,
}

/// Keys from text with one vkey a line; empty lines and lines that begin with `#` are skipped.
///
/// # Errors
/// A line is no verifier key.
pub fn read_keys(text: &str) -> Result<Vec<VerifierKey>, Stop> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.parse().map_err(|error| Stop::Unreadable(format!("not a verifier key: {error}")))).collect()
}

/// A checkpoint that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// The number of keys of the ledger that signed it.
    pub signatures: usize,
    /// The number of witnesses that cosigned it.
    pub cosignatures: usize,
}

/// Verifies the checkpoint in `note`: every key of the ledger whose name is the checkpoint's origin must have signed
/// it, and there must be one, and the quorum of witnesses. Without a key of the ledger nothing is trusted, and the
/// number of signatures is 0.
///
/// # Errors
/// A signature is missing or wrong.
pub fn verify(note: &Note, keys: &Keys) -> Result<Signed, Stop> {
    verify_with(note, keys, true)
}

/// [`verify`] of an old checkpoint: a key that was added or replaced has not signed those before. One key of the ledger
/// must have signed it, and no signature of a given key may be wrong.
///
/// # Errors
/// No given key signed it, or a signature is wrong.
pub fn verify_old(note: &Note, keys: &Keys) -> Result<Signed, Stop> {
    verify_with(note, keys, false)
}

fn verify_with(note: &Note, keys: &Keys, is_every_key_required: bool) -> Result<Signed, Stop> {
    let Ok(checkpoint) = note.text.parse::<Checkpoint>() else {
        return Stop::found(Level::Signature, "the text of the note is not a checkpoint");
    };
    let mut signatures = 0;
    // The name of a ledger's key is its origin: others are keys of another ledger or incarnation.
    for key in keys.ledger.iter().filter(|key| key.name() == checkpoint.origin()) {
        match Checkpoint::verified(note, key) {
            Ok(_) => signatures += usize::from(key.kind() != KeyType::Cosignature),
            Err(NoteError::Unsigned(_)) if !is_every_key_required => {}
            Err(error) => return Stop::found(Level::Signature, error.to_string()),
        }
    }
    if signatures == 0 && !keys.ledger.is_empty() {
        let origin = checkpoint.origin();
        return Stop::found(Level::Signature, format!("no given key has signed the checkpoint of {origin}"));
    }
    let mut cosignatures = 0;
    for witness in &keys.witnesses {
        match Checkpoint::verified(note, witness) {
            Ok(_) => cosignatures += 1,
            Err(NoteError::Unsigned(_)) => {}
            Err(error) => return Stop::found(Level::Signature, error.to_string()),
        }
    }
    if cosignatures < keys.quorum {
        let quorum = keys.quorum;
        return Stop::found(Level::Signature, format!("{cosignatures} witnesses cosigned, but {quorum} are required"));
    }
    Ok(Signed { checkpoint, signatures, cosignatures })
}

/// Reads a note.
///
/// # Errors
/// The text is no signed note.
pub fn read_note(text: &str, name: &str) -> Result<Note, Stop> {
    text.parse().map_err(|error| Stop::Unreadable(format!("{name}: {error}")))
}

//! Checkpoints (C2SP tlog-checkpoint): the size and root of the ledger's tree at one moment, in the text
//! that keys sign.
//!
//! Owns the text of a checkpoint and the messages that each type of key signs. Must never decide whether a checkpoint
//! may be signed.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::merkle::Hash;
use super::note::{KeyType, Note, NoteError, VerifierKey};

/// The longest origin, in bytes.
pub const MAX_ORIGIN_BYTES: usize = 255;

/// The state of a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    /// The number of entries in the ledger.
    pub size: u64,
    /// The root of the tree over these entries.
    pub root: Hash,
}

/// The reason why a text is not a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The origin is empty, too long, or holds a space, a plus sign or a line break.
    #[error("an origin has 1 to 255 bytes without spaces, line breaks and +")]
    Origin,
    /// A line is missing, cannot be read or is one too many.
    #[error("a checkpoint has three lines: origin, size in decimal, root in base64")]
    Form,
}

impl Checkpoint {
    /// Creates a checkpoint of the ledger with this origin.
    ///
    /// # Errors
    /// The text is not an origin.
    pub fn new(origin: &str, size: u64, root: Hash) -> Result<Self, CheckpointError> {
        let fits = (1..=MAX_ORIGIN_BYTES).contains(&origin.len())
            && !origin.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+');
        if fits { Ok(Self { origin: origin.to_owned(), size, root }) } else { Err(CheckpointError::Origin) }
    }

    /// The ledger's name: its URL without scheme, whose last segment is the incarnation.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The bytes that `key` signs; `time` in Unix seconds, for the types that sign it.
    #[must_use]
    pub fn message(&self, key: &VerifierKey, time: u64) -> Vec<u8> {
        match key.kind() {
            KeyType::Ed25519 => self.to_string().into_bytes(),
            KeyType::Cosignature => format!("cosignature/v1\ntime {time}\n{self}").into_bytes(),
            KeyType::MlDsa44 => {
                let mut message = b"subtree/v1\n\0".to_vec();
                push_short(&mut message, key.name());
                message.extend_from_slice(&time.to_be_bytes());
                push_short(&mut message, &self.origin);
                message.extend_from_slice(&0_u64.to_be_bytes());
                message.extend_from_slice(&self.size.to_be_bytes());
                message.extend_from_slice(&self.root);
                message
            }
        }
    }

    /// Reads the checkpoint in a note and checks that `key` signed it. Returns the time that was signed with it, for
    /// the types that sign one.
    ///
    /// # Errors
    /// The note contains no checkpoint, or the key did not sign it.
    pub fn verified(note: &Note, key: &VerifierKey) -> Result<(Self, Option<u64>), NoteError> {
        let checkpoint: Self = note.text.parse().map_err(|_| NoteError::Form("its text is not a checkpoint"))?;
        let time = note.verify(key, |time| checkpoint.message(key, time.unwrap_or_default()))?;
        Ok((checkpoint, time))
    }
}

/// Appends the length of a text of at most 255 bytes, then the text.
fn push_short(message: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes().get(..MAX_ORIGIN_BYTES).unwrap_or(text.as_bytes());
    message.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
    message.extend_from_slice(bytes);
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.strip_suffix('\n').ok_or(CheckpointError::Form)?.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(CheckpointError::Form);
        };
        let number: u64 = size.parse().map_err(|_| CheckpointError::Form)?;
        let root = STANDARD.decode(root).ok().and_then(|root| root.try_into().ok()).ok_or(CheckpointError::Form)?;
        // Signs and leading zeros would be a second text for the same size. C2SP permits further lines (extensions),
        // but the message of ML-DSA does not contain them: they could be added to a signed checkpoint.
        if number.to_string() != size || lines.next().is_some() {
            return Err(CheckpointError::Form);
        }
        Self::new(origin, number, root)
    }
}

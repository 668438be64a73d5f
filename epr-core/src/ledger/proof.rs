//! Proof files (C2SP tlog-proof): a proof shows that the ledger of a checkpoint contains one entry.
//!
//! Owns the text of a proof file and its verification. Must never trust a part of the file that the given keys did
//! not sign.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::checkpoint::Checkpoint;
use super::merkle::{Hash, ProofError, leaf_hash, verify_inclusion};
use super::note::{Note, NoteError, VerifierKey};

/// The first line of a proof file.
const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// The largest number of hashes in a path: a tree of 64-bit size has no more levels.
const MAX_PATH: usize = 63;

/// The content of a proof file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    /// The data that the file carries beside the proof: for EPR, the canonical text of the entry.
    pub extra: Option<Vec<u8>>,
    /// The index of the entry, from 0: its sequence less one.
    pub index: u64,
    /// The hashes from the leaf's sibling upwards.
    pub path: Vec<Hash>,
    /// The signed checkpoint.
    pub checkpoint: Note,
}

/// The reason why a proof file proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofFileError {
    /// The text does not have the form of a proof file.
    #[error("this is not a proof file: {0}")]
    Form(&'static str),
    /// The checkpoint does not have the required signature.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The path does not lead from the entry to the checkpoint's root.
    #[error(transparent)]
    Path(#[from] ProofError),
}

impl InclusionProof {
    /// Checks that an entry with these leaf data is in the ledger whose checkpoint `key` signed. Returns the
    /// checkpoint.
    ///
    /// # Errors
    /// The file does not prove this.
    pub fn verify(&self, leaf_data: &[u8], key: &VerifierKey) -> Result<Checkpoint, ProofFileError> {
        let (checkpoint, _) = Checkpoint::verified(&self.checkpoint, key)?;
        verify_inclusion(leaf_hash(leaf_data), self.index, checkpoint.size, &self.path, &checkpoint.root)?;
        Ok(checkpoint)
    }
}

impl fmt::Display for InclusionProof {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(out, "extra {}", STANDARD.encode(extra))?;
        }
        writeln!(out, "index {}", self.index)?;
        self.path.iter().try_for_each(|hash| writeln!(out, "{}", STANDARD.encode(hash)))?;
        write!(out, "\n{}", self.checkpoint)
    }
}

impl FromStr for InclusionProof {
    type Err = ProofFileError;

    fn from_str(text: &str) -> Result<Self, ProofFileError> {
        let (head, checkpoint) = text.split_once("\n\n").ok_or(ProofFileError::Form("no empty line"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(ProofFileError::Form("its first line is not c2sp.org/tlog-proof@v1"));
        }
        let extra = match lines.next_if(|line| line.starts_with("extra ")) {
            Some(line) => Some(base64_after("extra ", line).ok_or(ProofFileError::Form("extra is not base64"))?),
            None => None,
        };
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = index.and_then(|text| text.parse::<u64>().ok().filter(|index| index.to_string() == text));
        let index = index.ok_or(ProofFileError::Form("no line with the index"))?;
        let path: Option<Vec<Hash>> = lines.map(|line| base64_after("", line)?.try_into().ok()).collect();
        let path = path.filter(|path| path.len() <= MAX_PATH).ok_or(ProofFileError::Form("a hash cannot be read"))?;
        Ok(Self { extra, index, path, checkpoint: checkpoint.parse()? })
    }
}

fn base64_after(prefix: &str, line: &str) -> Option<Vec<u8>> {
    STANDARD.decode(line.strip_prefix(prefix)?).ok()
}

//! What a verification finds: the level that disagrees, and a sentence.

use std::fmt;

/// The step of the recomputation whose result disagrees with what is stored or signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The text of an entry does not have its hash.
    Entry,
    /// An entry does not follow the one before it, or is missing.
    Chain,
    /// A bundle of leaf data differs from the entries.
    Bundle,
    /// A file of an archive is missing, or is not what its manifest says.
    Archive,
    /// A tile differs from the leaves below it.
    Tile,
    /// The root differs from the signed one.
    Root,
    /// A signature is missing or wrong.
    Signature,
    /// A newer ledger does not begin with an older one.
    Consistency,
}

impl fmt::Display for Level {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Entry => "entry",
            Self::Chain => "chain",
            Self::Bundle => "bundle",
            Self::Archive => "archive",
            Self::Tile => "tile",
            Self::Root => "root",
            Self::Signature => "signature",
            Self::Consistency => "consistency",
        })
    }
}

/// The first disagreement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{level}: {sentence}")]
pub struct Finding {
    /// The level that disagrees.
    pub level: Level,
    /// What is wrong there.
    pub sentence: String,
}

/// Why a verification ended early.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// Something disagrees.
    #[error(transparent)]
    Found(#[from] Finding),
    /// Something cannot be read, so that nothing is known about it.
    #[error("{0}")]
    Unreadable(String),
}

impl Stop {
    pub(crate) fn found<T>(level: Level, sentence: impl Into<String>) -> Result<T, Self> {
        Err(Finding { level, sentence: sentence.into() }.into())
    }
}

//! Signed notes (C2SP signed-note): a text and the signatures of named keys below it.
//!
//! Owns the encoding of notes and verifier keys, and the check of signatures. Must never hold a private key: the caller
//! makes signatures and passes them in.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, ML_DSA_44, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// The longest note accepted, in bytes: a checkpoint with a hundred signatures is smaller.
pub const MAX_NOTE_BYTES: usize = 1 << 20;
/// The largest number of signatures in one note. C2SP requires verifiers to accept at least 16.
const MAX_SIGNATURES: usize = 100;
/// The prefix of a signature line: U+2014 and a space.
const SIGNATURE_PREFIX: &str = "— ";

/// The algorithm of a key and the message that it signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// Ed25519 over the text of the note.
    Ed25519,
    /// Ed25519 over the text and a time (C2SP tlog-cosignature): the type of a witness.
    Cosignature,
    /// ML-DSA-44 over the checkpoint and a time (C2SP tlog-cosignature, subtree form).
    MlDsa44,
}

impl KeyType {
    /// The byte of the type in key ids and verifier keys.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::Cosignature => 0x04,
            Self::MlDsa44 => 0x06,
        }
    }

    fn of_byte(byte: u8) -> Option<Self> {
        [Self::Ed25519, Self::Cosignature, Self::MlDsa44].into_iter().find(|kind| kind.byte() == byte)
    }

    /// The size of a public key in bytes.
    fn public_key_bytes(self) -> usize {
        match self {
            Self::Ed25519 | Self::Cosignature => 32,
            Self::MlDsa44 => 1312,
        }
    }
}

/// The first four bytes of SHA-256 over name, line feed, type and public key.
pub type KeyId = [u8; 4];

/// A public key with its name (a vkey).
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    kind: KeyType,
    public_key: Vec<u8>,
}

/// The reason why a text is not a verifier key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The name is empty or holds a space, a plus sign or a line break.
    #[error("a key name must not be empty or hold spaces, line breaks or +")]
    Name,
    /// The text does not have the form of a verifier key.
    #[error("a verifier key has the form name+keyid+base64")]
    Form,
    /// The type is not known.
    #[error("the key type {0:#04x} is not known; known are 0x01, 0x04 and 0x06")]
    Type(u8),
    /// The public key has the wrong size.
    #[error("the public key has the wrong size for its type")]
    Size,
    /// The key id does not belong to the key.
    #[error("the key id does not belong to this name and key")]
    Id,
}

impl VerifierKey {
    /// Creates a key with this name.
    ///
    /// # Errors
    /// The name is not a key name, or the key does not have the size of its type.
    pub fn new(name: &str, kind: KeyType, public_key: &[u8]) -> Result<Self, KeyError> {
        if !is_key_name(name) {
            return Err(KeyError::Name);
        }
        if public_key.len() != kind.public_key_bytes() {
            return Err(KeyError::Size);
        }
        Ok(Self { name: name.to_owned(), kind, public_key: public_key.to_vec() })
    }

    /// The name of the key.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type of the key.
    #[must_use]
    pub fn kind(&self) -> KeyType {
        self.kind
    }

    /// The id of the key.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let hash = Sha256::new_with_prefix(self.name.as_bytes())
            .chain_update(b"\n")
            .chain_update([self.kind.byte()])
            .chain_update(&self.public_key)
            .finalize();
        let [a, b, c, d, ..]: [u8; 32] = hash.into();
        [a, b, c, d]
    }

    /// Whether this key made `signature` over `message`. The type of the key decides what the message contains.
    fn accepts(&self, message: &[u8], signature: &[u8]) -> bool {
        match self.kind {
            KeyType::Ed25519 | KeyType::Cosignature => {
                UnparsedPublicKey::new(&ED25519, &self.public_key).verify(message, signature).is_ok()
            }
            KeyType::MlDsa44 => UnparsedPublicKey::new(&ML_DSA_44, &self.public_key).verify(message, signature).is_ok(),
        }
    }
}

/// Whether `name` is a valid key name: not empty, without white space and `+`.
fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+')
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}+", self.name)?;
        for byte in self.id() {
            write!(out, "{byte:02x}")?;
        }
        let mut typed = vec![self.kind.byte()];
        typed.extend_from_slice(&self.public_key);
        write!(out, "+{}", STANDARD.encode(typed))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "VerifierKey({self})")
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut parts = text.trim_end_matches(['\r', '\n']).splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Form);
        };
        let key = STANDARD.decode(key).map_err(|_| KeyError::Form)?;
        let (byte, public_key) = key.split_first().ok_or(KeyError::Form)?;
        let kind = KeyType::of_byte(*byte).ok_or(KeyError::Type(*byte))?;
        let key = Self::new(name, kind, public_key)?;
        let named = id.len() == 8 && u32::from_str_radix(id, 16) == Ok(u32::from_be_bytes(key.id()));
        if named { Ok(key) } else { Err(KeyError::Id) }
    }
}

/// One signature line.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature {
    /// The name of the key.
    pub name: String,
    /// The id of the key.
    pub key_id: KeyId,
    /// The bytes after the key id. Their form depends on the type of the key.
    pub bytes: Vec<u8>,
}

impl Signature {
    /// Creates a signature line of this key.
    #[must_use]
    pub fn by(key: &VerifierKey, bytes: Vec<u8>) -> Self {
        Self { name: key.name.clone(), key_id: key.id(), bytes }
    }

    /// Reads one line, without its line feed.
    fn of_line(line: &str) -> Option<Self> {
        let (name, signature) = line.strip_prefix(SIGNATURE_PREFIX)?.split_once(' ')?;
        let signature = STANDARD.decode(signature).ok()?;
        let (key_id, bytes) = signature.split_first_chunk()?;
        let fits = is_key_name(name) && !bytes.is_empty();
        fits.then(|| Self { name: name.to_owned(), key_id: *key_id, bytes: bytes.to_vec() })
    }

    fn is_by(&self, key: &VerifierKey) -> bool {
        self.name == key.name && self.key_id == key.id()
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{SIGNATURE_PREFIX}{} {}", self.name, STANDARD.encode([&self.key_id[..], &self.bytes].concat()))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Signature({})", self.name)
    }
}

/// A text with signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The text that is signed; it ends with a line feed.
    pub text: String,
    /// The signatures, in their order.
    pub signatures: Vec<Signature>,
}

/// The reason why bytes are not a note with the required signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The bytes do not have the form of a signed note.
    #[error("this is not a signed note: {0}")]
    Form(&'static str),
    /// No signature is by this key.
    #[error("the note has no signature by {0}")]
    Unsigned(String),
    /// A signature names this key but is not its signature.
    #[error("the signature by {0} is wrong")]
    WrongSignature(String),
}

impl Note {
    /// Checks that `key` signed `message`. Returns the time that was signed, in Unix seconds; `None` for Ed25519, which
    /// signs no time.
    ///
    /// # Errors
    /// The note has no signature by this key, or the signature does not match.
    pub(super) fn verify(
        &self,
        key: &VerifierKey,
        message: impl FnOnce(Option<u64>) -> Vec<u8>,
    ) -> Result<Option<u64>, NoteError> {
        let signature = self.signatures.iter().find(|signature| signature.is_by(key));
        let signature = signature.ok_or_else(|| NoteError::Unsigned(key.name.clone()))?;
        let wrong = || NoteError::WrongSignature(key.name.clone());
        let (time, bytes) = match key.kind {
            KeyType::Ed25519 => (None, signature.bytes.as_slice()),
            KeyType::Cosignature | KeyType::MlDsa44 => {
                let (time, bytes) = signature.bytes.split_first_chunk().ok_or_else(wrong)?;
                (Some(u64::from_be_bytes(*time)), bytes)
            }
        };
        if key.accepts(&message(time), bytes) { Ok(time) } else { Err(wrong()) }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(out, "{signature}"))
    }
}

impl FromStr for Note {
    type Err = NoteError;

    fn from_str(note: &str) -> Result<Self, NoteError> {
        if note.len() > MAX_NOTE_BYTES {
            return Err(NoteError::Form("it is longer than 1 MiB"));
        }
        if note.contains(|c: char| c.is_ascii_control() && c != '\n') {
            return Err(NoteError::Form("it holds control characters"));
        }
        // The text may hold empty lines; the signatures do not.
        let (text, signatures) = note.rsplit_once("\n\n").ok_or(NoteError::Form("no empty line before signatures"))?;
        let signatures = signatures.strip_suffix('\n').ok_or(NoteError::Form("the last line does not end"))?;
        let signatures: Option<Vec<_>> = signatures.split('\n').map(Signature::of_line).collect();
        let signatures = signatures.ok_or(NoteError::Form("a signature line cannot be read"))?;
        if signatures.len() > MAX_SIGNATURES {
            return Err(NoteError::Form("it has more than 100 signatures"));
        }
        Ok(Self { text: format!("{text}\n"), signatures })
    }
}

//! The private keys that sign checkpoints of the ledger.
//!
//! Owns how a key is read from a setting, and what a signature looks like. Must never write a key into an error, a log
//! or a `Debug` text.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, ML_DSA_44_SIGNING, PqdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::domain::Incarnation;
use crate::ledger::checkpoint::{Checkpoint, CheckpointError};
use crate::ledger::note::{KeyError, KeyType, Note, Signature, VerifierKey};

/// The bytes of a signature of ML-DSA-44.
const ML_DSA_44_BYTES: usize = 2420;
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

/// How checkpoints are signed.
#[derive(Clone)]
pub struct LedgerSigning {
    /// The origin without the incarnation, for example `epr.example/ledger`.
    pub origin: String,
    /// The keys.
    pub keys: Arc<LedgerKeys>,
    /// The time between two checkpoints.
    pub interval: Duration,
}

impl fmt::Debug for LedgerSigning {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, interval, .. } = self;
        out.debug_struct("LedgerSigning").field("origin", origin).field("interval", interval).finish_non_exhaustive()
    }
}

impl LedgerSigning {
    /// The origin of an incarnation of the ledger, which is also the name of its keys.
    #[must_use]
    pub fn origin_of(&self, incarnation: Incarnation) -> String {
        format!("{}/{incarnation}", self.origin)
    }
}

/// The keys of the signer: Ed25519, and beside it ML-DSA-44 when configured.
pub struct LedgerKeys {
    ed25519: Ed25519KeyPair,
    ml_dsa: Option<PqdsaKeyPair>,
}

/// No checkpoint could be signed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The key library failed.
    #[error("the key could not sign")]
    Failed,
    /// The origin is not one.
    #[error(transparent)]
    Origin(#[from] CheckpointError),
    /// The origin is no key name.
    #[error(transparent)]
    Name(#[from] KeyError),
}

/// A private key as it was given.
enum Material {
    Seed([u8; 32]),
    Pkcs8(Vec<u8>),
}

impl LedgerKeys {
    /// Reads the values of `EPR_LEDGER_KEY` and `EPR_LEDGER_KEY_PQ`: each a PEM (PKCS #8), a seed of 32 bytes in hex or
    /// base64, or the path of a file with either.
    ///
    /// # Errors
    /// A sentence that does not show the value.
    pub fn read_ed25519(given: &str) -> Result<Self, String> {
        let wrong = |_| "it is not a private key of Ed25519".to_owned();
        let ed25519 = match material(given)? {
            Material::Seed(seed) => Ed25519KeyPair::from_seed_unchecked(&seed).map_err(wrong)?,
            Material::Pkcs8(der) => Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(wrong)?,
        };
        Ok(Self { ed25519, ml_dsa: None })
    }

    /// Adds a key of ML-DSA-44, read in the same way.
    ///
    /// # Errors
    /// A sentence that does not show the value.
    pub fn with_ml_dsa(self, given: &str) -> Result<Self, String> {
        let wrong = |_| "it is not a private key of ML-DSA-44".to_owned();
        let ml_dsa = match material(given)? {
            Material::Seed(seed) => PqdsaKeyPair::from_seed(&ML_DSA_44_SIGNING, &seed).map_err(wrong)?,
            Material::Pkcs8(der) => PqdsaKeyPair::from_pkcs8(&ML_DSA_44_SIGNING, &der).map_err(wrong)?,
        };
        Ok(Self { ml_dsa: Some(ml_dsa), ..self })
    }

    /// The public keys under the name `origin`.
    ///
    /// # Errors
    /// The origin is no key name.
    pub fn verifier_keys(&self, origin: &str) -> Result<Vec<VerifierKey>, KeyError> {
        let ed25519 = VerifierKey::new(origin, KeyType::Ed25519, self.ed25519.public_key().as_ref())?;
        let ml_dsa = self.ml_dsa.as_ref();
        let ml_dsa = ml_dsa.map(|pair| VerifierKey::new(origin, KeyType::MlDsa44, pair.public_key().as_ref()));
        std::iter::once(Ok(ed25519)).chain(ml_dsa).collect()
    }

    /// Signs a checkpoint with every key; `time` in Unix seconds, for the types that sign it.
    ///
    /// # Errors
    /// The origin is no key name, or a key could not sign.
    pub fn sign(&self, checkpoint: &Checkpoint, time: u64) -> Result<Note, SigningError> {
        let mut signatures = Vec::new();
        for key in self.verifier_keys(checkpoint.origin())? {
            let message = checkpoint.message(&key, time);
            let bytes = match (key.kind(), &self.ml_dsa) {
                (KeyType::MlDsa44, Some(pair)) => {
                    let mut bytes = time.to_be_bytes().to_vec();
                    let mut signature = vec![0; ML_DSA_44_BYTES];
                    let length = pair.sign(&message, &mut signature).map_err(|_| SigningError::Failed)?;
                    signature.truncate(length);
                    bytes.extend(signature);
                    bytes
                }
                _ => self.ed25519.sign(&message).as_ref().to_vec(),
            };
            signatures.push(Signature::by(&key, bytes));
        }
        Ok(Note { text: checkpoint.to_string(), signatures })
    }
}

/// Reads a key, or the file that holds it.
fn material(given: &str) -> Result<Material, String> {
    if given.starts_with("arn:") {
        return Err("keys in KMS are not supported; expected a PEM, a seed, or the path of a file".to_owned());
    }
    if let Some(material) = inline(given) {
        return material;
    }
    let text = std::fs::read_to_string(given).map_err(|error| format!("the file cannot be read: {error}"))?;
    inline(text.trim()).unwrap_or_else(|| Err("the file holds neither a PEM nor a seed of 32 bytes".to_owned()))
}

fn inline(given: &str) -> Option<Result<Material, String>> {
    if let Some((_, pem)) = given.split_once(PEM_BEGIN) {
        let body = pem.split_once(PEM_END).map(|(body, _)| body.replace("\\n", ""));
        let der = body.and_then(|body| STANDARD.decode(body.split_whitespace().collect::<String>()).ok());
        return Some(der.map(Material::Pkcs8).ok_or_else(|| "the PEM cannot be read".to_owned()));
    }
    let bytes = match given.len() {
        64 => from_hex(given)?,
        43 | 44 => STANDARD.decode(given).ok()?,
        _ => return None,
    };
    bytes.try_into().ok().map(|seed| Ok(Material::Seed(seed)))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, _) = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.iter().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn a_key_is_read_from_a_seed_a_pem_and_a_file_alike() {
        let expected = LedgerKeys::read_ed25519(SEED).unwrap().verifier_keys("epr.example").unwrap();
        let der = [
            &[0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20][..],
            &from_hex(SEED).unwrap(),
        ];
        let pem = format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", STANDARD.encode(der.concat()));
        let file = tempfile::NamedTempFile::new().unwrap();
        for text in [pem.clone(), pem.replace('\n', "\\n"), STANDARD.encode(from_hex(SEED).unwrap())] {
            std::fs::write(&file, &text).unwrap();
            let path = file.path().to_str().unwrap();
            for given in [text.as_str(), path] {
                assert_eq!(LedgerKeys::read_ed25519(given).unwrap().verifier_keys("epr.example").unwrap(), expected);
            }
        }
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        for given in ["arn:aws:kms:eu-central-1:1:key/2", "/no/such/file", &format!("{PEM_BEGIN}!{PEM_END}")] {
            let error = LedgerKeys::read_ed25519(given).err().unwrap();
            assert!(!error.contains(given), "{error}");
        }
        let ed25519 = LedgerKeys::read_ed25519(SEED).unwrap();
        assert!(ed25519.with_ml_dsa("/no/such/file").is_err());
    }

    #[test]
    fn every_configured_key_signs_what_its_verifier_key_accepts() {
        let keys = LedgerKeys::read_ed25519(SEED).unwrap().with_ml_dsa(&SEED.replace("00", "ff")).unwrap();
        let checkpoint = Checkpoint::new("epr.example/ledger/1", 7, [9; 32]).unwrap();
        let note: Note = keys.sign(&checkpoint, 1_800_000_000).unwrap().to_string().parse().unwrap();
        let [ed25519, ml_dsa] = keys.verifier_keys("epr.example/ledger/1").unwrap().try_into().unwrap();
        assert_eq!(Checkpoint::verified(&note, &ed25519), Ok((checkpoint.clone(), None)));
        assert_eq!(Checkpoint::verified(&note, &ml_dsa), Ok((checkpoint, Some(1_800_000_000))));
    }
}

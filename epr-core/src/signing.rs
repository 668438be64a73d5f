//! The private keys that sign checkpoints of the ledger.
//!
//! Owns how a key is read from a setting, and what a signature looks like. Must never write a key into an error, a log
//! or a `Debug` text, nor return a signature that the public key does not verify.

mod error;
#[cfg(feature = "publish")]
mod kms;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, ML_DSA_44_SIGNING, PqdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
#[cfg(feature = "publish")]
use kms::KmsKey;

pub use self::error::SigningError;
use crate::domain::Incarnation;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::note::{KeyType, Note, Signature, VerifierKey};
use crate::settings::AwsSettings;

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
pub struct LedgerKeys(Vec<SigningKey>);

/// One key.
enum SigningKey {
    Ed25519(Ed25519KeyPair),
    MlDsa44(PqdsaKeyPair),
    #[cfg(feature = "publish")]
    Kms(Box<KmsKey>),
}

/// A private key as it was given.
enum Material {
    Seed([u8; 32]),
    Pkcs8(Vec<u8>),
}

impl LedgerKeys {
    /// Reads the value of `EPR_LEDGER_KEY`: a PEM (PKCS #8), a seed of 32 bytes in hex or base64, the path of a file
    /// with either, or the ARN of a KMS key, which is called when it is first needed.
    ///
    /// # Errors
    /// A sentence that does not show the value.
    pub fn read_ed25519(given: &str, aws: &AwsSettings) -> Result<Self, String> {
        if let Some(key) = in_kms(given, KeyType::Ed25519, aws) {
            return key.map(|key| Self(vec![key]));
        }
        let wrong = |_| "it is not a private key of Ed25519".to_owned();
        let pair = match material(given)? {
            Material::Seed(seed) => Ed25519KeyPair::from_seed_unchecked(&seed).map_err(wrong)?,
            Material::Pkcs8(der) => Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(wrong)?,
        };
        Ok(Self(vec![SigningKey::Ed25519(pair)]))
    }

    /// Adds a key of ML-DSA-44, read in the same way from `EPR_LEDGER_KEY_PQ`.
    ///
    /// # Errors
    /// A sentence that does not show the value.
    pub fn with_ml_dsa(mut self, given: &str, aws: &AwsSettings) -> Result<Self, String> {
        let key = match in_kms(given, KeyType::MlDsa44, aws) {
            Some(key) => key?,
            None => {
                let wrong = |_| "it is not a private key of ML-DSA-44".to_owned();
                SigningKey::MlDsa44(match material(given)? {
                    Material::Seed(seed) => PqdsaKeyPair::from_seed(&ML_DSA_44_SIGNING, &seed).map_err(wrong)?,
                    Material::Pkcs8(der) => PqdsaKeyPair::from_pkcs8(&ML_DSA_44_SIGNING, &der).map_err(wrong)?,
                })
            }
        };
        self.0.push(key);
        Ok(self)
    }

    /// The public keys under the name `origin`. Keys in KMS are read there the first time.
    ///
    /// # Errors
    /// The origin is no key name, or KMS could not be asked.
    pub async fn verifier_keys(&self, origin: &str) -> Result<Vec<VerifierKey>, SigningError> {
        let mut keys = Vec::with_capacity(self.0.len());
        for key in &self.0 {
            keys.push(key.verifier_key(origin).await?);
        }
        Ok(keys)
    }

    /// Reads and checks the public keys that are in KMS.
    ///
    /// # Errors
    /// KMS could not be asked, or has another key than the setting needs.
    pub(crate) async fn check(&self) -> Result<(), SigningError> {
        #[cfg(feature = "publish")]
        for key in &self.0 {
            if let SigningKey::Kms(key) = key {
                key.public_key().await?;
            }
        }
        Ok(())
    }

    /// Signs a checkpoint with every key; `time` in Unix seconds, for the types that sign it.
    ///
    /// # Errors
    /// The origin is no key name, or a key could not sign.
    pub async fn sign(&self, checkpoint: &Checkpoint, time: u64) -> Result<Note, SigningError> {
        let mut note = Note { text: checkpoint.to_string(), signatures: Vec::new() };
        for key in &self.0 {
            let public = key.verifier_key(checkpoint.origin()).await?;
            let signature = key.sign(checkpoint.message(&public, time)).await?;
            let bytes = match public.kind() {
                KeyType::MlDsa44 => [time.to_be_bytes().to_vec(), signature].concat(),
                _ => signature,
            };
            note.signatures.push(Signature::by(&public, bytes));
            Checkpoint::verified(&note, &public).map_err(SigningError::Wrong)?;
        }
        Ok(note)
    }
}

impl SigningKey {
    async fn verifier_key(&self, origin: &str) -> Result<VerifierKey, SigningError> {
        Ok(match self {
            Self::Ed25519(pair) => VerifierKey::new(origin, KeyType::Ed25519, pair.public_key().as_ref()),
            Self::MlDsa44(pair) => VerifierKey::new(origin, KeyType::MlDsa44, pair.public_key().as_ref()),
            #[cfg(feature = "publish")]
            Self::Kms(key) => VerifierKey::new(origin, key.kind(), key.public_key().await?),
        }?)
    }

    async fn sign(&self, message: Vec<u8>) -> Result<Vec<u8>, SigningError> {
        match self {
            Self::Ed25519(pair) => Ok(pair.sign(&message).as_ref().to_vec()),
            Self::MlDsa44(pair) => {
                let mut signature = vec![0; ML_DSA_44_BYTES];
                let length = pair.sign(&message, &mut signature).map_err(|_| SigningError::Failed)?;
                signature.truncate(length);
                Ok(signature)
            }
            #[cfg(feature = "publish")]
            Self::Kms(key) => key.sign(message).await,
        }
    }
}

/// The key in KMS, if `given` is an ARN.
fn in_kms(given: &str, kind: KeyType, aws: &AwsSettings) -> Option<Result<SigningKey, String>> {
    if !given.starts_with("arn:") {
        return None;
    }
    #[cfg(feature = "publish")]
    return Some(KmsKey::parse(given, kind, aws).map(|key| SigningKey::Kms(Box::new(key))));
    #[cfg(not(feature = "publish"))]
    {
        let _ = (kind, aws);
        Some(Err("keys in KMS need the feature `publish` of epr-core, which this build does not have".to_owned()))
    }
}

/// Reads a key, or the file that holds it.
fn material(given: &str) -> Result<Material, String> {
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
    use crate::settings::{Settings, Source};

    const SEED: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn aws() -> AwsSettings {
        Settings::from_source(&Source::of([])).unwrap().aws
    }

    async fn ed25519(given: &str) -> Vec<VerifierKey> {
        LedgerKeys::read_ed25519(given, &aws()).unwrap().verifier_keys("epr.example").await.unwrap()
    }

    #[tokio::test]
    async fn a_key_is_read_from_a_seed_a_pem_and_a_file_alike() {
        let expected = ed25519(SEED).await;
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
                assert_eq!(ed25519(given).await, expected);
            }
        }
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        for given in ["arn:aws:kms:eu-central-1:1:alias/2", "/no/such/file", &format!("{PEM_BEGIN}!{PEM_END}")] {
            let error = LedgerKeys::read_ed25519(given, &aws()).err().unwrap();
            assert!(!error.contains(given), "{error}");
        }
        let ed25519 = LedgerKeys::read_ed25519(SEED, &aws()).unwrap();
        assert!(ed25519.with_ml_dsa("/no/such/file", &aws()).is_err());
    }

    #[tokio::test]
    async fn every_configured_key_signs_what_its_verifier_key_accepts() {
        let keys = LedgerKeys::read_ed25519(SEED, &aws()).unwrap();
        let keys = keys.with_ml_dsa(&SEED.replace("00", "ff"), &aws()).unwrap();
        let checkpoint = Checkpoint::new("epr.example/ledger/1", 7, [9; 32]).unwrap();
        let note: Note = keys.sign(&checkpoint, 1_800_000_000).await.unwrap().to_string().parse().unwrap();
        let [ed25519, ml_dsa] = keys.verifier_keys("epr.example/ledger/1").await.unwrap().try_into().unwrap();
        assert_eq!(Checkpoint::verified(&note, &ed25519), Ok((checkpoint.clone(), None)));
        assert_eq!(Checkpoint::verified(&note, &ml_dsa), Ok((checkpoint, Some(1_800_000_000))));
    }
}

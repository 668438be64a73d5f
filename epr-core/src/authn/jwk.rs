//! The issuer's public keys (RFC 7517). Pure.
//!
//! A key is used only for the purpose that it states and with the algorithms of its type. A set never holds a secret.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{DecodingKey, jwk};

use super::CredentialError;
use super::algorithm::Algorithm;

/// Maximum number of keys in one set.
const MAX_KEYS: usize = 100;

/// The keys of one issuer that can verify signatures.
#[derive(Default)]
pub(super) struct KeySet(Vec<Key>);

/// One public key.
struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    public: DecodingKey,
}

/// Why a document is not a set of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeySetError {
    #[error("it is not a JSON object with a list `keys`")]
    Form,
    #[error("it holds more than {MAX_KEYS} keys")]
    TooMany,
    #[error("none of its {0} keys can verify a signature")]
    NoneUsable(usize),
}

#[derive(serde::Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// Reads a set. Keys of other kinds or for other uses are left out, as RFC 7517 requires.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, KeySetError> {
        let document: Document = serde_json::from_slice(bytes).map_err(|_| KeySetError::Form)?;
        let given = document.keys.len();
        if given > MAX_KEYS {
            return Err(KeySetError::TooMany);
        }
        let keys: Vec<_> = document.keys.into_iter().filter_map(Key::read).collect();
        if keys.is_empty() {
            return Err(KeySetError::NoneUsable(given));
        }
        Ok(Self(keys))
    }

    /// The key with this id, if it works with `algorithm`. For a token that names no key, the only key of the set.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<&DecodingKey, CredentialError> {
        let named: Vec<_> = match (id, self.0.as_slice()) {
            (Some(id), keys) => keys.iter().filter(|key| key.id.as_deref() == Some(id)).collect(),
            (None, [only]) => vec![only],
            (None, _) => Vec::new(),
        };
        if named.is_empty() {
            return Err(CredentialError::UnknownKey);
        }
        let fitting = named.into_iter().find(|key| key.algorithms.contains(&algorithm));
        fitting.map(|key| &key.public).ok_or(CredentialError::Algorithm)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Key {
    fn read(value: serde_json::Value) -> Option<Self> {
        let key: Jwk = serde_json::from_value(value).ok()?;
        let common = &key.common;
        if common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
            return None;
        }
        if common.key_operations.as_ref().is_some_and(|listed| !listed.contains(&KeyOperations::Verify)) {
            return None;
        }
        let by_type: &[Algorithm] = match &key.algorithm {
            AlgorithmParameters::RSA(_) => &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
            AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
                EllipticCurve::P256 => &[Algorithm::ES256],
                EllipticCurve::P384 => &[Algorithm::ES384],
                _ => &[],
            },
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
            // Among them `oct`: a public set must not hold a shared secret.
            _ => &[],
        };
        let stated = common.key_algorithm;
        let is_stated = |one: &&Algorithm| stated.is_none_or(|stated| stated == jwk::KeyAlgorithm::from(one.jose()));
        let algorithms: Vec<_> = by_type.iter().filter(is_stated).copied().collect();
        if algorithms.is_empty() {
            return None;
        }
        let public = DecodingKey::from_jwk(&key).ok()?;
        Some(Self { id: key.common.key_id, algorithms, public })
    }
}

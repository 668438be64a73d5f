//! The issuer's public keys (RFC 7517). Pure.
//!
//! A key is used for what it says it is for and by the algorithms that its type has; a set never holds a secret.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{DecodingKey, jwk};

use super::Reason;
use super::jwt::Algorithm;

/// Most keys in one set.
const MOST: usize = 100;

/// The keys of one issuer that signatures can be held against.
#[derive(Default)]
pub(super) struct KeySet(Vec<Key>);

/// One public key.
struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    public: DecodingKey,
}

/// Why a document is no set of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeySetFault {
    #[error("it is not a JSON object with a list `keys`")]
    Form,
    #[error("it holds more than {MOST} keys")]
    TooMany,
    #[error("none of its {0} keys can verify a signature")]
    NoneUsable(usize),
}

#[derive(serde::Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// Reads a set. Keys of other kinds or for other uses are left out, as RFC 7517 wants it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, KeySetFault> {
        let document: Document = serde_json::from_slice(bytes).map_err(|_| KeySetFault::Form)?;
        let given = document.keys.len();
        if given > MOST {
            return Err(KeySetFault::TooMany);
        }
        let keys: Vec<_> = document.keys.into_iter().filter_map(Key::read).collect();
        if keys.is_empty() {
            return Err(KeySetFault::NoneUsable(given));
        }
        Ok(Self(keys))
    }

    /// The key of this id that `algorithm` can be used with; for a token that names none, the only one there is.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<&DecodingKey, Reason> {
        let named: Vec<_> = match (id, self.0.as_slice()) {
            (Some(id), keys) => keys.iter().filter(|key| key.id.as_deref() == Some(id)).collect(),
            (None, [only]) => vec![only],
            (None, _) => Vec::new(),
        };
        if named.is_empty() {
            return Err(Reason::UnknownKey);
        }
        let fitting = named.into_iter().find(|key| key.algorithms.contains(&algorithm));
        fitting.map(|key| &key.public).ok_or(Reason::Algorithm)
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
            // Among them `oct`: a shared secret has no business in a public set.
            _ => &[],
        };
        let stated = common.key_algorithm;
        let fits = |one: &&Algorithm| stated.is_none_or(|stated| stated == jwk::KeyAlgorithm::from(one.jose()));
        let algorithms: Vec<_> = by_type.iter().filter(fits).copied().collect();
        if algorithms.is_empty() {
            return None;
        }
        let public = DecodingKey::from_jwk(&key).ok()?;
        Some(Self { id: key.common.key_id, algorithms, public })
    }
}

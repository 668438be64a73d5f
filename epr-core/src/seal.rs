//! Sealing of personal fields for the ledger: AES-256-GCM under a key of each principal.
//!
//! Owns the exact bytes of `details.sealed`, which docs/PRINCIPALS.md describes. The ledger keeps what is sealed for
//! good; destroying the key erases it. Must never write a key or a personal field into an error or a log.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use uuid::Uuid;

use crate::domain::json::object;
use crate::domain::principal::PERSONAL_FIELDS;
use crate::domain::{Json, JsonObject, Timestamp};
use crate::ledger::canonical;

/// The bytes of a key.
pub const KEY_BYTES: usize = 32;

/// The version of the form, which is a part of the associated data.
const FORM: &str = "epr-sealed-v1";

/// The key of one principal. Its bytes are shown by no format.
#[derive(Clone, PartialEq, Eq)]
pub struct PrincipalKey([u8; KEY_BYTES]);

/// The place of sealed fields in the ledger. What is sealed for one place cannot be opened at another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedPlace<'a> {
    /// The action of the entry, for example `principal.create`.
    pub action: &'a str,
    /// The time of the entry.
    pub occurred_at: Timestamp,
    /// The type of the principal.
    pub principal_type: &'a str,
    /// The id of the principal.
    pub principal_id: Uuid,
}

/// The operating system returned no random bytes, or the cipher refused its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The operating system returned no random bytes.
    #[error("the operating system returned no random bytes for a key or a nonce")]
    NoRandomness,
    /// The cipher refused to seal.
    #[error("AES-256-GCM refused to seal {bytes} bytes")]
    Cipher {
        /// The bytes of the plaintext.
        bytes: usize,
    },
    /// The text is not what this key sealed for this place.
    #[error("the sealed fields cannot be opened: another key or place, or altered text")]
    Unopened,
}

impl PrincipalKey {
    /// A new random key.
    ///
    /// # Errors
    /// `NoRandomness`.
    pub fn generate() -> Result<Self, SealError> {
        random().map(Self)
    }

    /// A stored key; `None` unless it has [`KEY_BYTES`] bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes, for the table of keys.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM, &self.0).ok().map(LessSafeKey::new)
    }
}

impl std::fmt::Debug for PrincipalKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("PrincipalKey(…)")
    }
}

/// Seals `fields` for `place`: base64 of the nonce, the ciphertext of their canonical JSON, and the tag.
///
/// # Errors
/// `NoRandomness`, `Cipher`.
pub fn seal(key: &PrincipalKey, place: &SealedPlace<'_>, fields: &JsonObject) -> Result<String, SealError> {
    seal_with(key, random()?, place, fields)
}

fn seal_with(
    key: &PrincipalKey,
    nonce: [u8; NONCE_LEN],
    place: &SealedPlace<'_>,
    fields: &JsonObject,
) -> Result<String, SealError> {
    let mut text = canonical::text_of(&Json::Object(fields.clone())).into_bytes();
    let refused = SealError::Cipher { bytes: text.len() };
    let cipher = key.cipher().ok_or(refused)?;
    let bound = Aad::from(associated_data(place));
    cipher.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound, &mut text).map_err(|_| refused)?;
    Ok(STANDARD.encode([&nonce[..], &text].concat()))
}

/// Opens what [`seal`] returned for the same key and place.
///
/// # Errors
/// `Unopened`.
pub fn unseal(key: &PrincipalKey, place: &SealedPlace<'_>, sealed: &str) -> Result<JsonObject, SealError> {
    open(key, place, sealed).ok_or(SealError::Unopened)
}

fn open(key: &PrincipalKey, place: &SealedPlace<'_>, sealed: &str) -> Option<JsonObject> {
    let bytes = STANDARD.decode(sealed).ok()?;
    let (nonce, text) = bytes.split_first_chunk::<NONCE_LEN>()?;
    let mut text = text.to_vec();
    let bound = Aad::from(associated_data(place));
    let plain = key.cipher()?.open_in_place(Nonce::assume_unique_for_key(*nonce), bound, &mut text).ok()?;
    match Json::parse(plain).ok()? {
        Json::Object(fields) => Some(fields),
        _ => None,
    }
}

/// The bytes that the seal authenticates besides the fields: canonical JSON of the place.
fn associated_data(place: &SealedPlace<'_>) -> Vec<u8> {
    let mut moment = String::new();
    canonical::moment(place.occurred_at, &mut moment);
    let members = object([
        ("action", place.action.into()),
        ("form", FORM.into()),
        ("occurred_at", moment.into()),
        ("principal_id", place.principal_id.into()),
        ("principal_type", place.principal_type.into()),
    ]);
    canonical::text_of(&members.into()).into_bytes()
}

/// Splits `members` into those that may be in the ledger as they are, and the personal ones.
#[must_use]
pub(crate) fn split_personal(members: JsonObject) -> (JsonObject, JsonObject) {
    let (personal, open): (Vec<_>, Vec<_>) =
        members.into_iter().partition(|(name, _)| PERSONAL_FIELDS.contains(&name.as_str()));
    (open.into_iter().collect(), personal.into_iter().collect())
}

fn random<const BYTES: usize>() -> Result<[u8; BYTES], SealError> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|_| SealError::NoRandomness)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> SealedPlace<'static> {
        SealedPlace {
            action: "principal.create",
            occurred_at: Timestamp::parse("2026-01-31T09:30:00.000250Z").unwrap(),
            principal_type: "user",
            principal_id: Uuid::from_u128(0x7b0c_9f52_6a0e_4a5e_9a55_0c6a_2f3f_8a11),
        }
    }

    fn fields() -> JsonObject {
        object([("display_name", "Åda".into()), ("external_id", "auth0|17".into())])
    }

    #[test]
    fn what_was_sealed_opens_with_its_key_at_its_place_only() {
        let key = PrincipalKey::generate().unwrap();
        let sealed = seal(&key, &place(), &fields()).unwrap();
        assert_eq!(unseal(&key, &place(), &sealed), Ok(fields()));
        let others = [
            SealedPlace { action: "principal.update", ..place() },
            SealedPlace { occurred_at: place().occurred_at.plus_seconds(1), ..place() },
            SealedPlace { principal_type: "service", ..place() },
            SealedPlace { principal_id: Uuid::from_u128(1), ..place() },
        ];
        for other in others {
            assert_eq!(unseal(&key, &other, &sealed), Err(SealError::Unopened), "{other:?}");
        }
        assert_eq!(unseal(&PrincipalKey::generate().unwrap(), &place(), &sealed), Err(SealError::Unopened));
        for (at, _) in sealed.char_indices() {
            let mut altered = sealed.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            // The last character holds bits that are no part of the text.
            assert!(unseal(&key, &place(), &altered).is_err() || STANDARD.decode(&altered) == STANDARD.decode(&sealed));
        }
        assert_ne!(seal(&key, &place(), &fields()), Ok(sealed), "a nonce is never used twice");
    }

    /// The example of docs/PRINCIPALS.md.
    #[test]
    fn the_documented_vector_is_what_is_sealed() {
        let key = PrincipalKey::from_bytes(&std::array::from_fn::<u8, 32, _>(|at| u8::try_from(at).unwrap())).unwrap();
        let nonce = std::array::from_fn(|at| u8::try_from(0xa0 + at).unwrap());
        let sealed = seal_with(&key, nonce, &place(), &fields()).unwrap();
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/PRINCIPALS.md");
        let page = std::fs::read_to_string(page).unwrap();
        assert!(page.contains(&sealed), "docs/PRINCIPALS.md lacks {sealed}");
        let bound = String::from_utf8(associated_data(&place())).unwrap();
        assert!(page.contains(&bound), "docs/PRINCIPALS.md lacks {bound}");
    }

    #[test]
    fn a_key_shows_no_byte() {
        let key = PrincipalKey::from_bytes(&[0x41; KEY_BYTES]).unwrap();
        assert_eq!(format!("{key:?}"), "PrincipalKey(…)");
        assert_eq!(PrincipalKey::from_bytes(&[0; 31]), None);
    }
}

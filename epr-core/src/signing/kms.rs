//! A key of AWS KMS that signs checkpoints: its private part never leaves KMS.
//!
//! Owns the calls to KMS and what they may answer. Must never sign with a key of another kind than the setting needs.

use std::time::Duration;

use aws_sdk_kms::Client;
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{KeySpec, KeyUsageType, MessageType, SigningAlgorithmSpec};
use tokio::sync::OnceCell;

use super::error::SigningError;
use crate::ledger::note::KeyType;
use crate::publish::aws_error::describe;
use crate::settings::AwsSettings;

/// The deadline of one attempt of a call.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// The deadline of a call with its retries.
const CALL_TIMEOUT: Duration = Duration::from_secs(8);
/// Attempts of a call, the first one included.
const MAX_ATTEMPTS: u32 = 3;

/// A public key of Ed25519 as KMS returns it (`SubjectPublicKeyInfo`), up to the 32 bytes of the key.
const ED25519_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// A public key of ML-DSA-44 in the same form, up to the 1,312 bytes of the key.
const ML_DSA_44_PREFIX: [u8; 22] = [
    0x30, 0x82, 0x05, 0x32, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x11, 0x03, 0x82,
    0x05, 0x21, 0x00,
];

/// A key in KMS.
pub(super) struct KmsKey {
    arn: String,
    kind: KeyType,
    aws: AwsSettings,
    client: OnceCell<Client>,
    /// Read and checked once: the key of an ARN never changes.
    public_key: OnceCell<Vec<u8>>,
}

impl KmsKey {
    /// The key with this ARN; nothing is called yet.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the ARN.
    pub(super) fn parse(arn: &str, kind: KeyType, aws: &AwsSettings) -> Result<Self, String> {
        let parts: Vec<&str> = arn.split(':').collect();
        let ["arn", _, "kms", region, account, resource] = parts.as_slice() else {
            return Err("expected the ARN of a KMS key, arn:aws:kms:REGION:ACCOUNT:key/ID".to_owned());
        };
        if resource.starts_with("alias/") {
            return Err("expected the ARN of a KMS key; an alias can name another key tomorrow".to_owned());
        }
        let has_id = resource.strip_prefix("key/").is_some_and(|id| !id.is_empty());
        if region.is_empty() || account.is_empty() || !has_id {
            return Err("expected the ARN of a KMS key, arn:aws:kms:REGION:ACCOUNT:key/ID".to_owned());
        }
        let (client, public_key) = (OnceCell::new(), OnceCell::new());
        Ok(Self { arn: arn.to_owned(), kind, aws: aws.clone(), client, public_key })
    }

    pub(super) fn kind(&self) -> KeyType {
        self.kind
    }

    async fn client(&self) -> &Client {
        let open = async || {
            let timeouts = TimeoutConfig::builder()
                .connect_timeout(ATTEMPT_TIMEOUT)
                .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                .operation_timeout(CALL_TIMEOUT);
            let shared = self.aws.load(&self.arn, self.aws.kms_endpoint.as_deref()).await;
            let config = aws_sdk_kms::config::Builder::from(&shared)
                .timeout_config(timeouts.build())
                .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
                .build();
            Client::from_conf(config)
        };
        self.client.get_or_init(open).await
    }

    fn failed(&self, why: impl Into<String>) -> SigningError {
        SigningError::Kms { arn: self.arn.clone(), why: why.into() }
    }

    /// What KMS calls the kind of this key, and how it signs.
    fn names(&self) -> (KeySpec, SigningAlgorithmSpec) {
        match self.kind {
            KeyType::MlDsa44 => (KeySpec::MlDsa44, SigningAlgorithmSpec::MlDsaShake256),
            // No other kind is parsed.
            KeyType::Ed25519 | KeyType::Cosignature => {
                (KeySpec::EccNistEdwards25519, SigningAlgorithmSpec::Ed25519Sha512)
            }
        }
    }

    /// The public key. It is read from KMS once.
    ///
    /// # Errors
    /// KMS cannot be reached or refuses, or the key is not of the kind that the setting needs.
    pub(super) async fn public_key(&self) -> Result<&[u8], SigningError> {
        self.public_key.get_or_try_init(|| self.read_public_key()).await.map(Vec::as_slice)
    }

    async fn read_public_key(&self) -> Result<Vec<u8>, SigningError> {
        let call = self.client().await.get_public_key().key_id(&self.arn);
        let answer = call.send().await.map_err(|error| self.failed(describe(&error)))?;
        let (spec, _) = self.names();
        let found = answer.key_spec();
        if found != Some(&spec) || answer.key_usage() != Some(&KeyUsageType::SignVerify) {
            let found = found.map_or("unknown", KeySpec::as_str);
            return Err(self.failed(format!("its key spec is {found}; expected {spec} for SIGN_VERIFY")));
        }
        let der = answer.public_key().map(Blob::as_ref).unwrap_or_default();
        let (prefix, length): (&[u8], usize) = match self.kind {
            KeyType::MlDsa44 => (&ML_DSA_44_PREFIX, 1312),
            KeyType::Ed25519 | KeyType::Cosignature => (&ED25519_PREFIX, 32),
        };
        let key = der.strip_prefix(prefix).filter(|key| key.len() == length);
        key.map(<[u8]>::to_vec).ok_or_else(|| self.failed("its public key has an unknown form"))
    }

    /// The signature of `message`, which has at most 4,096 bytes.
    ///
    /// # Errors
    /// KMS cannot be reached or refuses.
    pub(super) async fn sign(&self, message: Vec<u8>) -> Result<Vec<u8>, SigningError> {
        let (_, algorithm) = self.names();
        let call = self.client().await.sign().key_id(&self.arn).message(Blob::new(message));
        let call = call.message_type(MessageType::Raw).signing_algorithm(algorithm);
        let answer = call.send().await.map_err(|error| self.failed(describe(&error)))?;
        let signature = answer.signature.ok_or_else(|| self.failed("KMS returned no signature"))?;
        Ok(signature.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, ML_DSA_44_SIGNING, PqdsaKeyPair};

    use super::*;
    use crate::settings::{Settings, Source};

    #[test]
    fn the_forms_of_public_keys_are_those_that_a_library_writes() {
        let ed25519 = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let ml_dsa = PqdsaKeyPair::from_seed(&ML_DSA_44_SIGNING, &[7; 32]).unwrap();
        let der: PublicKeyX509Der<'_> = ed25519.public_key().as_der().unwrap();
        assert_eq!(der.as_ref(), [&ED25519_PREFIX, ed25519.public_key().as_ref()].concat());
        let der: PublicKeyX509Der<'_> = ml_dsa.public_key().as_der().unwrap();
        assert_eq!(der.as_ref(), [&ML_DSA_44_PREFIX, ml_dsa.public_key().as_ref()].concat());
        assert_eq!(ml_dsa.public_key().as_ref().len(), 1312);
    }

    #[test]
    fn only_the_arn_of_a_key_is_accepted() {
        let aws = Settings::from_source(&Source::of([])).unwrap().aws;
        let parse = |arn: &str| KmsKey::parse(arn, KeyType::Ed25519, &aws).map(|_| ());
        assert_eq!(parse("arn:aws:kms:eu-central-1:123456789012:key/0198"), Ok(()));
        assert_eq!(parse("arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/mrk-0198"), Ok(()));
        for (arn, why) in [
            ("arn:aws:kms:eu-central-1:123456789012:alias/ledger", "an alias can name another key"),
            ("arn:aws:kms:eu-central-1:123456789012:key/", "expected the ARN of a KMS key"),
            ("arn:aws:kms::123456789012:key/0198", "expected the ARN of a KMS key"),
            ("arn:aws:sns:eu-central-1:123456789012:key/0198", "expected the ARN of a KMS key"),
            ("arn:aws:kms", "expected the ARN of a KMS key"),
        ] {
            let error = parse(arn).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}

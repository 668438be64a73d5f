//! How AWS is reached. What is not set here is the usual chain's (profile, container, instance).

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sns::config::Credentials;
use secrecy::{ExposeSecret as _, SecretString};

use super::source::Reader;

/// `AWS_REGION`, `AWS_DEFAULT_REGION`, `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_SNS`, `AWS_ENDPOINT_URL_SQS`, and the
/// credentials that may stand in a `.env` file, where the SDK does not look.
#[derive(Debug, Clone)]
pub struct AwsSettings {
    /// The region.
    pub region: String,
    /// Another endpoint for SNS.
    pub sns_endpoint: Option<String>,
    /// Another endpoint for SQS.
    pub sqs_endpoint: Option<String>,
    keys: Option<Keys>,
}

#[derive(Debug, Clone)]
struct Keys {
    id: String,
    secret: SecretString,
    session: Option<SecretString>,
}

impl AwsSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let optional =
            |reader: &mut Reader<'_>, name: &str| Some(reader.text(name, "")).filter(|text| !text.is_empty());
        let endpoint = optional(reader, "AWS_ENDPOINT_URL");
        let default_region = reader.text("AWS_DEFAULT_REGION", "us-east-1");
        let id = optional(reader, "AWS_ACCESS_KEY_ID");
        let secret = optional(reader, "AWS_SECRET_ACCESS_KEY");
        let session = optional(reader, "AWS_SESSION_TOKEN");
        Self {
            region: reader.text("AWS_REGION", &default_region),
            sns_endpoint: optional(reader, "AWS_ENDPOINT_URL_SNS").or_else(|| endpoint.clone()),
            sqs_endpoint: optional(reader, "AWS_ENDPOINT_URL_SQS").or(endpoint),
            keys: id.zip(secret).map(|(id, secret)| Keys {
                id,
                secret: secret.into(),
                session: session.map(Into::into),
            }),
        }
    }

    /// The SDK's own configuration, with this on top.
    pub async fn load(&self, endpoint: Option<&str>) -> SdkConfig {
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).region(Region::new(self.region.clone()));
        if let Some(endpoint) = endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(Keys { id, secret, session }) = &self.keys {
            let session = session.as_ref().map(|session| session.expose_secret().to_owned());
            let keys = Credentials::new(id, secret.expose_secret(), session, None, "environment");
            loader = loader.credentials_provider(keys);
        }
        loader.load().await
    }
}

//! How AWS is reached. What is not set here is the usual chain's (profile, container, instance).

use std::fmt;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sns::config::Credentials;

use super::source::Reader;

/// `AWS_REGION`, `AWS_DEFAULT_REGION`, `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_SNS`, `AWS_ENDPOINT_URL_SQS`, and the
/// credentials that may stand in a `.env` file, where the SDK does not look.
#[derive(Clone)]
pub struct AwsSettings {
    /// The region.
    pub region: String,
    /// Another endpoint for SNS.
    pub sns_endpoint: Option<String>,
    /// Another endpoint for SQS.
    pub sqs_endpoint: Option<String>,
    keys: Option<Keys>,
}

#[derive(Clone)]
struct Keys {
    id: String,
    secret: String,
    session: Option<String>,
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
            keys: id.zip(secret).map(|(id, secret)| Keys { id, secret, session }),
        }
    }

    /// The SDK's own configuration, with this on top.
    pub async fn load(&self, endpoint: Option<&str>) -> SdkConfig {
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).region(Region::new(self.region.clone()));
        if let Some(endpoint) = endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(Keys { id, secret, session }) = &self.keys {
            loader = loader.credentials_provider(Credentials::new(id, secret, session.clone(), None, "environment"));
        }
        loader.load().await
    }
}

impl fmt::Debug for AwsSettings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { region, sns_endpoint, sqs_endpoint, keys } = self;
        let keys = keys.as_ref().map(|_| "***");
        out.debug_struct("AwsSettings")
            .field("region", region)
            .field("sns_endpoint", sns_endpoint)
            .field("sqs_endpoint", sqs_endpoint)
            .field("keys", &keys)
            .finish()
    }
}

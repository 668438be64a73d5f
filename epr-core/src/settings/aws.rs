//! AWS: regions, endpoints and credentials. What is not set here comes from the SDK's default chain (profile,
//! container, instance).

#[cfg(feature = "sns")]
use aws_config::{BehaviorVersion, Region, SdkConfig};
#[cfg(feature = "sns")]
use aws_sdk_sns::config::Credentials;
#[cfg(feature = "sns")]
use secrecy::ExposeSecret as _;
use secrecy::SecretString;

use super::reader::Reader;
use super::variable::{Section, Variable};

const REGION: Variable = Variable::optional(
    "AWS_REGION",
    "a region",
    "Region of resources that name none. The region in the ARN of a topic or a key, or in a queue's URL, wins.",
);
const DEFAULT_REGION: Variable =
    Variable::text("AWS_DEFAULT_REGION", "us-east-1", "a region", "The region where `AWS_REGION` is not set.");
const ENDPOINT: Variable =
    Variable::optional("AWS_ENDPOINT_URL", "a URL", "Another endpoint than AWS's own, for all services.");
const SNS_ENDPOINT: Variable = Variable::optional("AWS_ENDPOINT_URL_SNS", "a URL", "Another endpoint for SNS.");
const SQS_ENDPOINT: Variable = Variable::optional("AWS_ENDPOINT_URL_SQS", "a URL", "Another endpoint for SQS.");
#[cfg(feature = "publish")]
const S3_ENDPOINT: Variable = Variable::optional("AWS_ENDPOINT_URL_S3", "a URL", "Another endpoint for S3.");
#[cfg(feature = "publish")]
const KMS_ENDPOINT: Variable = Variable::optional("AWS_ENDPOINT_URL_KMS", "a URL", "Another endpoint for KMS.");
const KEY_ID: Variable = Variable::optional(
    "AWS_ACCESS_KEY_ID",
    "an access key's id",
    "Credentials. Read here because `.env` may hold them, where the SDK does not look; without them, the SDK's \
     default chain.",
)
.secret();
const SECRET: Variable =
    Variable::optional("AWS_SECRET_ACCESS_KEY", "an access key's secret", "The secret of the access key.").secret();
const SESSION: Variable =
    Variable::optional("AWS_SESSION_TOKEN", "a session token", "The session token of temporary credentials.").secret();

pub(super) const SECTION: Section = Section {
    title: "AWS",
    variables: &[
        REGION,
        DEFAULT_REGION,
        ENDPOINT,
        SNS_ENDPOINT,
        SQS_ENDPOINT,
        #[cfg(feature = "publish")]
        S3_ENDPOINT,
        #[cfg(feature = "publish")]
        KMS_ENDPOINT,
        KEY_ID,
        SECRET,
        SESSION,
    ],
};

/// The region, endpoints and keys of calls to AWS.
#[derive(Debug, Clone)]
pub struct AwsSettings {
    /// Region of resources that name none.
    pub region: String,
    /// The variable that the region comes from; `None` when it is the default.
    region_variable: Option<&'static str>,
    /// Another endpoint for SNS.
    pub sns_endpoint: Option<String>,
    /// Another endpoint for SQS.
    pub sqs_endpoint: Option<String>,
    /// Another endpoint for S3.
    #[cfg(feature = "publish")]
    pub s3_endpoint: Option<String>,
    /// Another endpoint for KMS.
    #[cfg(feature = "publish")]
    pub kms_endpoint: Option<String>,
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
        let endpoint = reader.optional_text(&ENDPOINT);
        let default_region = reader.text(&DEFAULT_REGION);
        let id = reader.optional_text(&KEY_ID);
        let secret = reader.optional_text(&SECRET);
        let session = reader.optional_text(&SESSION);
        let region = reader.optional_text(&REGION).unwrap_or(default_region);
        let region_variable = [REGION, DEFAULT_REGION].into_iter().find(|variable| reader.is_set(variable));
        Self {
            region,
            region_variable: region_variable.map(|variable| variable.name),
            sns_endpoint: reader.optional_text(&SNS_ENDPOINT).or_else(|| endpoint.clone()),
            #[cfg(feature = "publish")]
            s3_endpoint: reader.optional_text(&S3_ENDPOINT).or_else(|| endpoint.clone()),
            #[cfg(feature = "publish")]
            kms_endpoint: reader.optional_text(&KMS_ENDPOINT).or_else(|| endpoint.clone()),
            sqs_endpoint: reader.optional_text(&SQS_ENDPOINT).or(endpoint),
            keys: id.zip(secret).map(|(id, secret)| Keys {
                id,
                secret: secret.into(),
                session: session.map(Into::into),
            }),
        }
    }

    /// The region that `resource`, an ARN or the URL of a queue, names; if it names none, the configured one. The
    /// endpoint of another region answers that the resource does not exist.
    #[must_use]
    pub fn region_of<'a>(&'a self, resource: &'a str) -> &'a str {
        named_region(resource).unwrap_or(&self.region)
    }

    /// The SDK's configuration for calls about `resource`, with these settings on top.
    #[cfg(feature = "sns")]
    pub async fn load(&self, resource: &str, endpoint: Option<&str>) -> SdkConfig {
        let region = self.region_of(resource);
        if let Some(variable) = self.region_variable.filter(|_| region != self.region) {
            tracing::warn!(resource, region, variable, configured = self.region, "aws_region_of_resource_used");
        }
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).region(Region::new(region.to_owned()));
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

/// The region in an ARN (`arn:aws:sns:eu-central-1:…`) or in the host of a queue's URL
/// (`sqs.eu-central-1.amazonaws.com`, and the older `eu-central-1.queue.amazonaws.com`; also behind the names of an
/// interface endpoint).
fn named_region(resource: &str) -> Option<&str> {
    if let Some(arn) = resource.strip_prefix("arn:") {
        return arn.split(':').nth(2).filter(|region| is_region(region));
    }
    let (_, rest) = resource.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?.split(':').next()?;
    if host == "queue.amazonaws.com" {
        return Some("us-east-1");
    }
    let labels: Vec<&str> = host.split('.').collect();
    labels.windows(2).find_map(|pair| match pair {
        ["sqs" | "sqs-fips", region] | [region, "queue"] if is_region(region) => Some(*region),
        _ => None,
    })
}

/// `eu-central-1`, `us-gov-west-1`: words and a number.
fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [words @ .., number] = parts.as_slice() else { return false };
    let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    words.len() >= 2 && words.iter().all(is_word) && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::named_region;

    #[test]
    fn resources_name_their_region() {
        for (resource, region) in [
            ("arn:aws:sns:eu-central-1:123456789012:documents", Some("eu-central-1")),
            ("arn:aws-us-gov:sns:us-gov-west-1:123456789012:documents", Some("us-gov-west-1")),
            ("arn:aws-cn:sns:cn-north-1:123456789012:documents", Some("cn-north-1")),
            ("arn:aws:sns::123456789012:documents", None),
            ("arn:aws:sns:somewhere:123456789012:documents", None),
            ("https://sqs.eu-west-2.amazonaws.com/123456789012/audit", Some("eu-west-2")),
            ("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/audit", Some("cn-north-1")),
            ("https://sqs-fips.us-west-2.amazonaws.com/123456789012/audit", Some("us-west-2")),
            ("https://sqs.eu-west-2.api.aws/123456789012/audit", Some("eu-west-2")),
            ("https://eu-west-1.queue.amazonaws.com/123456789012/audit", Some("eu-west-1")),
            ("https://queue.amazonaws.com/123456789012/audit", Some("us-east-1")),
            (
                "https://vpce-0a1b-c2d3-us-east-1a.sqs.us-east-1.vpce.amazonaws.com/123456789012/audit",
                Some("us-east-1"),
            ),
            ("http://sqs.eu-central-1.localhost.localstack.cloud:4566/000000000000/audit", Some("eu-central-1")),
            ("http://localhost:4566/000000000000/audit", None),
            ("http://127.0.0.1:5000/123456789012/sqs.eu-west-1.amazonaws.com", None),
            ("https://sqs.example.com/123456789012/audit", None),
            ("nonsense", None),
        ] {
            assert_eq!(named_region(resource), region, "{resource}");
        }
    }
}

//! The issuer's keys over HTTPS, the only network access of authentication.
//!
//! The operator configures the address. A slip or a hijacked name must not do harm nevertheless: no redirects, no
//! proxies, no cloud metadata address, bounded in size and time, HTTPS except on a developer's machine.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};

/// Timeout of a whole fetch.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum size of a document, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

/// The address of an issuer's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwksUrl(Url);

/// The form of an accepted address.
pub const ALLOWED: &str = "an https:// URL without user information; http:// where EPR_ENVIRONMENT is local or test";

impl JwksUrl {
    /// Parses an address; `plain` allows `http`.
    ///
    /// # Errors
    /// [`ALLOWED`], when it has another form or is an address that no issuer has.
    pub fn parse(text: &str, plain: bool) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| ALLOWED)?;
        let has_scheme = url.scheme() == "https" || (plain && url.scheme() == "http");
        let has_no_secret = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        // A name is checked when it has been resolved.
        let literal = url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
        if has_scheme && has_no_secret && url.has_host() && literal.is_none_or(is_possible) {
            Ok(Self(url))
        } else {
            Err(ALLOWED)
        }
    }
}

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The client cannot be built.
    #[error("no HTTP client")]
    Client(#[source] reqwest::Error),
    /// The call failed.
    #[error("the issuer's keys could not be fetched")]
    Call(#[source] reqwest::Error),
    /// The status is not 200. Redirects are not followed.
    #[error("the issuer answered {0} instead of its keys")]
    Status(StatusCode),
    /// The document is larger than [`MAX_DOCUMENT_BYTES`].
    #[error("the issuer's keys are larger than {MAX_DOCUMENT_BYTES} bytes")]
    TooLarge,
}

/// Fetches from one address.
pub struct JwksClient {
    client: Client,
    url: Url,
}

impl JwksClient {
    /// A client for `url`.
    ///
    /// # Errors
    /// The system's certificates cannot be used.
    pub fn new(url: &JwksUrl) -> Result<Self, FetchError> {
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .dns_resolver(Arc::new(Resolver))
            .user_agent(concat!("omen-epr/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(FetchError::Client)?;
        Ok(Self { client, url: url.0.clone() })
    }

    /// Fetches the document.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        // The address may hold a secret, and errors are logged.
        let call = |error: reqwest::Error| FetchError::Call(error.without_url());
        let request = self.client.get(self.url.clone()).header("accept", "application/json");
        let mut answer = request.send().await.map_err(call)?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let mut document = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(call)? {
            if document.len() + part.len() > MAX_DOCUMENT_BYTES {
                return Err(FetchError::TooLarge);
            }
            document.extend_from_slice(&part);
        }
        Ok(document)
    }
}

/// The system's resolver, without the addresses that no issuer has.
struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let possible: Vec<SocketAddr> = found.filter(|address| is_possible(address.ip())).collect();
            if possible.is_empty() {
                return Err("the name leads to no address that an issuer could have".into());
            }
            Ok(Box::new(possible.into_iter()) as Addrs)
        })
    }
}

/// Whether an issuer can have this address. Clouds serve the machine's credentials at link-local addresses, and AWS
/// also at one private address: these and unassigned addresses are refused. Other private addresses are allowed,
/// because an issuer may be in the same network.
fn is_possible(address: IpAddr) -> bool {
    const AWS_METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match address.to_canonical() {
        IpAddr::V4(v4) => !(v4.is_link_local() || v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()),
        IpAddr::V6(v6) => {
            !(v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast() || v6 == AWS_METADATA)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_no_issuer_has_are_refused() {
        for good in ["https://issuer.example.com/keys", "https://10.0.0.1:8443/keys?x=1", "https://[fd00::1]/keys"] {
            assert!(JwksUrl::parse(good, false).is_ok(), "{good}");
        }
        assert!(JwksUrl::parse("http://127.0.0.1:9000/keys", true).is_ok());
        for bad in [
            "",
            "keys",
            "/keys",
            "https://",
            "ftp://issuer/keys",
            "file:///etc/passwd",
            "data:,x",
            "http://issuer.example.com/keys",
            "https://user:password@issuer/keys",
            "https://issuer/keys#x",
            "https://169.254.169.254/latest/meta-data/",
            "https://169.254.170.2/",
            "https://2852039166/",
            "https://0xa9.0xfe.0xa9.0xfe/",
            "https://[fe80::1]/",
            "https://[fd00:ec2::254]/",
            "https://[::ffff:169.254.169.254]/",
            "https://0.0.0.0/",
            "https://[::]/",
            "https://224.0.0.1/",
        ] {
            assert_eq!(JwksUrl::parse(bad, false), Err(ALLOWED), "{bad}");
        }
    }
}

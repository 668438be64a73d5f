//! The issuer's keys over HTTPS: the only place that fetches anything for authentication.
//!
//! The address is the operator's. It is still held against what a slip or a hijacked name could lead to: no redirects, no
//! proxies, no cloud metadata address, bounded in size and time, HTTPS unless on a developer's machine.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};

/// How long the whole fetch may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest document taken, in bytes.
pub const LARGEST: usize = 256 * 1024;

/// Where an issuer's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwksUrl(Url);

/// What is accepted as one.
pub const ALLOWED: &str = "an https:// URL without user information; http:// where EPR_ENVIRONMENT is local or test";

impl JwksUrl {
    /// Reads it; `plain` allows `http`.
    ///
    /// # Errors
    /// [`ALLOWED`], when it is none, or leads to an address that no issuer has.
    pub fn parse(text: &str, plain: bool) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| ALLOWED)?;
        let scheme = url.scheme() == "https" || (plain && url.scheme() == "http");
        let bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        // A name is looked at when it has been resolved.
        let literal = url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
        if scheme && bare && url.has_host() && literal.is_none_or(sensible) { Ok(Self(url)) } else { Err(ALLOWED) }
    }
}

/// Why no document came.
#[derive(Debug, thiserror::Error)]
pub enum FetchFault {
    /// No client can be made.
    #[error("no HTTP client")]
    Client(#[source] reqwest::Error),
    /// The call failed.
    #[error("the issuer's keys could not be fetched")]
    Call(#[source] reqwest::Error),
    /// Anything but a 200: redirects are not followed.
    #[error("the issuer answered {0} instead of its keys")]
    Status(StatusCode),
    /// Larger than [`LARGEST`].
    #[error("the issuer's keys are larger than {LARGEST} bytes")]
    TooLarge,
}

/// Fetches from one address.
pub struct JwksClient {
    client: Client,
    url: Url,
}

impl JwksClient {
    /// For `url`.
    ///
    /// # Errors
    /// The system's certificates cannot be used.
    pub fn new(url: &JwksUrl) -> Result<Self, FetchFault> {
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .dns_resolver(Arc::new(Resolver))
            .user_agent(concat!("omen-epr/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(FetchFault::Client)?;
        Ok(Self { client, url: url.0.clone() })
    }

    /// The document as it came.
    ///
    /// # Errors
    /// See [`FetchFault`].
    pub async fn fetch(&self) -> Result<Vec<u8>, FetchFault> {
        // The address may hold a key of its own, and faults are logged.
        let call = |fault: reqwest::Error| FetchFault::Call(fault.without_url());
        let request = self.client.get(self.url.clone()).header("accept", "application/json");
        let mut answer = request.send().await.map_err(call)?;
        if answer.status() != StatusCode::OK {
            return Err(FetchFault::Status(answer.status()));
        }
        let mut document = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(call)? {
            if document.len() + part.len() > LARGEST {
                return Err(FetchFault::TooLarge);
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
            let sensible: Vec<SocketAddr> = found.filter(|address| sensible(address.ip())).collect();
            if sensible.is_empty() {
                return Err("the name leads to no address that an issuer could have".into());
            }
            Ok(Box::new(sensible.into_iter()) as Addrs)
        })
    }
}

/// Whether an issuer could be there: not where clouds keep the machine's credentials (link-local, and the one address
/// that AWS has for it among the private ones), nor at an address that is nobody's. Private ones are: an issuer may
/// stand in the same network.
fn sensible(address: IpAddr) -> bool {
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

//! Calls to an issuer of credentials over HTTPS, the only network access of authentication.
//!
//! The operator configures the address, or an address that leads to it. A slip or a hijacked name must not do harm
//! nevertheless: no redirects, no proxies, no cloud metadata address, bounded in size and time, HTTPS except on a
//! developer's machine.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, StatusCode, Url};

/// Timeout of a whole call.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum size of a document, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

/// An address of an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerUrl(Url);

/// The form of an accepted address.
pub const ALLOWED: &str = "an https:// URL without user information; http:// where EPR_ENVIRONMENT is local or test";

impl IssuerUrl {
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

    /// The address with further parameters, for a browser.
    #[must_use]
    pub fn with_query(&self, parameters: &[(&str, &str)]) -> String {
        let mut url = self.0.clone();
        url.query_pairs_mut().extend_pairs(parameters);
        url.into()
    }

    /// The host, for people.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// The scheme, the host and the port, if the address consists of nothing else.
    #[must_use]
    pub fn origin(&self) -> Option<String> {
        let is_origin = self.0.path() == "/" && self.0.query().is_none();
        is_origin.then(|| self.0.origin().ascii_serialization())
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The client cannot be built.
    #[error("no HTTP client")]
    Client(#[source] reqwest::Error),
    /// The call failed.
    #[error("the issuer could not be reached")]
    Call(#[source] reqwest::Error),
    /// The status is not 200. Redirects are not followed.
    #[error("the issuer answered {0} instead of a document")]
    Status(StatusCode),
    /// The document is larger than [`MAX_DOCUMENT_BYTES`].
    #[error("the issuer's document is larger than {MAX_DOCUMENT_BYTES} bytes")]
    TooLarge,
}

/// Calls an issuer.
pub struct IssuerClient(Client);

impl IssuerClient {
    /// A client.
    ///
    /// # Errors
    /// The system's certificates cannot be used.
    pub fn new() -> Result<Self, FetchError> {
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .dns_resolver(Arc::new(Resolver))
            .user_agent(concat!("omen-epr/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(FetchError::Client)?;
        Ok(Self(client))
    }

    /// Fetches a document.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn get(&self, url: &IssuerUrl) -> Result<Vec<u8>, FetchError> {
        match answer(self.0.get(url.0.clone())).await? {
            (StatusCode::OK, document) => Ok(document),
            (status, _) => Err(FetchError::Status(status)),
        }
    }

    /// Sends a form, with a name and a password if there are any. Returns the status and the document.
    ///
    /// # Errors
    /// See [`FetchError`]. No status is an error.
    pub async fn post_form(
        &self,
        url: &IssuerUrl,
        form: String,
        basic: Option<(&str, &str)>,
    ) -> Result<(u16, Vec<u8>), FetchError> {
        let request = self.0.post(url.0.clone()).header("content-type", "application/x-www-form-urlencoded");
        let request = match basic {
            Some((name, password)) => request.basic_auth(name, Some(password)),
            None => request,
        };
        let (status, document) = answer(request.body(form)).await?;
        Ok((status.as_u16(), document))
    }
}

async fn answer(request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), FetchError> {
    // The address may hold a secret, and errors are logged.
    let call = |error: reqwest::Error| FetchError::Call(error.without_url());
    let mut answer = request.header("accept", "application/json").send().await.map_err(call)?;
    let mut document = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(call)? {
        if document.len() + part.len() > MAX_DOCUMENT_BYTES {
            return Err(FetchError::TooLarge);
        }
        document.extend_from_slice(&part);
    }
    Ok((answer.status(), document))
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
            assert!(IssuerUrl::parse(good, false).is_ok(), "{good}");
        }
        assert!(IssuerUrl::parse("http://127.0.0.1:9000/keys", true).is_ok());
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
            assert_eq!(IssuerUrl::parse(bad, false), Err(ALLOWED), "{bad}");
        }
    }
}

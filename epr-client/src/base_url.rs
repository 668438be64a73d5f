//! The address of a service.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;

/// The address under which a service is reached, for example `https://epr.example.com` or, behind a proxy that adds a
/// prefix, `https://example.com/epr`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(Url);

/// Why a text is no [`BaseUrl`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BaseUrlError {
    /// It is no URL.
    #[error("give a URL such as https://epr.example.com")]
    Syntax,
    /// It is not a URL of HTTP with a host.
    #[error("give a URL that begins with https:// or http://")]
    Scheme,
    /// It holds a user or a password. URLs are logged and shown in lists of processes.
    #[error("the URL must not hold a user or a password: give the token separately")]
    Credentials,
    /// It has a query or a fragment.
    #[error("give the address of the service only, without `?` or `#`")]
    Query,
}

impl FromStr for BaseUrl {
    type Err = BaseUrlError;

    fn from_str(text: &str) -> Result<Self, BaseUrlError> {
        let mut url: Url = text.parse().map_err(|_| BaseUrlError::Syntax)?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(BaseUrlError::Scheme);
        }
        if url.password().is_some() || !url.username().is_empty() {
            return Err(BaseUrlError::Credentials);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(BaseUrlError::Query);
        }
        let path = format!("{}/", url.path().trim_end_matches('/'));
        url.set_path(&path);
        Ok(Self(url))
    }
}

impl BaseUrl {
    /// Whether the service runs on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        matches!(self.0.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
    }

    /// Whether tokens travel encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The URL of `path`, which begins without a slash.
    pub(crate) fn at(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{path}", self.0.path()));
        url
    }
}

impl fmt::Display for BaseUrl {
    /// With a slash at its end.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_added_behind_a_prefix() {
        for (base, whole) in [
            ("http://[::1]:8080", "http://[::1]:8080/api/v1/roles"),
            ("https://epr.test/", "https://epr.test/api/v1/roles"),
            ("https://proxy/epr", "https://proxy/epr/api/v1/roles"),
            ("https://proxy/epr//", "https://proxy/epr/api/v1/roles"),
        ] {
            let base: BaseUrl = base.parse().unwrap();
            assert_eq!(base.at("api/v1/roles").as_str(), whole);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for (text, why) in [
            ("epr.example.com", BaseUrlError::Syntax),
            ("ftp://epr.example.com", BaseUrlError::Scheme),
            ("mailto:epr@example.com", BaseUrlError::Scheme),
            ("https://user@epr.example.com", BaseUrlError::Credentials),
            ("https://:secret@epr.example.com", BaseUrlError::Credentials),
            ("https://epr.example.com?x=1", BaseUrlError::Query),
            ("https://epr.example.com#x", BaseUrlError::Query),
        ] {
            assert_eq!(text.parse::<BaseUrl>(), Err(why), "{text}");
        }
    }
}

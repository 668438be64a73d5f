//! AuthZEN: the identifier of this service as a policy decision point.

use std::net::Ipv6Addr;

use super::reader::Reader;
use super::variable::Variable;

pub(super) const PDP_ID: Variable = Variable::optional(
    "EPR_AUTHZEN_PDP_ID",
    "an https:// URL without query and fragment, such as https://pdp.example.com or https://pdp.example.com/tenant",
    "Identifier of this service as an AuthZEN policy decision point: the URL under which its callers reach it. The \
     document at `/.well-known/authzen-configuration` is made from it. Not set: there is none; see \
     [AUTHZEN.md](AUTHZEN.md#discovery).",
);

/// The identifier of a policy decision point: an https URL without query and fragment, kept as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PdpId {
    text: String,
    path: String,
}

impl PdpId {
    const MAX_CHARS: usize = 2048;

    /// Reads an identifier; `None` if it is none.
    ///
    /// ```
    /// use epr_core::settings::PdpId;
    ///
    /// let id = PdpId::parse("https://pdp.example.com/tenant-1").unwrap();
    /// assert_eq!((id.path(), id.base()), ("/tenant-1", "https://pdp.example.com/tenant-1"));
    /// assert!(PdpId::parse("http://pdp.example.com").is_none());
    /// ```
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("https://").filter(|_| text.len() <= Self::MAX_CHARS)?;
        let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let path_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@/".contains(&byte);
        let is_id = is_authority(host)
            && path.bytes().all(path_byte)
            // Paths are normalized before they are compared.
            && !path.contains("//")
            && path.split('/').all(|segment| !matches!(segment, "." | ".."));
        is_id.then(|| Self { text: text.to_owned(), path: path.trim_end_matches('/').to_owned() })
    }

    /// The identifier as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path without a slash at its end: empty, or `/` and the tenant.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The URL before the paths of the endpoints.
    #[must_use]
    pub fn base(&self) -> &str {
        self.text.trim_end_matches('/')
    }
}

/// Whether `text` is a host, with or without a port.
fn is_authority(text: &str) -> bool {
    // A sign would be read as a part of the number.
    let is_port =
        |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse().is_ok_and(|port: u16| port > 0);
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, rest)) = rest.split_once(']') else { return false };
        let is_address = address.parse::<Ipv6Addr>().is_ok();
        return is_address && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
    }
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let host_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !host.is_empty() && host.bytes().all(host_byte) && port.is_none_or(is_port)
}

pub(super) fn read(reader: &mut Reader<'_>) -> Option<PdpId> {
    reader.value(&PDP_ID, PdpId::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_an_https_url_without_query_and_fragment() {
        for text in [
            "https://pdp.example.com",
            "https://pdp.example.com:8443/",
            "https://[::1]/a/b",
            "https://[::1]:8443",
            "https://192.0.2.7:65535",
            "https://h/tenant%201/x~y",
        ] {
            assert_eq!(PdpId::parse(text).unwrap().as_str(), text);
        }
        let long = format!("https://h/{}", "x".repeat(2048));
        for text in [
            "",
            "https://",
            "https:///x",
            "https://:8443",
            "http://h",
            "HTTPS://h",
            "https://h?x",
            "https://h/#x",
            "h",
            "https://u@h",
            "https://h/a//b",
            "https://h/a/../b",
            "https://h/ä",
            "https://h /",
            "https://h\\x",
            "https://h:",
            "https://h:/x",
            "https://h:0",
            "https://h:99999",
            "https://h:65536",
            "https://h:+1",
            "https://a:b:c",
            "https://a:1:2",
            "https://[::1",
            "https://[::1]x",
            "https://[::1]:",
            "https://[h]",
            "https://a[::1]",
            "https://::1",
            &long,
        ] {
            assert_eq!(PdpId::parse(text), None, "{text}");
        }
        let id = PdpId::parse("https://h/t1/").unwrap();
        assert_eq!((id.as_str(), id.path(), id.base()), ("https://h/t1/", "/t1", "https://h/t1"));
    }
}

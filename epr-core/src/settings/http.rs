//! How the API is reached.

use std::net::IpAddr;

use super::limits::Limits;
use super::source::{Reader, plain};

/// `EPR_UNKNOWN_MEMBERS`: the older service ignored them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownMembers {
    /// They are refused.
    Reject,
    /// They are ignored, logged, and named in the answer.
    Warn,
    /// They are ignored.
    Ignore,
}

/// `HOST`, `PORT`, `EPR_CORS_ORIGINS`, `EPR_UNKNOWN_MEMBERS`, `EPR_LOG_ACCESS`, and the limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// The address to listen on.
    pub host: IpAddr,
    /// The port; 0 lets the system choose one, which is then logged.
    pub port: u16,
    /// Origins that browsers may call from; none by default, `*` for any.
    pub cors_origins: Vec<String>,
    /// What becomes of members that the body of a change has and that are not known.
    pub unknown_members: UnknownMembers,
    /// Whether each request has a line in the log.
    pub access_log: bool,
    /// How much one caller may ask, and for how long.
    pub limits: Limits,
}

impl HttpSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            host: reader.value("HOST", IpAddr::from([0, 0, 0, 0]), "an IPv4 or IPv6 address", plain, |given| {
                if given == "localhost" { Some(IpAddr::from([127, 0, 0, 1])) } else { given.parse().ok() }
            }),
            port: u16::try_from(reader.number("PORT", 8080, 0, 65_535)).unwrap_or(8080),
            cors_origins: reader.value(
                "EPR_CORS_ORIGINS",
                Vec::new(),
                "`*`, or origins such as https://app.example.com, comma-separated or as a JSON list",
                plain,
                read_origins,
            ),
            unknown_members: reader.value(
                "EPR_UNKNOWN_MEMBERS",
                UnknownMembers::Reject,
                "reject, warn, ignore",
                plain,
                |given| match given.to_ascii_lowercase().as_str() {
                    "reject" => Some(UnknownMembers::Reject),
                    "warn" => Some(UnknownMembers::Warn),
                    "ignore" => Some(UnknownMembers::Ignore),
                    _ => None,
                },
            ),
            access_log: reader.flag("EPR_LOG_ACCESS", true),
            limits: Limits::read(reader),
        }
    }
}

fn read_origins(given: &str) -> Option<Vec<String>> {
    if given.starts_with('[') {
        let listed: Vec<String> = serde_json::from_str(given).ok()?;
        return listed.iter().map(|origin| read_origin(origin.trim())).collect();
    }
    given.split(',').map(str::trim).filter(|origin| !origin.is_empty()).map(read_origin).collect()
}

/// `*`, or a scheme and a host without a path.
fn read_origin(origin: &str) -> Option<String> {
    // Browsers send origins without the slash.
    let origin = origin.strip_suffix('/').unwrap_or(origin);
    let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    let plain = host.is_some_and(|host| !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && b != b'/'));
    (origin == "*" || plain).then(|| origin.to_owned())
}

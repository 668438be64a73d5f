//! The HTTP interface: its address, browsers, unknown members, and limits.

use std::net::IpAddr;
use std::str::FromStr;

use super::authzen::{self, PdpId};
use super::limits::{self, Limits};
use super::reader::Reader;
use super::service::Environment;
use super::variable::{Section, UnknownWord, Variable, find_word};

const UNKNOWN_MEMBERS_ALLOWED: &str = "reject, warn, ignore";

const HOST: Variable = Variable::text("HOST", "0.0.0.0", "an IPv4 or IPv6 address", "Address that the API listens on.");
const PORT: Variable = Variable::number(
    "PORT",
    8080,
    &(0..=65_535),
    "Port that the API listens on. 0: a free one, which `listening` in the log names.",
);
const CORS_ORIGINS: Variable = Variable::optional(
    "EPR_CORS_ORIGINS",
    "`*`, or origins such as https://app.example.com, comma-separated or as a JSON list",
    "Origins that browsers may call from. Not set: none.",
);
const UNKNOWN_MEMBERS: Variable = Variable::text(
    "EPR_UNKNOWN_MEMBERS",
    "reject",
    UNKNOWN_MEMBERS_ALLOWED,
    "Unknown members of bodies that change the registry: `reject` answers 400; `warn` ignores and logs them, and \
     names them in the header `EPR-Ignored`; `ignore` ignores them. A misspelt `condition` and unknown members of \
     principals are a 400 under each.",
);
const ACCESS_LOG: Variable =
    Variable::flag("EPR_LOG_ACCESS", true, "Whether the API logs a line `http_request` for each request.");

const CONSOLE_ALLOWED: &str = "on, off";
const CONSOLE: Variable = Variable::optional(
    "EPR_CONSOLE",
    CONSOLE_ALLOWED,
    "Whether the API serves the console at `/console` ([CONSOLE.md](CONSOLE.md)). Not set: `on` where \
     `EPR_ENVIRONMENT` is `local`, else `off`.",
);

pub(super) const SECTION: Section = Section {
    title: "HTTP",
    variables: &[
        HOST,
        PORT,
        CORS_ORIGINS,
        UNKNOWN_MEMBERS,
        ACCESS_LOG,
        CONSOLE,
        authzen::PDP_ID,
        limits::BODY_BYTES,
        limits::HEADER_BYTES,
        limits::CONCURRENCY,
        limits::CONNECTIONS,
        limits::REQUEST,
        limits::HEAD,
        limits::BODY,
        limits::KEEP_ALIVE,
    ],
};

/// The treatment of unknown members in bodies that change the registry. The older service ignored them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnknownMembers {
    /// It answers 400.
    #[default]
    Reject,
    /// It ignores and logs them, and names them in the answer.
    Warn,
    /// It ignores them.
    Ignore,
}

impl FromStr for UnknownMembers {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let words = [("reject", Self::Reject), ("warn", Self::Warn), ("ignore", Self::Ignore)];
        find_word(text, &words, UNKNOWN_MEMBERS_ALLOWED)
    }
}

/// The HTTP interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// The address to listen on.
    pub host: IpAddr,
    /// The port to listen on; 0 lets the system choose one, which is logged.
    pub port: u16,
    /// Origins that browsers may call from; `*` for any.
    pub cors_origins: Vec<String>,
    /// The treatment of unknown members in bodies that change the registry.
    pub unknown_members: UnknownMembers,
    /// Whether each request has a line in the log.
    pub access_log: bool,
    /// Whether the console is served.
    pub console: bool,
    /// The identifier of this service as an AuthZEN policy decision point.
    pub pdp_id: Option<PdpId>,
    /// Limits of what a caller may send, and for how long.
    pub limits: Limits,
}

impl HttpSettings {
    pub(super) fn read(reader: &mut Reader<'_>, environment: Environment) -> Self {
        let console =
            reader.value(&CONSOLE, |given| find_word(given, &[("on", true), ("off", false)], CONSOLE_ALLOWED).ok());
        let host = reader.value(&HOST, |given| {
            if given == "localhost" { Some(IpAddr::from([127, 0, 0, 1])) } else { given.parse().ok() }
        });
        Self {
            host: host.unwrap_or(IpAddr::from([127, 0, 0, 1])),
            port: u16::try_from(reader.number(&PORT)).unwrap_or_default(),
            cors_origins: reader.value(&CORS_ORIGINS, read_origins).unwrap_or_default(),
            unknown_members: reader.value(&UNKNOWN_MEMBERS, |given| given.parse().ok()).unwrap_or_default(),
            access_log: reader.flag(&ACCESS_LOG),
            console: console.unwrap_or(environment == Environment::Local),
            pdp_id: authzen::read(reader),
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

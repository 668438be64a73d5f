//! How the API is reached.

use std::net::IpAddr;

use super::source::{Reader, plain};

/// `HOST`, `PORT`, `EPR_CORS_ORIGINS`, `EPR_MAX_BODY_BYTES`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// The address to listen on.
    pub host: IpAddr,
    /// The port; 0 lets the system choose one, which is then logged.
    pub port: u16,
    /// Origins that browsers may call from; none by default, `*` for any.
    pub cors_origins: Vec<String>,
    /// The largest body taken, 1 KiB to 64 MiB.
    pub max_body_bytes: usize,
}

impl HttpSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            host: reader.value("HOST", IpAddr::from([0, 0, 0, 0]), "an IPv4 or IPv6 address", plain, |given| {
                if given == "localhost" { Some(IpAddr::from([127, 0, 0, 1])) } else { given.parse().ok() }
            }),
            port: u16::try_from(reader.number("PORT", 8080, 0, 65_535)).unwrap_or(8080),
            cors_origins: reader.list("EPR_CORS_ORIGINS"),
            max_body_bytes: usize::try_from(reader.number("EPR_MAX_BODY_BYTES", 1 << 20, 1 << 10, 64 << 20))
                .unwrap_or(1 << 20),
        }
    }
}

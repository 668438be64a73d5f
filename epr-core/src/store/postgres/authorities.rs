//! Which certificates of a database server are accepted: libpq's `sslmode` and `sslrootcert`.
//!
//! Must never widen what libpq accepts: an authority counts only when the operator named it.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::store::StoreError;
use crate::store::url::{Host, PostgresUrl};

/// The authorities that count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roots {
    /// Those in this file and no others.
    File(PathBuf),
    /// Those of the machine.
    System,
}

/// The protection of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// Not at all: `disable`, or a Unix socket.
    Off,
    /// Encrypted when the server offers it: `allow` and `prefer`.
    IfOffered,
    /// Encrypted; any server is accepted: `require`.
    Encrypted,
    /// The server's certificate must be of an authority: `verify-ca`, and `require` with authorities.
    Authority(Roots),
    /// The certificate must also name the host of the connection: `verify-full`.
    AuthorityAndName(Roots),
}

impl std::fmt::Display for Roots {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(out, "the authorities in {} and no others", path.display()),
            Self::System => out.write_str("the authorities of this machine"),
        }
    }
}

impl std::fmt::Display for Tls {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Off => out.write_str("off"),
            Self::IfOffered => out.write_str("only if the server offers it; any server is accepted"),
            Self::Encrypted => out.write_str("required; any server is accepted"),
            Self::Authority(roots) => write!(out, "required; any host with a certificate of {roots} is accepted"),
            Self::AuthorityAndName(roots) => {
                write!(out, "required; the certificate must be for the host and of {roots}")
            }
        }
    }
}

/// The protection of connections to `url`.
///
/// # Errors
/// A file with authorities is missing or holds none, or none is named where one is needed.
pub fn tls(url: &PostgresUrl) -> Result<Tls, StoreError> {
    if matches!(url.host(), Some(Host::Socket(_))) {
        return Ok(Tls::Off);
    }
    let default = if url.system_roots() { "verify-full" } else { "prefer" };
    let mode = url.get("sslmode").unwrap_or(default);
    match mode {
        "disable" => Ok(Tls::Off),
        // libpq falls back to a connection without TLS when the certificate does not hold: it protects no more than
        // this.
        "allow" | "prefer" => Ok(Tls::IfOffered),
        "require" => Ok(roots(url)?.map_or(Tls::Encrypted, Tls::Authority)),
        "verify-ca" => Ok(Tls::Authority(roots(url)?.ok_or_else(|| no_roots(mode))?)),
        _ => Ok(Tls::AuthorityAndName(roots(url)?.ok_or_else(|| no_roots(mode))?)),
    }
}

fn no_roots(mode: &str) -> StoreError {
    StoreError::Connection(format!(
        "sslmode={mode} needs authorities to trust, and there is no ~/.postgresql/root.crt: add sslrootcert=FILE with \
         a PEM \
         file, or sslrootcert=system (with verify-full) for those of this machine"
    ))
}

fn roots(url: &PostgresUrl) -> Result<Option<Roots>, StoreError> {
    let roots = if url.system_roots() {
        Roots::System
    } else {
        let Some(path) = url.get("sslrootcert").map(PathBuf::from).or_else(|| in_home("root.crt")) else {
            return Ok(None);
        };
        certificates_in(&path)?;
        Roots::File(path)
    };
    if !webpki_roots::TLS_SERVER_ROOTS.is_empty() {
        // The driver would accept them as well.
        return Err(StoreError::Connection(
            "this program was linked with the public authorities, which would count beside those that are named: put \
             `webpki-roots` under [patch.crates-io] as EPR's own workspace does"
                .into(),
        ));
    }
    Ok(Some(roots))
}

fn certificates_in(path: &Path) -> Result<(), StoreError> {
    let refused = |why: &str| StoreError::Connection(format!("sslrootcert {}: {why}", path.display()));
    let text = std::fs::read(path).map_err(|error| refused(&error.to_string()))?;
    let mut count = 0;
    let mut store = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|_| refused("it is not PEM"))?;
        store.add(certificate).map_err(|error| refused(&format!("a certificate in it cannot be read: {error}")))?;
        count += 1;
    }
    if count == 0 { Err(refused("it holds no certificate in PEM form")) } else { Ok(()) }
}

/// The machine's authorities as PEM, as the driver takes them. `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
pub(super) fn of_the_machine() -> Result<Vec<u8>, StoreError> {
    let found = rustls_native_certs::load_native_certs().certs;
    if found.is_empty() {
        let why = "sslrootcert=system: this machine has no certificate authorities: install ca-certificates, \
         or set SSL_CERT_FILE";
        return Err(StoreError::Connection(why.into()));
    }
    let mut pem = String::new();
    // A file that the driver cannot read would end every connection.
    let readable =
        |certificate: &&CertificateDer<'static>| rustls::RootCertStore::empty().add((*certificate).clone()).is_ok();
    for certificate in found.iter().filter(readable) {
        let body = base64::engine::general_purpose::STANDARD.encode(certificate);
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        pem.push_str(&body);
        pem.push_str("\n-----END CERTIFICATE-----\n");
    }
    Ok(pem.into_bytes())
}

/// The file of the client's certificate or key.
pub(super) fn client(name: &'static str, url: &PostgresUrl) -> Result<Option<PathBuf>, StoreError> {
    let file = if name == "sslcert" { "postgresql.crt" } else { "postgresql.key" };
    let Some(path) = url.get(name).map(PathBuf::from).or_else(|| in_home(file)) else { return Ok(None) };
    std::fs::File::open(&path)
        .map_err(|error| StoreError::Connection(format!("{name} {}: {error}", path.display())))?;
    Ok(Some(path))
}

/// A file in libpq's folder of the user, if it is there.
fn in_home(name: &str) -> Option<PathBuf> {
    let path = std::env::home_dir()?.join(".postgresql").join(name);
    path.exists().then_some(path)
}

//! The driver's connect options, made from libpq's. Every choice between them is made here.
//!
//! INVARIANT: the driver reads `PG*` variables and a password file by itself; each value it could take from there is
//! set here, except the user's name and `PGOPTIONS`, which it reads as libpq does. Must never log a value of the URL.

use std::path::Path;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::authorities::{self, Tls};
use super::passfile;
use crate::store::StoreError;
use crate::store::url::{DatabaseUrl, Host, PostgresUrl};

/// The `application_name` of sessions when the URL has none.
const APPLICATION_NAME: &str = "omen-epr";
/// Where Debian's server and an unchanged one put their sockets.
const SOCKET_FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// Reads a URL that names a PostgreSQL server, without the environment.
pub(super) fn parse(text: &str) -> Result<PostgresUrl, StoreError> {
    match DatabaseUrl::parse(text) {
        Ok(DatabaseUrl::Postgres(url)) => Ok(url),
        Ok(_) => Err(StoreError::Connection("the URL names no PostgreSQL server".into())),
        Err(why) => Err(StoreError::Connection(why)),
    }
}

/// The driver's options for `url`. Reads the files that it names.
///
/// # Errors
/// A file is missing or holds no certificate, or `sslmode` needs authorities that are not named.
pub(super) fn options(url: &PostgresUrl) -> Result<PgConnectOptions, StoreError> {
    let host = url.host().unwrap_or_else(|| default_host(url.port()));
    let mut options = base(url)?.port(url.port());
    options = match &host {
        Host::Network(name) => options.host(name),
        // The name is what a password file would be searched for, and the socket what counts.
        Host::Socket(folder) => options.host("localhost").socket(folder),
    };
    if let Some(user) = url.get("user") {
        options = options.username(user);
    }
    let user = options.get_username().to_owned();
    let database = url.get("dbname").unwrap_or(&user).to_owned();
    let password = match url.get("password") {
        Some(password) => Some(password.to_owned()),
        None => passfile::password(url.get("passfile").map(Path::new), &host, url.port(), &database, &user),
    };
    let name = url.get("application_name").or_else(|| url.get("fallback_application_name"));
    let options = options
        .database(&database)
        .password(password.as_deref().unwrap_or_default())
        .application_name(name.unwrap_or(APPLICATION_NAME));
    secured(options, url)
}

/// Options that only the driver's URL can set.
fn base(url: &PostgresUrl) -> Result<PgConnectOptions, StoreError> {
    let Some(options) = url.get("options") else { return Ok(PgConnectOptions::new_without_pgpass()) };
    let encoded = percent_encoding::utf8_percent_encode(options, percent_encoding::NON_ALPHANUMERIC);
    let text = format!("postgres://localhost/?options={encoded}");
    text.parse().map_err(|error: sqlx::Error| StoreError::Connection(error.to_string()))
}

fn default_host(port: u16) -> Host {
    let socket = format!(".s.PGSQL.{port}");
    let folder = SOCKET_FOLDERS.iter().find(|folder| Path::new(folder).join(&socket).exists());
    folder.map_or_else(|| Host::Network("localhost".into()), |folder| Host::Socket(folder.into()))
}

fn secured(options: PgConnectOptions, url: &PostgresUrl) -> Result<PgConnectOptions, StoreError> {
    let options = match (authorities::client("sslcert", url)?, authorities::client("sslkey", url)?) {
        (Some(certificate), Some(key)) => options.ssl_client_cert(certificate).ssl_client_key(key),
        (None, None) => options,
        (Some(_), None) => return Err(StoreError::Connection("sslcert is given without sslkey".into())),
        (None, Some(_)) => return Err(StoreError::Connection("sslkey is given without sslcert".into())),
    };
    let (mode, roots) = match authorities::tls(url)? {
        Tls::Off => (PgSslMode::Disable, None),
        Tls::IfOffered => (PgSslMode::Prefer, None),
        Tls::Encrypted => (PgSslMode::Require, None),
        Tls::Authority(roots) => (PgSslMode::VerifyCa, Some(roots)),
        Tls::AuthorityAndName(roots) => (PgSslMode::VerifyFull, Some(roots)),
    };
    if roots.is_some() {
        crate::tls::install_provider();
    }
    let options = options.ssl_mode(mode);
    match roots {
        // A file is read at each connection, so that one that is replaced counts without a restart.
        Some(authorities::Roots::File(path)) => Ok(options.ssl_root_cert(path)),
        Some(authorities::Roots::System) => Ok(options.ssl_root_cert_from_pem(authorities::of_the_machine()?)),
        None => Ok(options),
    }
}

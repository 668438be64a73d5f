//! A PostgreSQL URL as psycopg2, SQLAlchemy, libpq and asyncpg write it, taken apart into libpq's options.
//!
//! Must read no file and connect to nothing, and never show a value: a password may stand anywhere.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::libpq;
use super::shown::{ALLOWED, masked, user_of};

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name or an address.
    Network(String),
    /// The folder of a Unix socket.
    Socket(PathBuf),
}

/// The options of a connection, by libpq's names. Values are checked as far as that needs no file.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    text: String,
    values: BTreeMap<&'static str, String>,
}

impl PostgresUrl {
    /// Reads the part behind `://`; `spaces` when a plus sign in an option is a space, as `SQLAlchemy` writes it.
    pub(super) fn parse(
        text: &str,
        rest: &str,
        spaces: bool,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let (user_info, address, options) = split(rest)?;
        let mut url = Self { text: text.to_owned(), values: BTreeMap::new() };
        let (authority, database) = address.split_once('/').unwrap_or((address, ""));
        url.authority(authority)?;
        url.put("dbname", decoded(database)?);
        if let Some(user_info) = user_info {
            let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
            url.put("user", decoded(user)?);
            url.put("password", decoded(password)?);
        }
        url.options(options, spaces)?;
        url.environment(environment)?;
        url.check()?;
        Ok(url)
    }

    fn put(&mut self, name: &'static str, value: String) {
        if !value.is_empty() {
            self.values.insert(name, value);
        }
    }

    fn authority(&mut self, text: &str) -> Result<(), String> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']').ok_or("the address in brackets has no end")?;
                address.parse::<std::net::Ipv6Addr>().map_err(|_| "what is in brackets is no IPv6 address")?;
                (address.to_owned(), port.strip_prefix(':').or_else(|| port.is_empty().then_some("")).ok_or(ALLOWED)?)
            }
            None => {
                let (host, port) = text.split_once(':').unwrap_or((text, ""));
                (decoded(host)?, port)
            }
        };
        if text.contains(',') {
            return Err(SEVERAL.to_owned());
        }
        self.put("host", host);
        self.put("port", decoded(port)?);
        Ok(())
    }

    fn options(&mut self, text: &str, spaces: bool) -> Result<(), String> {
        let mut hosts = 0;
        for option in text.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').ok_or("an option has no value: write name=value")?;
            let value = if spaces { decoded(&value.replace('+', " "))? } else { decoded(value)? };
            let Some((name, value)) = libpq::option(&decoded(name)?, &value)? else { continue };
            hosts += usize::from(name == "host");
            if hosts > 1 {
                return Err(SEVERAL.to_owned());
            }
            self.put(name, value);
        }
        Ok(())
    }

    /// Takes the options that the URL does not set from libpq's variables.
    fn environment(&mut self, environment: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
        for (name, variable, _) in libpq::OPTIONS.iter().filter(|(_, variable, _)| !variable.is_empty()) {
            let Some(value) = environment(variable).filter(|_| !self.values.contains_key(name)) else { continue };
            // An address of the environment must not lead a host of the URL elsewhere.
            if *name == "hostaddr" && self.values.contains_key("host") {
                continue;
            }
            let read = libpq::option(name, &value).map_err(|why| format!("{why} (it is set by {variable})"))?;
            if let Some((name, value)) = read {
                self.put(name, value);
            }
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), String> {
        // SQLAlchemy's way to name a port: `?host=name:5432`.
        if let Some((host, port)) = self.get("host").and_then(|host| host.split_once(':'))
            && !host.starts_with('/')
            && !port.contains(':')
            && self.get("port").is_none()
        {
            let (host, port) = (host.to_owned(), port.to_owned());
            self.put("host", host);
            self.put("port", port);
        }
        if ["host", "hostaddr", "port"].iter().any(|name| self.get(name).is_some_and(|value| value.contains(','))) {
            return Err(SEVERAL.to_owned());
        }
        if let Some(port) = self.get("port")
            && !port.parse::<u16>().is_ok_and(|port| port > 0)
        {
            return Err("the port is not a number from 1 to 65535".into());
        }
        if let Some(address) = self.get("hostaddr") {
            address.parse::<IpAddr>().map_err(|_| "hostaddr is no IP address: use host for names")?;
            if self.get("sslmode") == Some("verify-full") {
                return Err("the option hostaddr is not supported with sslmode=verify-full, which compares the name \
                            that is connected to: use host alone"
                    .into());
            }
        }
        if let Some(host) = self.get("host") {
            let name = host.parse::<IpAddr>().is_ok()
                || host.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
            if host.starts_with('@') {
                return Err("abstract sockets are not supported: name the folder of the socket".into());
            }
            if !name && !host.starts_with('/') {
                return Err("the host is neither a name, an address nor the folder of a socket".into());
            }
        }
        if self.values.values().any(|value| value.contains('\0')) {
            return Err("it contains a zero byte".into());
        }
        self.check_tls()
    }

    fn check_tls(&self) -> Result<(), String> {
        let mode = self.get("sslmode");
        if self.system_roots() && !matches!(mode, None | Some("verify-full")) {
            // Any customer of a public authority could answer under another name.
            return Err("sslrootcert=system needs sslmode=verify-full".into());
        }
        if self.system_roots() && self.get("hostaddr").is_some() {
            return Err("the option hostaddr is not supported with sslrootcert=system: use host alone".into());
        }
        Ok(())
    }

    /// The value of one of libpq's options.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Where the server is; `None`: on this machine, where libpq looks.
    #[must_use]
    pub fn host(&self) -> Option<Host> {
        let host = self.get("hostaddr").or_else(|| self.get("host"))?;
        Some(if host.starts_with('/') { Host::Socket(host.into()) } else { Host::Network(host.to_owned()) })
    }

    /// 5432 unless given.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.get("port").and_then(|port| port.parse().ok()).unwrap_or(5432)
    }

    /// Whether the machine's authorities are trusted.
    #[must_use]
    pub fn system_roots(&self) -> bool {
        self.get("sslrootcert") == Some("system")
    }

    /// The value that was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl std::fmt::Debug for PostgresUrl {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&masked(&self.text))
    }
}

const SEVERAL: &str =
    "several hosts are not supported: give the one address that leads to the primary (a DNS name or a proxy)";

fn decoded(text: &str) -> Result<String, String> {
    let plain = percent_decode_str(text).decode_utf8().map_err(|_| "percent-encoded bytes are not UTF-8")?;
    Ok(plain.into_owned())
}

/// User information, address with path, options. `SQLAlchemy` ends the password at the first `@` and lets `/ # ?` stand
/// in it; a general URL parser would not.
fn split(rest: &str) -> Result<(Option<&str>, &str, &str), String> {
    let (user_info, address) = match rest.split_once('@') {
        Some((user_info, address)) if !user_of(user_info).contains(['/', '?']) => (Some(user_info), address),
        _ => (None, rest),
    };
    // An `@` behind the host: the password may be meant to end there, and what was taken for the host, and would be
    // shown as such, be a part of it.
    let behind = address.find(['/', '?', '#']).and_then(|end| address.get(end..));
    if user_info.is_some() && behind.is_some_and(|behind| behind.contains('@')) {
        return Err(ALLOWED.to_owned());
    }
    let (address, options) = address.split_once('?').unwrap_or((address, ""));
    Ok((user_info, address, options))
}

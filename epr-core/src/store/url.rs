//! The database URL, in every spelling that an operator's environment file may hold.

use std::path::PathBuf;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Everything but the unreserved characters, so that a password means the same to every parser.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where the data is.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// SQLite in memory: gone with the process.
    SqliteMemory,
    /// SQLite in a file.
    SqliteFile(PathBuf),
    /// PostgreSQL, as a URL of the plain `postgres://` form with the user information encoded.
    Postgres(String),
}

/// What is accepted.
pub const ALLOWED: &str = "sqlite:///relative/path.db, sqlite:////absolute/path.db, sqlite:///:memory: or postgresql://user:password@host:port/database";

impl DatabaseUrl {
    /// Reads the contract's forms, `SQLAlchemy`'s `dialect+driver` spelling included.
    ///
    /// # Errors
    /// [`ALLOWED`], when the text is none of them.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = text.split_once("://").ok_or(ALLOWED)?;
        let dialect = scheme.split_once('+').map_or(scheme, |(dialect, _driver)| dialect);
        match dialect {
            "sqlite" => sqlite(rest),
            "postgres" | "postgresql" => postgres(rest),
            _ => Err(ALLOWED),
        }
    }
}

fn sqlite(rest: &str) -> Result<DatabaseUrl, &'static str> {
    // No host is possible: after `//` comes nothing (memory), or `/` and the path.
    match rest {
        "" | "/" | "/:memory:" | ":memory:" => Ok(DatabaseUrl::SqliteMemory),
        _ => match rest.strip_prefix('/') {
            Some(path) => {
                let (path, options) = path.split_once('?').unwrap_or((path, ""));
                // What Python's driver is told about threads and waiting has no meaning here.
                let known = |option: &str| option.starts_with("check_same_thread=") || option.starts_with("timeout=");
                let fits = options.split('&').all(|option| option.is_empty() || known(option));
                if fits { Ok(DatabaseUrl::SqliteFile(PathBuf::from(path))) } else { Err(ALLOWED) }
            }
            None => Err(ALLOWED),
        },
    }
}

fn postgres(rest: &str) -> Result<DatabaseUrl, &'static str> {
    // SQLAlchemy ends the password at the first `@` and lets `/ # ?` stand in it; a general URL parser would not.
    let (user_info, place) = match rest.split_once('@') {
        Some((user_info, place)) if !user_of(user_info).contains(['/', '?']) => (Some(user_info), place),
        _ => (None, rest),
    };
    // An `@` behind the host: the password may be meant to end there, and what was taken for the host, and would be shown
    // as such, be a part of it.
    let behind = place.find(['/', '?', '#']).and_then(|end| place.get(end..));
    if user_info.is_some() && behind.is_some_and(|behind| behind.contains('@')) {
        return Err(ALLOWED);
    }
    let recode = |part: &str| {
        let plain = percent_decode_str(part).decode_utf8().map_err(|_| ALLOWED)?;
        Ok::<_, &'static str>(utf8_percent_encode(&plain, RESERVED).to_string())
    };
    let mut url = String::from("postgres://");
    if let Some(user_info) = user_info {
        let (user, password) = match user_info.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (user_info, None),
        };
        url.push_str(&recode(user)?);
        if let Some(password) = password {
            url.push(':');
            url.push_str(&recode(password)?);
        }
        url.push('@');
    }
    url.push_str(&without_other_drivers_options(place)?);
    // The driver's own parser has the last word on hosts, ports and options.
    url.parse::<sqlx::postgres::PgConnectOptions>().map_err(|_| ALLOWED)?;
    Ok(DatabaseUrl::Postgres(url))
}

fn user_of(user_info: &str) -> &str {
    user_info.split_once(':').map_or(user_info, |(user, _)| user)
}

/// Options that this driver knows.
const OPTIONS: [&str; 13] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "sslkey",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "application_name",
];
/// Options of libpq that only say how long to wait or how to probe, which is set here by other means.
const HARMLESS: [&str; 8] = [
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "client_encoding",
    "fallback_application_name",
];

/// The host, port, database and the options that this driver knows. One that it does not know is refused rather than
/// ignored, and never logged: it may be a password.
fn without_other_drivers_options(place: &str) -> Result<String, &'static str> {
    let Some((place, options)) = place.split_once('?') else {
        return Ok(place.to_owned());
    };
    let mut kept = Vec::new();
    for option in options.split('&').filter(|option| !option.is_empty()) {
        let name = option.split_once('=').map_or(option, |(name, _)| name);
        if OPTIONS.contains(&name) || matches!(name, "password" | "options") {
            kept.push(option);
        } else if !HARMLESS.contains(&name) {
            return Err(ALLOWED);
        }
    }
    Ok(if kept.is_empty() { place.to_owned() } else { format!("{place}?{}", kept.join("&")) })
}

/// `text` with a password in it replaced by `***`, for messages.
#[must_use]
pub fn masked(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return "***".to_owned();
    };
    // A password may hold `?` and `@`, and may also stand among the options: whatever comes behind the last `@` and
    // before a `?` can be shown, the rest is not looked at.
    let (user_info, place) = match rest.rsplit_once('@') {
        Some((user_info, place)) => (Some(user_info), place),
        None => (None, rest),
    };
    let place = place.split_once('?').map_or_else(|| place.to_owned(), |(place, _)| format!("{place}?***"));
    match user_info.map(user_of) {
        Some(user) if !user.contains(['/', '?']) => format!("{scheme}://{user}:***@{place}"),
        Some(_) => format!("{scheme}://***"),
        None => format!("{scheme}://{place}"),
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SqliteMemory => out.write_str("sqlite:///:memory:"),
            Self::SqliteFile(path) => write!(out, "sqlite:///{}", path.display()),
            Self::Postgres(url) => out.write_str(&masked(url)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pg(text: &str) -> sqlx::postgres::PgConnectOptions {
        match DatabaseUrl::parse(text).unwrap() {
            DatabaseUrl::Postgres(url) => url.parse().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_the_contracts_sqlite_forms() {
        let file = |path: &str| Ok(DatabaseUrl::SqliteFile(path.into()));
        assert_eq!(DatabaseUrl::parse("sqlite:///./data/epr.db"), file("./data/epr.db"));
        assert_eq!(DatabaseUrl::parse("sqlite:////var/lib/epr.db"), file("/var/lib/epr.db"));
        assert_eq!(DatabaseUrl::parse("sqlite+pysqlite:///epr.db"), file("epr.db"));
        assert_eq!(DatabaseUrl::parse("sqlite:///epr.db?check_same_thread=false"), file("epr.db"));
        assert_eq!(DatabaseUrl::parse("sqlite:///:memory:"), Ok(DatabaseUrl::SqliteMemory));
        assert_eq!(DatabaseUrl::parse("sqlite://"), Ok(DatabaseUrl::SqliteMemory));
    }

    #[test]
    fn reads_every_postgres_spelling() {
        for scheme in ["postgres", "postgresql", "postgresql+psycopg2", "postgresql+psycopg", "postgresql+asyncpg"] {
            let text =
                format!("{scheme}://epr:p%40ss/w#rd%25@db.internal:6432/registry?sslmode=require&connect_timeout=5");
            let options = pg(&text);
            assert_eq!(options.get_host(), "db.internal");
            assert_eq!(options.get_port(), 6432);
            assert_eq!(options.get_username(), "epr");
            assert_eq!(options.get_database(), Some("registry"));
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "mysql://x/y",
            "epr.db",
            "sqlite://host/path.db",
            "postgres://h:notaport/db",
            "sqlite:///a.db?mode=ro",
            "postgres://db/x?passwd=hunter2",
            "postgres://epr:half@hunter2?x@db/x",
            "postgres://epr:half@hunter2/x@db/x",
            "postgres://epr:half@hunter2#x@db/x",
        ] {
            assert_eq!(DatabaseUrl::parse(text), Err(ALLOWED), "{text}");
        }
    }

    #[test]
    fn never_shows_a_password() {
        for text in [
            "postgresql://epr:hunter2@db/x",
            "postgres://epr:a@hunter2@db/x",
            "postgresql://db/x?password=hunter2",
            "hunter2",
        ] {
            assert!(!masked(text).contains("hunter2"), "{}", masked(text));
        }
        let url = DatabaseUrl::parse("postgresql://epr:hunter2@db/x").unwrap();
        assert_eq!(format!("{url:?}"), "postgres://epr:***@db/x");
    }
}

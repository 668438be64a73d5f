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
            Some(path) if !path.contains('?') => Ok(DatabaseUrl::SqliteFile(PathBuf::from(path))),
            _ => Err(ALLOWED),
        },
    }
}

fn postgres(rest: &str) -> Result<DatabaseUrl, &'static str> {
    // SQLAlchemy ends the password at the first `@` and lets `/ # ?` stand in it; a general URL parser would not.
    let (user_info, place) = match rest.split_once('@') {
        Some((user_info, place)) => (Some(user_info), place),
        None => (None, rest),
    };
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
    url.push_str(place);
    // The driver's own parser has the last word on hosts, ports and options.
    url.parse::<sqlx::postgres::PgConnectOptions>().map_err(|_| ALLOWED)?;
    Ok(DatabaseUrl::Postgres(url))
}

/// `text` with a password in it replaced by `***`, for messages.
#[must_use]
pub fn masked(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return "***".to_owned();
    };
    let (user_info, place) = match rest.rsplit_once('@') {
        Some((user_info, place)) => (Some(user_info), place),
        None => (None, rest),
    };
    // A password may also stand among the options.
    let place = match place.split_once('?') {
        Some((place, options)) if options.contains("pass") || options.contains("key") => format!("{place}?***"),
        _ => place.to_owned(),
    };
    match user_info.map(|info| info.split_once(':').map_or(info, |(user, _)| user)) {
        Some(user) => format!("{scheme}://{user}:***@{place}"),
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
        assert_eq!(DatabaseUrl::parse("sqlite:///:memory:"), Ok(DatabaseUrl::SqliteMemory));
        assert_eq!(DatabaseUrl::parse("sqlite://"), Ok(DatabaseUrl::SqliteMemory));
    }

    #[test]
    fn reads_every_postgres_spelling() {
        for scheme in ["postgres", "postgresql", "postgresql+psycopg2", "postgresql+psycopg", "postgresql+asyncpg"] {
            let options = pg(&format!("{scheme}://epr:p%40ss/w#rd%25@db.internal:6432/registry?sslmode=require"));
            assert_eq!(options.get_host(), "db.internal");
            assert_eq!(options.get_port(), 6432);
            assert_eq!(options.get_username(), "epr");
            assert_eq!(options.get_database(), Some("registry"));
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in
            ["", "mysql://x/y", "epr.db", "sqlite://host/path.db", "postgres://h:notaport/db", "sqlite:///a.db?mode=ro"]
        {
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

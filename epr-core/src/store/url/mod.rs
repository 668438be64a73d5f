//! The database URL, in every spelling that an operator's environment file may hold.

mod libpq;
mod postgres;
mod shown;

use std::path::PathBuf;

pub use postgres::{Host, PostgresUrl};
pub use shown::{ALLOWED, masked};

/// Where the data is.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// SQLite in memory: gone with the process.
    SqliteMemory,
    /// SQLite in a file.
    SqliteFile(PathBuf),
    /// PostgreSQL.
    Postgres(PostgresUrl),
}

impl DatabaseUrl {
    /// Reads the contract's forms, `SQLAlchemy`'s `dialect+driver` spelling included.
    ///
    /// # Errors
    /// A sentence that says what is wrong, or [`ALLOWED`]. It shows no value.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::parse_in(text, &|_| None)
    }

    /// Parses as [`DatabaseUrl::parse`] does, and takes options that the URL does not set from libpq's variables
    /// (`PGPASSWORD`, `PGSSLMODE` …).
    ///
    /// # Errors
    /// The errors of [`DatabaseUrl::parse`].
    pub fn parse_in(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or(ALLOWED)?;
        let (dialect, driver) = scheme.split_once('+').map_or((scheme, None), |(dialect, name)| (dialect, Some(name)));
        match dialect {
            "sqlite" => Ok(sqlite(rest)?),
            "postgres" | "postgresql" => {
                Ok(Self::Postgres(PostgresUrl::parse(text, rest, driver.is_some(), environment)?))
            }
            _ => Err(ALLOWED.to_owned()),
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
                // The options of Python's driver for threads and waiting have no meaning here.
                let known = |option: &str| option.starts_with("check_same_thread=") || option.starts_with("timeout=");
                let fits = options.split('&').all(|option| option.is_empty() || known(option));
                if fits { Ok(DatabaseUrl::SqliteFile(PathBuf::from(path))) } else { Err(ALLOWED) }
            }
            None => Err(ALLOWED),
        },
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SqliteMemory => out.write_str("sqlite:///:memory:"),
            Self::SqliteFile(path) => write!(out, "sqlite:///{}", path.display()),
            Self::Postgres(url) => write!(out, "{url:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pg(text: &str) -> PostgresUrl {
        match DatabaseUrl::parse(text) {
            Ok(DatabaseUrl::Postgres(url)) => url,
            other => panic!("{text}: {other:?}"),
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
            assert_eq!(options.host(), Some(Host::Network("db.internal".into())));
            assert_eq!(options.port(), 6432);
            assert_eq!(options.get("user"), Some("epr"));
            assert_eq!(options.get("password"), Some("p@ss/w#rd%"));
            assert_eq!(options.get("dbname"), Some("registry"));
            assert_eq!(options.get("sslmode"), Some("require"));
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
            let why = DatabaseUrl::parse(text).unwrap_err();
            assert!(!why.contains("hunter2"), "{text}: {why}");
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
        assert_eq!(format!("{url:?}"), "postgresql://epr:***@db/x");
    }

    #[test]
    fn reads_hosts_in_every_spelling() {
        let network = |host: &str| Some(Host::Network(host.into()));
        let socket = |path: &str| Some(Host::Socket(path.into()));
        for (text, host, port) in [
            ("postgresql+psycopg2://epr@/db?host=/run/sock&port=6000", socket("/run/sock"), 6000),
            ("postgresql://epr@[::1]:6000/db", network("::1"), 6000),
            ("postgresql://[2001:db8::7]/db", network("2001:db8::7"), 5432),
            ("postgresql://%2Frun%2Fsock/db", socket("/run/sock"), 5432),
            ("postgresql://%2Frun%2Fsock:6000/db", socket("/run/sock"), 6000),
            ("postgresql://epr@:6000/db", None, 6000),
            ("postgresql://epr@db:/db", network("db"), 5432),
            ("postgresql:///db", None, 5432),
            ("postgresql+asyncpg://epr@/db?host=db:6000", network("db"), 6000),
            ("postgresql:///db?host=::1", network("::1"), 5432),
            ("postgresql://db/db?hostaddr=10.0.0.1", network("10.0.0.1"), 5432),
            ("postgresql://db/db?ho%73t=other", network("other"), 5432),
        ] {
            let url = pg(text);
            assert_eq!((url.host(), url.port()), (host, port), "{text}");
            assert_eq!(url.get("dbname"), Some("db"), "{text}");
        }
        for text in [
            "postgresql://a,b/db",
            "postgresql://a:1,b:2/db",
            "postgresql:///db?host=a&host=b",
            "postgresql://[::1/db",
            "postgresql://[localhost]/db",
            "postgresql://db:0/db",
            "postgresql://a b/db",
            "postgresql://db/db?hostaddr=name",
            "postgresql://db/db?hostaddr=10.0.0.1&sslmode=verify-full",
            "postgresql://db/db?sslmode",
            "postgresql://db/db?sslmode=verify",
            "postgresql://db/db?sslrootcert=system&sslmode=require",
        ] {
            assert!(DatabaseUrl::parse(text).is_err(), "{text}");
        }
    }

    /// libpq's documented list (PostgreSQL 18): a value, and whether the option is honoured, accepted or refused by
    /// name.
    #[test]
    fn every_option_of_libpq_is_honoured_accepted_or_refused_by_name() {
        const HONOURED: &str = "honoured";
        const ACCEPTED: &str = "accepted";
        const REFUSED: &str = "refused";
        let table = include_str!("options.tsv");
        let mut names = std::collections::BTreeSet::new();
        for line in table.lines().filter(|line| !line.starts_with('#')) {
            let [name, value, expected] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
            names.insert(name);
            let text = format!("postgresql://epr@/db?{name}={value}");
            let became = match DatabaseUrl::parse(&text) {
                Ok(DatabaseUrl::Postgres(url)) if url.get(name) == Some(value) => HONOURED,
                Ok(_) => ACCEPTED,
                Err(why) => {
                    assert!(why.contains(name) && (value.len() < 5 || !why.contains(&format!("={value}"))), "{why}");
                    REFUSED
                }
            };
            assert_eq!(became, expected, "{text}");
        }
        for (name, ..) in libpq::OPTIONS {
            assert!(names.contains(name), "options.tsv lacks {name}");
        }
    }

    #[test]
    fn spellings_of_other_drivers_mean_the_same() {
        for (option, name, value) in [
            ("ssl=require", "sslmode", "require"),
            ("ssl=true", "sslmode", "require"),
            ("ssl=verify-full", "sslmode", "verify-full"),
            ("ssl-mode=require", "sslmode", "require"),
            ("ssl-root-cert=/ca.pem", "sslrootcert", "/ca.pem"),
            ("application_name=my%20app", "application_name", "my app"),
        ] {
            assert_eq!(pg(&format!("postgresql://db/x?{option}")).get(name), Some(value), "{option}");
        }
        let options = "options=-c+search_path%3Dx";
        assert_eq!(pg(&format!("postgresql+psycopg2://db/x?{options}")).get("options"), Some("-c search_path=x"));
        assert_eq!(pg(&format!("postgresql://db/x?{options}")).get("options"), Some("-c+search_path=x"));
    }

    #[test]
    fn options_missing_in_the_url_come_from_libpqs_variables() {
        let variables = |name: &str| match name {
            "PGHOST" => Some("elsewhere".to_owned()),
            "PGHOSTADDR" => Some("10.0.0.1".to_owned()),
            "PGPASSWORD" => Some("hunter2".to_owned()),
            "PGSSLMODE" => Some("verify-full".to_owned()),
            _ => None,
        };
        let Ok(DatabaseUrl::Postgres(url)) = DatabaseUrl::parse_in("postgres://db/x?sslmode=require", &variables)
        else {
            panic!("a URL");
        };
        assert_eq!(url.host(), Some(Host::Network("db".into())), "an address of the environment would lead elsewhere");
        assert_eq!((url.get("password"), url.get("sslmode")), (Some("hunter2"), Some("require")));
        let refused = |name: &str| (name == "PGSSLCRL").then(|| "/crl.pem".to_owned());
        let why = DatabaseUrl::parse_in("postgres://db/x", &refused).unwrap_err();
        assert!(why.contains("sslcrl") && why.contains("PGSSLCRL"), "{why}");
    }
}

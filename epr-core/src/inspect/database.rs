//! The database: reachable, of the right schema, with room for the pool, and nothing stuck in the outbox.

use std::fmt::Write as _;
use std::time::Instant;

use super::{Finding, State, clock, hierarchy};
use crate::error::chain;
use crate::settings::Settings;
use crate::store::postgres::{self, Tls};
use crate::store::url::{DatabaseUrl, Host};
use crate::store::{Connections, SchemaState};
use crate::{Epr, Error};

/// What stands in the database, beginning with whether it can be reached; the first thing that is wrong ends it.
pub async fn database(settings: &Settings) -> Vec<Finding> {
    let url = format!("{:?}", settings.database.url);
    if let DatabaseUrl::SqliteFile(path) = &settings.database.url
        && !path.exists()
    {
        let seen = format!("there is no file {}", path.display());
        return vec![Finding::new("database", State::Wrong, seen).advise("run `epr migrate`, or start the service")];
    }
    let epr = match Epr::from_settings(settings).await {
        Ok(epr) => epr,
        Err(fault) => return vec![unreachable(&url, &fault)],
    };
    let found = look(&epr, settings, &url).await;
    epr.close().await;
    found
}

async fn look(epr: &Epr, settings: &Settings, url: &str) -> Vec<Finding> {
    let begun = Instant::now();
    // The pool would only say that it took too long.
    if let Err(fault) = epr.reach().await {
        return vec![unreachable(url, &fault)];
    }
    if let Err(fault) = epr.ping().await {
        return vec![unreachable(url, &fault)];
    }
    let took = begun.elapsed().as_millis();
    let mut found = vec![Finding::new("database", State::Fine, format!("{url} answers in {took} ms"))];
    found.extend(tls(settings));
    if let Some(mode) = epr.pooler() {
        found.push(of_pooler(mode));
    }
    found.extend(clock::clock(epr).await);
    let schema = match epr.schema().await {
        Ok(schema) => schema,
        Err(fault) => {
            found.push(Finding::new("schema", State::Wrong, cause(&fault)));
            return found;
        }
    };
    found.push(of_schema(schema));
    if let Some(finding) = pool(epr, settings).await {
        found.push(finding);
    }
    if schema.applied == schema.known {
        found.extend(privileges(epr).await);
        found.push(outbox(epr).await);
        found.push(hierarchy::hierarchy(epr).await);
    }
    found
}

/// Which certificates of the server are accepted.
fn tls(settings: &Settings) -> Option<Finding> {
    let DatabaseUrl::Postgres(url) = &settings.database.url else { return None };
    let tls = postgres::tls(url).ok()?;
    let seen = tls.to_string();
    let local = match url.host() {
        Some(Host::Network(name)) => matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1"),
        Some(Host::Socket(_)) | None => true,
    };
    let verified = matches!(tls, Tls::AuthorityAndName(_));
    Some(if verified || local {
        Finding::new("tls", State::Fine, seen)
    } else {
        Finding::new("tls", State::Doubtful, seen)
            .advise("any server on the way can answer: use sslmode=verify-full with sslrootcert=FILE, see SECURITY.md")
    })
}

/// The public sentence hides the cause, which is what is wanted here.
pub(super) fn cause(fault: &Error) -> String {
    match fault {
        Error::Internal(cause) | Error::Unavailable(cause) => chain(cause),
        other => chain(other),
    }
}

fn unreachable(url: &str, fault: &Error) -> Finding {
    let why = cause(fault);
    let advice = if why.contains("authentication") || why.contains("28P01") {
        "correct user and password in EPR_DATABASE_URL"
    } else if why.contains("does not exist") || why.contains("3D000") {
        "make the database and the user, or correct EPR_DATABASE_URL"
    } else {
        "check that the server runs, that EPR_DATABASE_URL names it, and that the network lets you through"
    };
    Finding::new("database", State::Wrong, format!("{url}: {why}")).advise(advice)
}

fn of_pooler(mode: &str) -> Finding {
    if mode == "transaction" {
        return Finding::new("pooler", State::Doubtful, "a connection pooler in transaction mode: decisions are not cached")
            .advise("let EPR connect to the server itself, or through a pool in session mode, to have prepared statements and the cache");
    }
    Finding::new("pooler", State::Fine, format!("a connection pooler in {mode} mode"))
}

fn of_schema(SchemaState { applied, known }: SchemaState) -> Finding {
    match applied.cmp(&known) {
        std::cmp::Ordering::Equal => Finding::new("schema", State::Fine, format!("version {applied}, as it should be")),
        std::cmp::Ordering::Less => {
            Finding::new("schema", State::Wrong, format!("version {applied}; this program needs {known}"))
                .advise("run `epr migrate`")
        }
        std::cmp::Ordering::Greater => {
            Finding::new("schema", State::Wrong, format!("version {applied}; this program knows {known} at most"))
                .advise("use the newer program that made it")
        }
    }
}

/// Whether the database's user may do what the service does; nothing to say where it may.
async fn privileges(epr: &Epr) -> Option<Finding> {
    match epr.missing_privileges().await {
        Ok(missing) if missing.is_empty() => None,
        Ok(missing) => Some(
            Finding::new("rights", State::Wrong, format!("the database user lacks {}", missing.join(", ")))
                .advise("let the owner of the tables run what `epr grants --role NAME` prints, see docs/AUDIT.md"),
        ),
        Err(failure) => Some(Finding::new("rights", State::Doubtful, cause(&failure))),
    }
}

/// Whether one process more fits onto the server.
async fn pool(epr: &Epr, settings: &Settings) -> Option<Finding> {
    let size = i64::from(settings.database.pool_size);
    match epr.connections().await {
        Ok(None) => None,
        Ok(Some(Connections { used, max })) => {
            let seen = format!("up to {size} connections a process; the server has {used} of {max} in use");
            Some(if used + size > max {
                Finding::new("pool", State::Doubtful, seen)
                    .advise("lower EPR_DATABASE_POOL_SIZE or raise the server's max_connections")
            } else {
                Finding::new("pool", State::Fine, seen)
            })
        }
        Err(fault) => Some(Finding::new("pool", State::Doubtful, cause(&fault))),
    }
}

async fn outbox(epr: &Epr) -> Finding {
    match epr.event_backlog().await {
        Err(fault) => Finding::new("events", State::Wrong, cause(&fault)),
        Ok(backlog) => {
            let mut seen = format!("{} pending, {} given up", backlog.pending, backlog.failed);
            if let Some(oldest) = backlog.oldest_pending {
                let _ = write!(seen, ", the oldest pending since {oldest}");
            }
            if backlog.failed > 0 {
                Finding::new("events", State::Doubtful, seen)
                    .advise("`epr events list --state failed` tells why; `epr events requeue --all` puts them back")
            } else {
                Finding::new("events", State::Fine, seen)
            }
        }
    }
}

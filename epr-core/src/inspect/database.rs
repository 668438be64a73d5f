//! The database: reachable, of the right schema, with room for the pool, and nothing stuck in the outbox.

use std::fmt::Write as _;
use std::time::Instant;

use super::cause::cause;
use super::{Finding, State, archive, clock, conditions, graph, hierarchy, replica};
use crate::epr::lacking_types;
use crate::settings::Settings;
use crate::store::postgres::{self, Tls};
use crate::store::url::{DatabaseUrl, Host, PostgresUrl};
use crate::store::{Connections, SchemaState};
use crate::{Epr, Error};

/// The state of the database. The first error ends the inspection.
pub async fn database(settings: &Settings) -> Vec<Finding> {
    let url = format!("{:?}", settings.database.url);
    if let DatabaseUrl::SqliteFile(path) = &settings.database.url
        && !path.exists()
    {
        let seen = format!("the file {} does not exist", path.display());
        return vec![Finding::new("database", State::Wrong, seen).advise("run `epr migrate`, or start the service")];
    }
    let epr = match Epr::from_settings(settings).await {
        Ok(epr) => epr,
        Err(error) => return vec![unreachable(&url, &error)],
    };
    let found = inspect(&epr, settings, &url).await;
    epr.close().await;
    found
}

async fn inspect(epr: &Epr, settings: &Settings, url: &str) -> Vec<Finding> {
    let begun = Instant::now();
    // An error of the pool would only report a timeout.
    if let Err(error) = epr.reach().await {
        return vec![unreachable(url, &error)];
    }
    if let Err(error) = epr.ping().await {
        return vec![unreachable(url, &error)];
    }
    let elapsed_ms = begun.elapsed().as_millis();
    let mut found = vec![Finding::new("database", State::Fine, format!("{url} answers in {elapsed_ms} ms"))];
    if let DatabaseUrl::Postgres(url) = &settings.database.url {
        found.extend(tls("tls", url));
    }
    found.extend(settings.database.replica.as_ref().and_then(|replica| tls("replica_tls", &replica.url)));
    if let Some(mode) = epr.pooler() {
        found.push(of_pooler(mode));
    }
    found.extend(clock::clock(epr).await);
    let schema = match epr.schema().await {
        Ok(schema) => schema,
        Err(error) => {
            found.push(Finding::new("schema", State::Wrong, cause(&error)));
            return found;
        }
    };
    found.push(of_schema(schema));
    if let Some(finding) = pool(epr, settings).await {
        found.push(finding);
    }
    if schema.check_start().is_ok() {
        found.extend(privileges(epr).await);
        found.push(outbox(epr).await);
        found.push(history(epr).await);
        found.push(hierarchy::hierarchy(epr).await);
        found.push(conditions::conditions(epr).await);
        found.extend(archive::archive(epr).await);
        found.push(graph::graph(epr, settings.cache.graph).await);
        found.extend(replica::replica(epr, settings).await);
        found.extend(entity_types(epr).await);
    }
    found
}

/// The entity types in use that the settings lack, if there are any: the service does not start.
async fn entity_types(epr: &Epr) -> Option<Finding> {
    let seen = match epr.unaccepted_types().await {
        Ok(unaccepted) if unaccepted.is_empty() => return None,
        Ok(unaccepted) => lacking_types(&unaccepted),
        Err(error) => cause(&error),
    };
    Some(Finding::new("types", State::Wrong, seen).advise("the service does not start with these settings"))
}

/// The server certificates that are accepted.
fn tls(what: &'static str, url: &PostgresUrl) -> Option<Finding> {
    let tls = postgres::tls(url).ok()?;
    let seen = tls.to_string();
    let local = match url.host() {
        Some(Host::Network(name)) => matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1"),
        Some(Host::Socket(_)) | None => true,
    };
    let verified = matches!(tls, Tls::AuthorityAndName(_));
    Some(if verified || local {
        Finding::new(what, State::Fine, seen)
    } else {
        Finding::new(what, State::Doubtful, seen)
            .advise("any server on the way can answer: use sslmode=verify-full with sslrootcert=FILE, see SECURITY.md")
    })
}

fn unreachable(url: &str, error: &Error) -> Finding {
    let why = cause(error);
    let advice = if why.contains("authentication") || why.contains("28P01") {
        "correct user and password in EPR_DATABASE_URL"
    } else if why.contains("does not exist") || why.contains("3D000") {
        "create the database and the user, or correct EPR_DATABASE_URL"
    } else {
        "check that the server runs, that EPR_DATABASE_URL names it, and that the network allows the connection"
    };
    Finding::new("database", State::Wrong, format!("{url}: {why}")).advise(advice)
}

fn of_pooler(mode: &str) -> Finding {
    if mode == "transaction" {
        return Finding::new(
            "pooler",
            State::Doubtful,
            "a connection pooler in transaction mode: decisions are not \
             cached",
        )
        .advise(
            "connect to the server itself, or through a pooler in session mode, to use prepared statements \
                 and the cache",
        );
    }
    Finding::new("pooler", State::Fine, format!("a connection pooler in {mode} mode"))
}

fn of_schema(schema: SchemaState) -> Finding {
    let SchemaState { applied, known, oldest_program } = schema;
    match applied.cmp(&known) {
        std::cmp::Ordering::Equal => {
            Finding::new("schema", State::Fine, format!("version {applied}, the one this program needs"))
        }
        std::cmp::Ordering::Greater if schema.check_start().is_ok() => {
            let oldest = oldest_program.unwrap_or(applied);
            let seen =
                format!("version {applied}, newer than this program's {known}; it admits programs from {oldest} on");
            Finding::new("schema", State::Fine, seen)
        }
        std::cmp::Ordering::Less => {
            Finding::new("schema", State::Wrong, format!("version {applied}; this program needs {known}"))
                .advise("run `epr migrate`")
        }
        std::cmp::Ordering::Greater => Finding::new(
            "schema",
            State::Wrong,
            format!("version {applied}; this program knows versions up to {known}"),
        )
        .advise("run a newer program"),
    }
}

/// The privileges that the database user lacks; `None` when it lacks none.
async fn privileges(epr: &Epr) -> Option<Finding> {
    match epr.missing_privileges().await {
        Ok(missing) if missing.is_empty() => None,
        Ok(missing) => Some(
            Finding::new("rights", State::Wrong, format!("the database user lacks {}", missing.join(", ")))
                .advise("run the output of `epr grants --role NAME` as the owner of the tables, see docs/AUDIT.md"),
        ),
        Err(failure) => Some(Finding::new("rights", State::Doubtful, cause(&failure))),
    }
}

/// Whether the server has room for the connections of one more process.
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
        Err(error) => Some(Finding::new("pool", State::Doubtful, cause(&error))),
    }
}

/// Whether history has every change of the registry.
async fn history(epr: &Epr) -> Finding {
    match epr.history_state().await {
        Err(error) => Finding::new("history", State::Wrong, cause(&error)),
        Ok(state) if !state.is_complete() => {
            let seen = format!(
                "complete up to entry {}; the registry was last changed by entry {}",
                state.complete_to, state.registry_sequence
            );
            Finding::new("history", State::Doubtful, seen)
                .advise("a running service completes it within minutes; `epr history complete` does it now")
        }
        Ok(state) => Finding::new("history", State::Fine, format!("complete up to entry {}", state.complete_to)),
    }
}

async fn outbox(epr: &Epr) -> Finding {
    match epr.event_backlog().await {
        Err(error) => Finding::new("events", State::Wrong, cause(&error)),
        Ok(backlog) => {
            let mut seen = format!("{} pending, {} given up", backlog.pending, backlog.failed);
            if let Some(oldest) = backlog.oldest_pending {
                let _ = write!(seen, ", the oldest pending since {oldest}");
            }
            if backlog.failed > 0 {
                Finding::new("events", State::Doubtful, seen).advise(
                    "`epr events list --state failed` shows why; `epr events requeue --all` makes them pending again",
                )
            } else {
                Finding::new("events", State::Fine, seen)
            }
        }
    }
}

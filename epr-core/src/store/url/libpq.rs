//! Every connection option of libpq (PostgreSQL 18) and what becomes of it here: honoured, accepted because it changes
//! nothing, or refused by name.
//!
//! Must never show the value of an option: it may be a password. Names are no secret.

/// The treatment of an option of libpq.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Treatment {
    /// It is honoured.
    Honoured,
    /// It changes nothing here, whatever its value.
    Ignored,
    /// These values change nothing here; any other is refused with the sentence.
    Only(&'static [&'static str], &'static str),
    /// It is refused with the sentence.
    Refused(&'static str),
}

use Treatment::{Honoured, Ignored, Only, Refused};

const TWELVE: &str = "TLS 1.2 and 1.3 are what EPR speaks; leave it out";
const REVOCATION: &str = "revocation lists are not checked; leave it out, or put a proxy that checks them in between";
const KERBEROS: &str = "GSSAPI is not supported; use a password or a client certificate";
const OAUTH: &str = "OAuth is not supported; use a password or a client certificate";
const SCRAM: &str = "SCRAM keys are not supported; give the password";
const SERVICE: &str = "service files are not read; write the connection into the URL";

/// Name, environment variable of libpq, treatment.
pub(super) const OPTIONS: &[(&str, &str, Treatment)] = &[
    ("host", "PGHOST", Honoured),
    ("hostaddr", "PGHOSTADDR", Honoured),
    ("port", "PGPORT", Honoured),
    ("dbname", "PGDATABASE", Honoured),
    ("user", "PGUSER", Honoured),
    ("password", "PGPASSWORD", Honoured),
    ("passfile", "PGPASSFILE", Honoured),
    ("application_name", "PGAPPNAME", Honoured),
    ("fallback_application_name", "", Honoured),
    ("options", "PGOPTIONS", Honoured),
    ("sslmode", "PGSSLMODE", Honoured),
    ("sslrootcert", "PGSSLROOTCERT", Honoured),
    ("sslcert", "PGSSLCERT", Honoured),
    ("sslkey", "PGSSLKEY", Honoured),
    // Set here by EPR_DATABASE_ACQUIRE_TIMEOUT and by asking connections whether they are alive.
    ("connect_timeout", "PGCONNECT_TIMEOUT", Ignored),
    ("keepalives", "", Ignored),
    ("keepalives_idle", "", Ignored),
    ("keepalives_interval", "", Ignored),
    ("keepalives_count", "", Ignored),
    ("tcp_user_timeout", "", Ignored),
    (
        "client_encoding",
        "PGCLIENTENCODING",
        Only(&["utf8", "utf-8", "unicode", "auto"], "EPR speaks UTF8; leave it out"),
    ),
    ("replication", "", Only(&["false", "off", "no", "0"], "EPR needs an ordinary connection; leave it out")),
    ("requiressl", "PGREQUIRESSL", Only(&["0"], "write sslmode=require")),
    ("sslcompression", "PGSSLCOMPRESSION", Only(&["0"], "TLS compression is not supported; leave it out")),
    (
        "sslnegotiation",
        "PGSSLNEGOTIATION",
        Only(&["postgres"], "EPR asks for TLS as every server knows it; leave it out"),
    ),
    ("sslsni", "PGSSLSNI", Only(&["1"], "the server's name is always sent; leave it out")),
    (
        "sslcertmode",
        "PGSSLCERTMODE",
        Only(&["allow"], "a client certificate is sent when sslcert names one; leave it out"),
    ),
    (
        "sslpassword",
        "",
        Refused("encrypted keys are not supported; give sslkey a key without a passphrase, readable by EPR only"),
    ),
    ("sslkeylogfile", "", Refused("TLS secrets are never written to a file; leave it out")),
    ("sslcrl", "PGSSLCRL", Refused(REVOCATION)),
    ("sslcrldir", "PGSSLCRLDIR", Refused(REVOCATION)),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION", Only(&["tlsv1", "tlsv1.1", "tlsv1.2"], TWELVE)),
    ("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION", Only(&["tlsv1.3"], TWELVE)),
    ("min_protocol_version", "PGMINPROTOCOLVERSION", Only(&["3.0"], "EPR speaks protocol 3.0; leave it out")),
    ("max_protocol_version", "PGMAXPROTOCOLVERSION", Ignored),
    (
        "channel_binding",
        "PGCHANNELBINDING",
        Only(&["prefer", "disable"], "channel binding is not supported; use sslmode=verify-full"),
    ),
    (
        "require_auth",
        "PGREQUIREAUTH",
        Refused("the server chooses how it authenticates; use sslmode=verify-full and leave it out"),
    ),
    (
        "requirepeer",
        "PGREQUIREPEER",
        Refused("the owner of the socket is not checked; protect its folder and leave it out"),
    ),
    ("gssencmode", "PGGSSENCMODE", Only(&["disable", "prefer"], KERBEROS)),
    ("krbsrvname", "PGKRBSRVNAME", Ignored),
    ("gsslib", "PGGSSLIB", Ignored),
    ("gssdelegation", "PGGSSDELEGATION", Only(&["0"], KERBEROS)),
    ("scram_client_key", "", Refused(SCRAM)),
    ("scram_server_key", "", Refused(SCRAM)),
    ("service", "PGSERVICE", Refused(SERVICE)),
    ("servicefile", "PGSERVICEFILE", Refused(SERVICE)),
    (
        "target_session_attrs",
        "PGTARGETSESSIONATTRS",
        Only(&["any", "read-write", "primary"], "EPR writes with every change and needs the primary; leave it out"),
    ),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS", Only(&["disable"], "EPR connects to one host; leave it out")),
    ("oauth_issuer", "", Refused(OAUTH)),
    ("oauth_client_id", "", Refused(OAUTH)),
    ("oauth_client_secret", "", Refused(OAUTH)),
    ("oauth_scope", "", Refused(OAUTH)),
];

/// Options of Python's drivers that only say how long to wait or what to cache.
const OTHER_DRIVERS: [&str; 5] =
    ["prepared_statement_cache_size", "statement_cache_size", "command_timeout", "timeout", "async_fallback"];

/// Other spellings: what drivers other than libpq call an option.
const SPELLINGS: [(&str, &str); 6] = [
    ("ssl-mode", "sslmode"),
    ("ssl-root-cert", "sslrootcert"),
    ("ssl-ca", "sslrootcert"),
    ("ssl-cert", "sslcert"),
    ("ssl-key", "sslkey"),
    ("database", "dbname"),
];

/// An option to honour under libpq's name, or `None` when it changes nothing here.
///
/// # Errors
/// It is refused: a sentence that names it.
pub(super) fn option(name: &str, value: &str) -> Result<Option<(&'static str, String)>, String> {
    // asyncpg's and JDBC's spelling; libpq itself reads `ssl=true`.
    if name == "ssl" {
        let mode = match value {
            "true" | "on" | "1" => "require",
            "false" | "off" | "0" => "disable",
            mode => mode,
        };
        return sslmode(mode).map(|()| Some(("sslmode", mode.to_owned())));
    }
    if OTHER_DRIVERS.contains(&name) {
        return Ok(None);
    }
    let name = SPELLINGS.iter().find(|(spelling, _)| *spelling == name).map_or(name, |(_, name)| name);
    let Some((name, _, treatment)) = OPTIONS.iter().find(|(known, ..)| *known == name) else {
        return Err(format!("the option {} is not one of libpq's: correct its name, or leave it out", shown(name)));
    };
    if value.is_empty() {
        return Ok(None);
    }
    match treatment {
        Honoured => {
            if *name == "sslmode" {
                sslmode(value)?;
            }
            Ok(Some((name, value.to_owned())))
        }
        Ignored => Ok(None),
        Only(values, _) if values.contains(&value.to_ascii_lowercase().as_str()) => Ok(None),
        Only(values, why) => {
            Err(format!("the option {name} is not supported with this value (only {}): {why}", values.join(", ")))
        }
        Refused(why) => Err(format!("the option {name} is not supported: {why}")),
    }
}

fn sslmode(mode: &str) -> Result<(), String> {
    const MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
    if MODES.contains(&mode) { Ok(()) } else { Err(format!("sslmode is none of {}", MODES.join(", "))) }
}

/// A name that is not known, short and printable: it may contain anything.
fn shown(name: &str) -> String {
    let plain =
        name.len() <= 40 && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '[' | ']' | '.'));
    if plain && !name.is_empty() { format!("`{name}`") } else { "that was given".to_owned() }
}

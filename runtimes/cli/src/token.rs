//! `epr token`: creates API tokens. Needs no database and stores nothing: a lost token is replaced by a new one.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use epr_core::authn::{Scope, TokenList, token};
use epr_core::clock::{Clock as _, SystemClock};
use epr_core::domain::fields::Choice as _;
use epr_core::domain::named_caller::{CallerKind, NamedCaller};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::Outcome;
use crate::output::{Output, escaped, notice};
use crate::times::{self, GivenTime, times_help};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create a token: print it once, with its entry for the list of the service
    New(New),
}

#[derive(Args)]
#[command(after_help = times_help!())]
pub(crate) struct New {
    /// The name of the token, 1 to 64 characters; the log has it
    #[arg(long)]
    name: String,
    /// The scopes, comma-separated: epr:authorize, epr:assert, epr:explain, epr:list, epr:read, epr:write, epr:erase,
    /// epr:events, epr:audit, epr:operate, epr:act-as
    #[arg(long, required = true, value_delimiter = ',', value_parser = scope)]
    scopes: Vec<Scope>,
    /// The actor that the ledger records for calls with the token; default: the token
    #[arg(long, value_name = "UUID")]
    actor: Option<Uuid>,
    /// When the token expires; 90d is in 90 days; default: never
    #[arg(long, value_name = "TIME", value_parser = times::later, allow_hyphen_values = true)]
    expires: Option<GivenTime>,
}

fn scope(word: &str) -> Result<Scope, String> {
    let words: Vec<_> = Scope::ALL.iter().map(|scope| scope.word()).collect();
    Scope::from_word(word).ok_or_else(|| format!("the scopes are {}", words.join(", ")))
}

pub(crate) fn run(command: &Command, out: &mut Output) -> Outcome {
    let Command::New(new) = command;
    let token = token::mint()?;
    let expires = new.expires.map(|end| end.resolve(SystemClock.now()));
    let hash = token::hash(&token).ok_or("the new token is not valid")?;
    let mut entry = Map::new();
    entry.insert("name".into(), new.name.as_str().into());
    entry.insert("sha256".into(), token::hex(&hash).into());
    entry.insert("scopes".into(), new.scopes.iter().map(|scope| scope.word()).collect());
    entry.extend(new.actor.map(|actor| ("actor_id".into(), actor.to_string().into())));
    entry.extend(expires.map(|end| ("expires_at".into(), end.to_string().into())));
    let entry = Value::Object(entry);
    // An entry that the service would refuse fails before the token is printed.
    TokenList::parse(&format!("[{entry}]"))?;
    if new.actor.is_none() {
        let named = NamedCaller::new(CallerKind::Token, new.name.as_str());
        notice(&format!(
            "warning: without --actor the ledger records this token by its name: `{}`, \
             {}. Add `--actor {}` to keep that id \
             when a token of another name replaces this one, or `--actor` with the id of a user or service of yours.",
            escaped(&new.name),
            named.actor_id(),
            named.actor_id()
        ));
    }
    if out.json {
        out.object(&json!({"token": token, "entry": entry}))?;
    } else {
        notice("The token, shown only once, and its entry for the list in EPR_API_TOKENS or EPR_API_TOKENS_FILE:");
        out.line(format_args!("{token}\n{entry}"))?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

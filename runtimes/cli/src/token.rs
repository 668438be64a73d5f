//! `epr token`: makes API tokens. Needs no database, and keeps nothing: who loses a token makes another.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use epr_core::authn::{Scope, TokenList, token};
use epr_core::domain::Timestamp;
use epr_core::domain::fields::Choice as _;
use epr_core::domain::named_caller::{CallerKind, NamedCaller};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::Outcome;
use crate::output::{Output, remark, visible};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a token: prints it once, and the entry by which the service knows it
    New(New),
}

#[derive(Args)]
pub(crate) struct New {
    /// Whose it is, 1 to 64 characters; stands in the log
    #[arg(long)]
    name: String,
    /// What it allows, comma-separated: epr:authorize, epr:read, epr:write, epr:events, epr:audit, epr:operate, epr:act-as
    #[arg(long, required = true, value_delimiter = ',', value_parser = scope)]
    scopes: Vec<Scope>,
    /// The actor that the ledger names for what is done with it; without one, the ledger names the token
    #[arg(long, value_name = "UUID")]
    actor: Option<Uuid>,
    /// When it ends, such as 2027-12-31T00:00:00Z; never when absent
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
    expires: Option<Timestamp>,
}

fn scope(word: &str) -> Result<Scope, String> {
    let words: Vec<_> = Scope::ALL.iter().map(|scope| scope.word()).collect();
    Scope::from_word(word).ok_or_else(|| format!("the scopes are {}", words.join(", ")))
}

pub(crate) fn run(command: &Command, out: &mut Output) -> Outcome {
    let Command::New(new) = command;
    let token = token::mint()?;
    let hash = token::hash(&token).ok_or("a token that is none")?;
    let mut entry = Map::new();
    entry.insert("name".into(), new.name.as_str().into());
    entry.insert("sha256".into(), token::hex(&hash).into());
    entry.insert("scopes".into(), new.scopes.iter().map(|scope| scope.word()).collect());
    entry.extend(new.actor.map(|actor| ("actor_id".into(), actor.to_string().into())));
    entry.extend(new.expires.map(|end| ("expires_at".into(), end.to_string().into())));
    let entry = Value::Object(entry);
    // What the service would refuse is told before anybody has the token.
    TokenList::parse(&format!("[{entry}]"))?;
    if new.actor.is_none() {
        let named = NamedCaller::new(CallerKind::Token, new.name.as_str());
        remark(&format!(
            "warning: without --actor the ledger names this token by its name: `{}`, {}. Add `--actor {}` to keep that id \
             when the token is replaced by one of another name, or `--actor` with the id of a user or service of yours.",
            visible(&new.name),
            named.actor_id(),
            named.actor_id()
        ));
    }
    if out.json {
        out.object(&json!({"token": token, "entry": entry}))?;
    } else {
        remark("The token, shown this once, and its entry for the list in EPR_API_TOKENS or EPR_API_TOKENS_FILE:");
        out.line(format_args!("{token}\n{entry}"))?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

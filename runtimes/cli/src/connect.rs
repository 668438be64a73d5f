//! Opens the backend of a command, the database or an API, and determines the actor.

use std::path::PathBuf;

use clap::Args;
use epr_client::{BaseUrl, BaseUrlError};
use epr_core::domain::StatedReason;
use epr_core::domain::fields::parse_uuid;
use epr_core::domain::named_caller::{CallerKind, NamedCaller};
use epr_core::settings::{Environment, Source};
use epr_core::store::url::DatabaseUrl;
use epr_core::{Call, Epr, Error, Settings};
use uuid::Uuid;

use crate::backend::Backend;
use crate::backend::api::Api;
use crate::output::notice;

#[derive(Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Call the API at this address instead of opening the database
    #[arg(long, global = true, value_name = "URL", value_parser = base_url)]
    url: Option<BaseUrl>,
    /// A file with the token for the API; every user of the machine can see a token in an argument
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The actor that the ledger records for every change; default: the user of the operating system (`user@host`)
    #[arg(long, global = true, value_name = "UUID")]
    actor: Option<Uuid>,
    /// Why the change is made, for the ledger; up to 512 characters
    #[arg(long, global = true, value_name = "TEXT")]
    reason: Option<StatedReason>,
}

fn base_url(text: &str) -> Result<BaseUrl, String> {
    text.parse().map_err(|error| match error {
        BaseUrlError::Credentials => {
            "every user of this machine can see a URL with a password in it: use --token-file".to_owned()
        }
        other => other.to_string(),
    })
}

impl Global {
    /// Refuses `--url` for a command that needs the database.
    pub(crate) fn database_only(&self, command: &str) -> Result<(), String> {
        if self.url.is_some() { Err(needs_database(command)) } else { Ok(()) }
    }
}

fn needs_database(command: &str) -> String {
    format!("`epr {command}` needs the database and cannot work over the API: omit --url and set EPR_DATABASE_URL")
}

/// The user of the operating system that runs this command, and the machine. The user is found by the effective user
/// id: the caller can set the variable `USER` to any name.
fn operating_system_user() -> NamedCaller {
    let id = rustix::process::geteuid().as_raw();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        fields.nth(1).filter(|field| field.parse() == Ok(id)).map(|_| name)
    });
    let user = named.map_or_else(|| format!("uid-{id}"), str::to_owned);
    let machine = rustix::system::uname();
    let name: String = format!("{user}@{}", machine.nodename().to_string_lossy());
    let name: String = name.chars().filter(|c| !c.is_control()).take(255).collect();
    NamedCaller::new(CallerKind::Cli, name)
}

/// An open connection.
pub(crate) struct Connection {
    pub(crate) backend: Backend,
    /// Whether the data is probably real: production, or an API on another machine.
    pub(crate) is_real: bool,
}

impl Connection {
    /// `any_schema`: the command also works on a database that does not exist yet or has another schema.
    pub(crate) async fn open(global: &Global, any_schema: bool) -> Result<Self, Box<dyn std::error::Error>> {
        let source = Source::from_env()?;
        let actor_id = match (global.actor, source.get("EPR_ACTOR_ID")) {
            (Some(actor), _) => Some(actor),
            (None, Some(text)) => {
                Some(parse_uuid(text).ok_or_else(|| format!("EPR_ACTOR_ID is `{text}`; allowed: a UUID"))?)
            }
            (None, None) => None,
        };
        let Some(url) = &global.url else {
            if global.token_file.is_some() {
                return Err("--token-file is for an API: give the address of the API with --url".into());
            }
            let stated_reason = global.reason.clone();
            let call = Call { actor_id, caller: Some(operating_system_user()), stated_reason, ..Call::default() };
            return Self::to_database(&source, call, any_schema).await;
        };
        let token = match (&global.token_file, source.get("EPR_API_TOKEN")) {
            (Some(path), _) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("the token file {} cannot be read: {error}", path.display()))?;
                Some(text.trim().to_owned())
            }
            (None, token) => token.map(str::to_owned),
        };
        let local = url.is_loopback();
        if token.is_some() && !url.is_encrypted() && !local {
            notice("warning: http:// sends the token unencrypted; use https:// if the service offers it");
        }
        let api = Api::new(url, token.as_deref(), actor_id, global.reason.as_ref())?;
        Ok(Self { backend: Backend::Api(api), is_real: !local })
    }

    async fn to_database(source: &Source, call: Call, any_schema: bool) -> Result<Self, Box<dyn std::error::Error>> {
        let settings = Settings::from_source(source)?;
        for variable in &settings.unknown_variables {
            notice(&format!("warning: {variable}"));
        }
        match &settings.database.url {
            DatabaseUrl::SqliteMemory => {
                return Err("EPR_DATABASE_URL is a database in memory, which is empty and ends with this command: \
                            give a file or a server"
                    .into());
            }
            DatabaseUrl::SqliteFile(path) if !any_schema && !path.exists() => {
                let path = path.display();
                return Err(format!(
                    "there is no database at {path}: run `epr migrate` to create it, or set EPR_DATABASE_URL"
                )
                .into());
            }
            DatabaseUrl::SqliteFile(_) | DatabaseUrl::Postgres(_) => {}
        }
        let epr = Epr::from_settings(&settings).await?;
        // The pool would report only a timeout, not the cause.
        epr.reach().await?;
        if !any_schema {
            epr.schema().await?.check_start().map_err(Error::from)?;
        }
        let is_real = matches!(settings.service.environment, Environment::Production);
        let unpublished = settings.events.topic_arn.is_none()
            && matches!(settings.service.environment, Environment::Staging | Environment::Production);
        Ok(Self { backend: Backend::Database { epr, call: Box::new(call), unpublished }, is_real })
    }

    /// The database and the call, for commands that change it directly.
    pub(crate) fn database_and_call(&self, command: &str) -> Result<(&Epr, &Call), String> {
        match &self.backend {
            Backend::Database { epr, call, .. } => Ok((epr, call.as_ref())),
            Backend::Api(_) => Err(needs_database(command)),
        }
    }

    /// The database, for commands that cannot work over the API.
    pub(crate) fn database(&self, command: &str) -> Result<&Epr, String> {
        match &self.backend {
            Backend::Database { epr, .. } => Ok(epr),
            Backend::Api(_) => Err(needs_database(command)),
        }
    }

    pub(crate) async fn close(&self) {
        if let Backend::Database { epr, .. } = &self.backend {
            epr.close().await;
        }
    }
}

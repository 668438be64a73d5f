//! `epr principals …`

use std::process::ExitCode;

use clap::{Args, Subcommand};
use epr_core::domain::assignment::PrincipalType;
use epr_core::domain::fields::Choice as _;
use epr_core::domain::principal::DisplayName;
use epr_core::domain::{
    ExternalId, Json, Moment, NewPrincipal, Principal, PrincipalFilter, PrincipalPatch, PrincipalStatus,
};
use epr_core::history::RegistryRow;
use epr_core::store::RegistryList;
use uuid::Uuid;

use crate::backend::Backend;
use crate::check::principal_type;
use crate::entities::{Attributes, Limit, attributes, choice};
use crate::moment::MomentOptions;
use crate::output::{Output, escaped};
use crate::{Outcome, principal_history};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List registered principals, newest first
    List {
        /// Only principals of this type
        #[arg(long = "type", value_name = "TYPE", value_parser = principal_type)]
        principal_type: Option<PrincipalType>,
        /// Only principals of this status
        #[arg(long, value_parser = choice::<PrincipalStatus>())]
        status: Option<PrincipalStatus>,
        /// Only the principals that another system knows under this id
        #[arg(long, value_name = "ID", value_parser = external_id)]
        external_id: Option<ExternalId>,
        /// List at most N
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        #[command(flatten)]
        moment: MomentOptions,
    },
    /// Show all fields of one principal, also an erased one
    #[command(visible_alias = "get")]
    Show {
        #[command(flatten)]
        principal: Named,
        #[command(flatten)]
        moment: MomentOptions,
    },
    /// Register a principal
    Create(Create),
    /// Change a principal; fields that are not given stay as they are
    Update(Update),
    /// Suspend a principal: it is denied everything, and its assignments stay
    Suspend(Named),
    /// Activate a suspended principal
    Activate(Named),
    /// Show what the ledger has about a principal; its personal fields while it is not erased
    History(Named),
    /// Erase the personal fields of a principal for good, also in the ledger, and revoke its assignments
    Erase {
        #[command(flatten)]
        principal: Named,
        /// Confirm: an erasure cannot be undone
        #[arg(long)]
        yes: bool,
    },
}

/// The identity of a principal.
#[derive(Args)]
pub(crate) struct Named {
    /// The id of the principal
    pub(crate) principal: Uuid,
    /// The type of the principal
    #[arg(long = "type", value_name = "TYPE", default_value = "user", value_parser = principal_type)]
    pub(crate) principal_type: PrincipalType,
}

#[derive(Args)]
pub(crate) struct Create {
    /// The id; default: a generated one
    #[arg(long, value_name = "UUID")]
    id: Option<Uuid>,
    /// The type of the principal
    #[arg(long = "type", value_name = "TYPE", default_value = "user", value_parser = principal_type)]
    principal_type: PrincipalType,
    /// The id of the principal in another system, unique within the type
    #[arg(long, value_name = "ID", value_parser = external_id)]
    external_id: Option<ExternalId>,
    /// The name for people
    #[arg(long, value_name = "NAME", value_parser = display_name)]
    display_name: Option<DisplayName>,
    /// Attributes, as a JSON object
    #[arg(long, value_name = "JSON", value_parser = attributes)]
    attributes: Option<Attributes>,
    /// The status
    #[arg(long, default_value = "active", value_parser = choice::<PrincipalStatus>())]
    status: PrincipalStatus,
}

#[derive(Args)]
pub(crate) struct Update {
    #[command(flatten)]
    principal: Named,
    /// The new id in another system
    #[arg(long, value_name = "ID", value_parser = external_id, conflicts_with = "no_external_id")]
    external_id: Option<ExternalId>,
    /// Remove the id in another system
    #[arg(long)]
    no_external_id: bool,
    /// The new name for people
    #[arg(long, value_name = "NAME", value_parser = display_name, conflicts_with = "no_display_name")]
    display_name: Option<DisplayName>,
    /// Remove the name for people
    #[arg(long)]
    no_display_name: bool,
    /// The new attributes, as a JSON object; they replace all present ones
    #[arg(long, value_name = "JSON", value_parser = attributes)]
    attributes: Option<Attributes>,
}

pub(crate) fn external_id(text: &str) -> Result<ExternalId, String> {
    ExternalId::new(text).map_err(|error| error.to_string())
}

fn display_name(text: &str) -> Result<DisplayName, String> {
    DisplayName::new(text).map_err(|error| error.to_string())
}

pub(crate) async fn run(backend: &Backend, command: &Command, out: &mut Output) -> Outcome {
    match command {
        Command::List { principal_type, status, external_id, limit, moment } => {
            let filter = PrincipalFilter {
                principal_type: principal_type.clone(),
                status: *status,
                external_id: external_id.clone(),
            };
            list(backend, (&filter, moment.moment(backend.now())), *limit, out).await?;
        }
        Command::Show { principal: Named { principal, principal_type }, moment } => {
            let moment = moment.moment(backend.now());
            show(&backend.principal_at(principal_type, *principal, moment).await?, out)?;
        }
        Command::Create(create) => {
            let new = NewPrincipal {
                id: create.id,
                principal_type: create.principal_type.clone(),
                external_id: create.external_id.clone(),
                display_name: create.display_name.clone(),
                attributes: create.attributes.clone().map(|given| given.0).unwrap_or_default(),
                status: create.status,
            };
            show(&backend.create_principal(new).await?, out)?;
        }
        Command::Update(update) => show(&update.run(backend).await?, out)?,
        Command::Suspend(named) => set_status(backend, named, PrincipalStatus::Suspended, out).await?,
        Command::Activate(named) => set_status(backend, named, PrincipalStatus::Active, out).await?,
        Command::History(named) => return principal_history::run(backend, named, out).await,
        Command::Erase { principal: Named { principal, principal_type }, yes } => {
            if !yes {
                return Err(format!(
                    "an erasure cannot be undone: it removes the personal fields of {principal_type} {principal}, also \
                     from the ledger, and revokes its assignments; give --yes to erase it"
                )
                .into());
            }
            backend.warn_if_unpublished();
            show(&backend.erase_principal(principal_type, *principal).await?, out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Update {
    async fn run(&self, backend: &Backend) -> Result<Principal, Box<dyn std::error::Error>> {
        let patch = PrincipalPatch {
            external_id: self.external_id.clone().map(Some).or(self.no_external_id.then_some(None)),
            display_name: self.display_name.clone().map(Some).or(self.no_display_name.then_some(None)),
            attributes: self.attributes.clone().map(|given| given.0),
            status: None,
        };
        if patch == PrincipalPatch::default() {
            return Err(
                "nothing to change: give --external-id, --no-external-id, --display-name, --no-display-name or \
                        --attributes"
                    .into(),
            );
        }
        let Named { principal, principal_type } = &self.principal;
        Ok(backend.update_principal(principal_type, *principal, patch).await?)
    }
}

async fn set_status(
    backend: &Backend,
    Named { principal, principal_type }: &Named,
    status: PrincipalStatus,
    out: &mut Output,
) -> Result<(), Box<dyn std::error::Error>> {
    backend.warn_if_unpublished();
    let patch = PrincipalPatch { status: Some(status), ..PrincipalPatch::default() };
    show(&backend.update_principal(principal_type, *principal, patch).await?, out)
}

async fn list(
    backend: &Backend,
    (filter, moment): (&PrincipalFilter, Moment),
    limit: Option<usize>,
    out: &mut Output,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut limit = Limit::of(limit);
    let mut written = Ok(());
    let mut show = |principal: &Principal| {
        if !limit.admits() {
            return false;
        }
        written = row(principal, out);
        written.is_ok()
    };
    if moment.is_now() {
        backend.for_each_principal(filter, &mut |principal| show(&principal)).await?;
    } else {
        let mut shown = |row| matches!(row, RegistryRow::Principal(principal) if show(&principal));
        backend.for_each_row_at(RegistryList::Principals(filter), moment, &mut shown).await?;
    }
    written?;
    limit.report(out, "No registered principals.")?;
    Ok(())
}

fn row(principal: &Principal, out: &mut Output) -> std::io::Result<()> {
    if out.json {
        return out.object(principal);
    }
    let mut line = format!("{}  {}", principal.id, escaped(&principal.principal_type));
    for text in [&principal.display_name, &principal.external_id].into_iter().flatten() {
        line.push_str("  ");
        line.push_str(&escaped(text));
    }
    let state = match (principal.erased_at, principal.status) {
        (Some(_), PrincipalStatus::Active) => "erased",
        (Some(_), PrincipalStatus::Suspended) => "erased, suspended",
        (None, PrincipalStatus::Suspended) => "suspended",
        (None, PrincipalStatus::Active) => return out.clipped_line(&line),
    };
    out.clipped_line(&format!("{line} {}", Output::warning(format_args!("({state})"))))
}

fn show(principal: &Principal, out: &mut Output) -> Result<(), Box<dyn std::error::Error>> {
    if out.json {
        return Ok(out.object(principal)?);
    }
    let text = |text: &Option<String>| text.as_deref().map_or_else(|| "none".to_owned(), escaped);
    let mut fields = vec![
        ("id", principal.id.to_string()),
        ("type", escaped(&principal.principal_type)),
        ("external id", text(&principal.external_id)),
        ("name", text(&principal.display_name)),
        ("status", principal.status.word().into()),
        ("attributes", escaped(&Json::Object(principal.attributes.clone()).to_string())),
        ("created", principal.created_at.to_string()),
        ("updated", principal.updated_at.to_string()),
    ];
    fields.extend(principal.erased_at.map(|at| ("erased", at.to_string())));
    out.fields(&fields)?;
    Ok(())
}

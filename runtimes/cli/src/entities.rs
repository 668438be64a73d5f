//! `epr entities …`

use std::process::ExitCode;

use clap::{Args, Subcommand, builder::PossibleValue};
use epr_core::domain::entity::EntityName;
use epr_core::domain::fields::Choice;
use epr_core::domain::{Entity, EntityFilter, EntityPatch, EntityStatus, EntityType, Json, JsonObject, NewEntity};

use crate::Outcome;
use crate::backend::Backend;
use crate::output::{Output, remark, visible};
use crate::reference::EntityRef;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Those in use, newest first
    List {
        /// Only of this type; may be given more than once
        #[arg(long = "type", value_name = "TYPE", value_parser = choice::<EntityType>())]
        types: Vec<EntityType>,
        /// Only the children of this entity: its id, or TYPE:NAME
        #[arg(long, value_name = "ENTITY")]
        parent: Option<EntityRef>,
        /// At most this many
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// One with all its fields, archived or not
    Show {
        /// Its id, or TYPE:NAME
        entity: EntityRef,
    },
    /// Register a new one
    Create(Create),
    /// Change one; what is not given stays as it is
    Update(Update),
    /// Put one away: it is left out of lists and keeps its history
    Archive {
        /// Its id, or TYPE:NAME
        entity: EntityRef,
    },
}

#[derive(Args)]
pub(crate) struct Create {
    /// Its type
    #[arg(value_name = "TYPE", value_parser = choice::<EntityType>())]
    entity_type: EntityType,
    /// Its name, unique among those of the type
    #[arg(value_parser = name)]
    name: EntityName,
    /// The entity above it: its id, or TYPE:NAME
    #[arg(long, value_name = "ENTITY")]
    parent: Option<EntityRef>,
    /// What else is known of it, as a JSON object
    #[arg(long, value_name = "JSON", value_parser = attributes)]
    attributes: Option<Attributes>,
}

#[derive(Args)]
pub(crate) struct Update {
    /// Its id, or TYPE:NAME
    entity: EntityRef,
    /// A new name
    #[arg(long, value_parser = name)]
    name: Option<EntityName>,
    /// A new status
    #[arg(long, value_parser = choice::<EntityStatus>())]
    status: Option<EntityStatus>,
    /// A new entity above it: its id, or TYPE:NAME
    #[arg(long, value_name = "ENTITY", conflicts_with = "no_parent")]
    parent: Option<EntityRef>,
    /// Nothing above it any more
    #[arg(long)]
    no_parent: bool,
    /// New attributes in place of all that there are, as a JSON object
    #[arg(long, value_name = "JSON", value_parser = attributes)]
    attributes: Option<Attributes>,
}

/// The members of a JSON object in an argument.
#[derive(Clone)]
struct Attributes(JsonObject);

fn attributes(text: &str) -> Result<Attributes, String> {
    match Json::parse(text.as_bytes()) {
        Ok(Json::Object(members)) => Ok(Attributes(members)),
        Ok(_) => Err("give a JSON object such as {\"city\": \"Berlin\"}".into()),
        Err(fault) => Err(fault.to_string()),
    }
}

fn name(text: &str) -> Result<EntityName, String> {
    EntityName::new(text).map_err(|fault| fault.to_string())
}

/// The words of a closed set, for help, completion and errors.
pub(crate) fn choice<T: Choice + Send + Sync>() -> impl clap::builder::TypedValueParser<Value = T> {
    use clap::builder::TypedValueParser as _;
    let words: Vec<_> = T::ALL.iter().map(|choice| PossibleValue::new(choice.word())).collect();
    clap::builder::PossibleValuesParser::new(words)
        .try_map(|word| T::from_word(&word).ok_or_else(|| format!("`{word}` is not known")))
}

pub(crate) async fn run(backend: &Backend, command: &Command, out: &mut Output) -> Outcome {
    match command {
        Command::List { types, parent, limit } => {
            let parent_id = match parent {
                Some(parent) => Some(parent.id(backend).await?),
                None => None,
            };
            list(backend, &EntityFilter { types: types.clone(), parent_id }, *limit, out).await?;
        }
        Command::Show { entity } => show(backend, &entity.find(backend).await?, out).await?,
        Command::Create(create) => {
            let parent_id = match &create.parent {
                Some(parent) => Some(parent.id(backend).await?),
                None => None,
            };
            let attributes = create.attributes.clone().map(|given| given.0).unwrap_or_default();
            let new = NewEntity { parent_id, attributes, ..NewEntity::new(create.name.clone(), create.entity_type) };
            show(backend, &backend.create_entity(new).await?, out).await?;
        }
        Command::Update(update) => {
            let parent_id = match &update.parent {
                Some(parent) => Some(Some(parent.id(backend).await?)),
                None => update.no_parent.then_some(None),
            };
            let attributes = update.attributes.clone().map(|given| given.0);
            let patch = EntityPatch { name: update.name.clone(), status: update.status, parent_id, attributes };
            if patch == EntityPatch::default() {
                return Err("nothing to change: give --name, --status, --parent, --no-parent or --attributes".into());
            }
            let id = update.entity.id(backend).await?;
            backend.remark_if_untold();
            show(backend, &backend.update_entity(id, patch).await?, out).await?;
        }
        Command::Archive { entity } => {
            let id = entity.id(backend).await?;
            backend.remark_if_untold();
            show(backend, &backend.archive_entity(id).await?, out).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Counts rows against a limit; one more than is shown is read, which tells whether there are more.
pub(crate) struct Limit {
    limit: Option<usize>,
    seen: usize,
}

impl Limit {
    pub(crate) fn of(limit: Option<usize>) -> Self {
        Self { limit, seen: 0 }
    }

    /// Whether the next row is still to be shown.
    pub(crate) fn admits(&mut self) -> bool {
        self.seen += 1;
        self.limit.is_none_or(|limit| self.seen <= limit)
    }

    /// Says what was left out, or that there was nothing.
    pub(crate) fn remark(&self, out: &mut Output, nothing: &str) -> std::io::Result<()> {
        out.flush()?;
        match self.limit {
            Some(limit) if self.seen > limit => remark("There are more: raise --limit to see them."),
            _ if self.seen == 0 && !out.json => remark(nothing),
            _ => {}
        }
        Ok(())
    }
}

/// How an entity is called: `type:name`, as the commands take it.
pub(crate) fn called(entity_type: EntityType, name: &str) -> String {
    format!("{}:{}", entity_type.word(), visible(name))
}

async fn list(
    backend: &Backend,
    filter: &EntityFilter,
    limit: Option<usize>,
    out: &mut Output,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut limit = Limit::of(limit);
    let mut written = Ok(());
    backend
        .each_entity(filter, &mut |entity| {
            if !limit.admits() {
                return false;
            }
            written = row(&entity, limit.seen == 1, out);
            written.is_ok()
        })
        .await?;
    written?;
    limit.remark(out, "No entities.")?;
    Ok(())
}

fn row(entity: &Entity, first: bool, out: &mut Output) -> std::io::Result<()> {
    if out.json {
        return out.object(entity);
    }
    if first {
        out.heading(&format!("{:<36}  {:<8}  NAME", "ID", "TYPE"))?;
    }
    let status = if entity.status == EntityStatus::Active {
        String::new()
    } else {
        format!(" {}", Output::doubtful(format_args!("({})", entity.status.word())))
    };
    out.fitted(&format!("{}  {:<8}  {}{status}", entity.id, entity.entity_type.word(), visible(&entity.name)))
}

async fn show(backend: &Backend, entity: &Entity, out: &mut Output) -> Result<(), Box<dyn std::error::Error>> {
    if out.json {
        return Ok(out.object(entity)?);
    }
    let parent = match entity.parent_id {
        Some(id) => {
            let parent = backend.entity(id).await?;
            format!("{id} {}", called(parent.entity_type, &parent.name))
        }
        None => "none".into(),
    };
    out.fields(&[
        ("id", entity.id.to_string()),
        ("type", entity.entity_type.word().into()),
        ("name", visible(&entity.name)),
        ("status", entity.status.word().into()),
        ("parent", parent),
        ("attributes", visible(&Json::Object(entity.attributes.clone()).to_string())),
        ("created", entity.created_at.to_string()),
        ("updated", entity.updated_at.to_string()),
    ])?;
    Ok(())
}

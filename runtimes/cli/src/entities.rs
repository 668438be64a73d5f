//! `epr entities …`

use std::ffi::OsStr;
use std::process::ExitCode;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Args, Subcommand};
use epr_core::domain::entity::EntityName;
use epr_core::domain::fields::Choice;
use epr_core::domain::{
    Entity, EntityFilter, EntityPatch, EntityStatus, EntityType, ExternalId, Json, JsonObject, Moment, NewEntity,
};
use epr_core::history::RegistryRow;
use epr_core::store::RegistryList;

pub(crate) use epr_transfer::text::entity_label;

use crate::Outcome;
use crate::backend::Backend;
use crate::moment::MomentOptions;
use crate::output::{Output, escaped, notice};
use crate::reference::EntityRef;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List entities, newest first
    List {
        /// Only entities of this type; repeatable
        #[arg(long = "type", value_name = "TYPE", value_parser = EntityTypeParser, hide_possible_values = true)]
        types: Vec<EntityType>,
        /// Only children of this entity: its id, or TYPE:NAME
        #[arg(long, value_name = "ENTITY")]
        parent: Option<EntityRef>,
        /// Only entities of this status; default: all but the archived ones
        #[arg(long, value_parser = choice::<EntityStatus>())]
        status: Option<EntityStatus>,
        /// Only the entity with exactly this name and of the one type that --type names
        #[arg(long, value_name = "TEXT", value_parser = name, requires = "types")]
        name: Option<EntityName>,
        /// Only entities whose names begin with this text
        #[arg(long, value_name = "TEXT", value_parser = name)]
        name_prefix: Option<EntityName>,
        /// Only entities below this one, at any depth: its id, or TYPE:NAME
        #[arg(long, value_name = "ENTITY")]
        below: Option<EntityRef>,
        /// Only entities with this external id
        #[arg(long, value_name = "TEXT")]
        external_id: Option<ExternalId>,
        /// List at most N
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        #[command(flatten)]
        moment: MomentOptions,
    },
    /// Show all fields of one entity, also an archived one
    #[command(visible_alias = "get")]
    Show {
        /// The entity: its id, or TYPE:NAME
        entity: EntityRef,
        #[command(flatten)]
        moment: MomentOptions,
    },
    /// Create an entity
    Create(Create),
    /// Change an entity; fields that are not given stay as they are
    Update(Update),
    /// Archive an entity: lists omit it, and its history stays
    Archive {
        /// The entity: its id, or TYPE:NAME
        entity: EntityRef,
    },
}

#[derive(Args)]
pub(crate) struct Create {
    /// The type: issuer, spv, offering, investor, agent, other, or one that the operator has added
    #[arg(value_name = "TYPE", value_parser = EntityTypeParser, hide_possible_values = true)]
    entity_type: EntityType,
    /// The name, unique within the type
    #[arg(value_parser = name)]
    name: EntityName,
    /// The parent: its id, or TYPE:NAME
    #[arg(long, value_name = "ENTITY")]
    parent: Option<EntityRef>,
    /// The id of the entity in another system, unique within the type
    #[arg(long, value_name = "TEXT")]
    external_id: Option<ExternalId>,
    /// Attributes, as a JSON object
    #[arg(long, value_name = "JSON", value_parser = attributes)]
    attributes: Option<Attributes>,
}

#[derive(Args)]
pub(crate) struct Update {
    /// The entity: its id, or TYPE:NAME
    entity: EntityRef,
    /// The new name
    #[arg(long, value_parser = name)]
    name: Option<EntityName>,
    /// The new status
    #[arg(long, value_parser = choice::<EntityStatus>())]
    status: Option<EntityStatus>,
    /// The new parent: its id, or TYPE:NAME
    #[arg(long, value_name = "ENTITY", conflicts_with = "no_parent")]
    parent: Option<EntityRef>,
    /// Remove the parent
    #[arg(long)]
    no_parent: bool,
    /// The new id of the entity in another system, unique within the type
    #[arg(long, value_name = "TEXT", conflicts_with = "no_external_id")]
    external_id: Option<ExternalId>,
    /// Remove the external id
    #[arg(long)]
    no_external_id: bool,
    /// The new attributes, as a JSON object; they replace all present ones
    #[arg(long, value_name = "JSON", value_parser = attributes)]
    attributes: Option<Attributes>,
}

/// The members of a JSON object in an argument.
#[derive(Clone)]
pub(crate) struct Attributes(pub(crate) JsonObject);

pub(crate) fn attributes(text: &str) -> Result<Attributes, String> {
    match Json::parse(text.as_bytes()) {
        Ok(Json::Object(members)) => Ok(Attributes(members)),
        Ok(_) => Err("give a JSON object such as {\"city\": \"Berlin\"}".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn name(text: &str) -> Result<EntityName, String> {
    EntityName::new(text).map_err(|error| error.to_string())
}

/// The words of a closed set, for help, completion and errors.
pub(crate) fn choice<T: Choice + Send + Sync>() -> impl clap::builder::TypedValueParser<Value = T> {
    let words: Vec<_> = T::ALL.iter().map(|choice| PossibleValue::new(choice.word())).collect();
    clap::builder::PossibleValuesParser::new(words)
        .try_map(|word| T::from_word(&word).ok_or_else(|| format!("`{word}` is not a known word")))
}

/// Parses an entity type. The help and completions name the built-in ones; which others exist is the service's setting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EntityTypeParser;

impl TypedValueParser for EntityTypeParser {
    type Value = EntityType;

    fn parse_ref(&self, command: &clap::Command, arg: Option<&Arg>, value: &OsStr) -> Result<EntityType, clap::Error> {
        (|word: &str| word.parse::<EntityType>()).parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(EntityType::BUILT_IN_WORDS.into_iter().map(PossibleValue::new)))
    }
}

pub(crate) async fn run(backend: &Backend, command: &Command, out: &mut Output) -> Outcome {
    match command {
        Command::List { types, parent, status, name, name_prefix, below, external_id, limit, moment } => {
            let moment = moment.moment(backend.now());
            let ancestor_id = match below {
                Some(below) => Some(below.id_at(backend, moment).await?),
                None => None,
            };
            let parent_id = match parent {
                Some(parent) => Some(parent.id_at(backend, moment).await?),
                None => None,
            };
            let external_id = external_id.clone();
            let filter = EntityFilter {
                types: types.clone(),
                status: *status,
                name: name.clone(),
                name_prefix: name_prefix.clone(),
                parent_id,
                ancestor_id,
                external_id,
            };
            list(backend, (&filter, moment), *limit, out).await?;
        }
        Command::Show { entity, moment } => {
            let moment = moment.moment(backend.now());
            show_at(backend, &entity.find_at(backend, moment).await?, moment, out).await?;
        }
        Command::Create(create) => {
            let parent_id = match &create.parent {
                Some(parent) => Some(parent.id(backend).await?),
                None => None,
            };
            let attributes = create.attributes.clone().map(|given| given.0).unwrap_or_default();
            let new = NewEntity {
                parent_id,
                attributes,
                external_id: create.external_id.clone(),
                ..NewEntity::new(create.name.clone(), create.entity_type.clone())
            };
            show(backend, &backend.create_entity(new).await?, out).await?;
        }
        Command::Update(update) => {
            let parent_id = match &update.parent {
                Some(parent) => Some(Some(parent.id(backend).await?)),
                None => update.no_parent.then_some(None),
            };
            let attributes = update.attributes.clone().map(|given| given.0);
            let external_id = match &update.external_id {
                Some(external_id) => Some(Some(external_id.clone())),
                None => update.no_external_id.then_some(None),
            };
            let name = update.name.clone();
            let patch = EntityPatch { name, external_id, status: update.status, parent_id, attributes };
            if patch == EntityPatch::default() {
                return Err("nothing to change: give --name, --status, --parent, --no-parent, --external-id, \
                            --no-external-id or --attributes"
                    .into());
            }
            let id = update.entity.id(backend).await?;
            backend.warn_if_unpublished();
            show(backend, &backend.update_entity(id, patch).await?, out).await?;
        }
        Command::Archive { entity } => {
            let id = entity.id(backend).await?;
            backend.warn_if_unpublished();
            show(backend, &backend.archive_entity(id).await?, out).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Counts rows up to a limit. One row more than the limit is read, to know whether more exist.
pub(crate) struct Limit {
    limit: Option<usize>,
    seen: usize,
}

impl Limit {
    pub(crate) fn of(limit: Option<usize>) -> Self {
        Self { limit, seen: 0 }
    }

    /// Whether the next row is within the limit.
    pub(crate) fn admits(&mut self) -> bool {
        self.seen += 1;
        self.limit.is_none_or(|limit| self.seen <= limit)
    }

    /// Reports that rows were omitted, or that there were none.
    pub(crate) fn report(&self, out: &mut Output, nothing: &str) -> std::io::Result<()> {
        out.flush()?;
        match self.limit {
            Some(limit) if self.seen > limit => notice("More exist: raise --limit to see them."),
            _ if self.seen == 0 && !out.json => notice(nothing),
            _ => {}
        }
        Ok(())
    }
}

async fn list(
    backend: &Backend,
    (filter, moment): (&EntityFilter, Moment),
    limit: Option<usize>,
    out: &mut Output,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut limit = Limit::of(limit);
    let mut written = Ok(());
    let mut show = |entity: &Entity| {
        if !limit.admits() {
            return false;
        }
        written = row(entity, limit.seen == 1, out);
        written.is_ok()
    };
    if moment.is_now() {
        backend.for_each_entity(filter, &mut |entity| show(&entity)).await?;
    } else {
        let mut shown = |row| matches!(row, RegistryRow::Entity(entity) if show(&entity));
        backend.for_each_row_at(RegistryList::Entities(filter), moment, &mut shown).await?;
    }
    written?;
    limit.report(out, "No entities.")?;
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
        format!(" {}", Output::warning(format_args!("({})", entity.status.word())))
    };
    out.clipped_line(&format!("{}  {:<8}  {}{status}", entity.id, entity.entity_type.word(), escaped(&entity.name)))
}

async fn show(backend: &Backend, entity: &Entity, out: &mut Output) -> Result<(), Box<dyn std::error::Error>> {
    show_at(backend, entity, Moment::NOW, out).await
}

async fn show_at(
    backend: &Backend,
    entity: &Entity,
    moment: Moment,
    out: &mut Output,
) -> Result<(), Box<dyn std::error::Error>> {
    if out.json {
        return Ok(out.object(entity)?);
    }
    let parent = match entity.parent_id {
        Some(id) => {
            let parent = backend.entity_at(id, moment).await?;
            format!("{id} {}", entity_label(&parent.entity_type, &parent.name))
        }
        None => "none".into(),
    };
    let mut fields = vec![
        ("id", entity.id.to_string()),
        ("type", entity.entity_type.word().into()),
        ("name", escaped(&entity.name)),
        ("status", entity.status.word().into()),
        ("parent", parent),
    ];
    fields.extend(entity.external_id.as_deref().map(|external_id| ("external id", escaped(external_id))));
    fields.push(("attributes", escaped(&Json::Object(entity.attributes.clone()).to_string())));
    fields.push(("created", entity.created_at.to_string()));
    fields.push(("updated", entity.updated_at.to_string()));
    Ok(out.fields(&fields)?)
}

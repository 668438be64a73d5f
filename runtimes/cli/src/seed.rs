//! `epr seed`: a small demo registry, created by the ordinary calls. Running it again creates nothing twice.

use std::process::ExitCode;

use clap::Args;
use epr_core::domain::assignment::default_principal_type;
use epr_core::domain::{Assignment, Entity, EntityType, NewAssignment, NewEntity, NewRole, Role, Timestamp};
use serde_json::json;
use uuid::Uuid;

use crate::Outcome;
use crate::assignments::window_state;
use crate::backend::{Backend, BackendError};
use crate::connect::Connection;
use crate::entities::entity_label;
use crate::output::Output;

#[derive(Args)]
pub(crate) struct Seed {
    /// Create the demo even in production, or over an API on another machine
    #[arg(long)]
    yes: bool,
}

/// The principals of the demo. They need no registration.
const ADA: Uuid = Uuid::from_u128(0x7b0c_9f52_6a0e_4a5e_9a55_0c6a_2f3f_8a01);
const BEN: Uuid = Uuid::from_u128(0x7b0c_9f52_6a0e_4a5e_9a55_0c6a_2f3f_8a02);
const CLEO: Uuid = Uuid::from_u128(0x7b0c_9f52_6a0e_4a5e_9a55_0c6a_2f3f_8a03);

/// The length of the one window that ends: thirty days.
const WINDOW_SECONDS: i64 = 30 * 86_400;

pub(crate) async fn run(connection: &Connection, command: &Seed, out: &mut Output) -> Outcome {
    if connection.is_real && !command.yes {
        return Err(
            "this is production, or an API on another machine: give --yes to create demo data there anyway".into()
        );
    }
    let backend = &connection.backend;
    let demo = Demo::create(backend).await?;
    if out.json {
        out.object(&json!({
            "entities": demo.entities, "roles": demo.roles, "assignments": demo.assignments,
        }))?;
    } else {
        demo.print(out)?;
    }
    Ok(ExitCode::SUCCESS)
}

struct Demo {
    entities: Vec<Entity>,
    roles: Vec<Role>,
    assignments: Vec<Assignment>,
    spv: Uuid,
    /// The address of the API that it was created over.
    api: Option<String>,
    now: Timestamp,
}

impl Demo {
    async fn create(backend: &Backend) -> Result<Self, Box<dyn std::error::Error>> {
        let acme = entity(backend, EntityType::Issuer, "Acme Estates", None).await?;
        let spv = entity(backend, EntityType::Spv, "Berlin One", Some(acme.id)).await?;
        let offering = entity(backend, EntityType::Offering, "Berlin One Series A", Some(spv.id)).await?;
        let nord = entity(backend, EntityType::Issuer, "Nordhaus", None).await?;
        let hamburg = entity(backend, EntityType::Spv, "Hamburg Two", Some(nord.id)).await?;
        let investor = entity(backend, EntityType::Investor, "Delta Pension Fund", None).await?;

        let reader = role(backend, "Document reader", "Reads documents", &[], &["document:download"]).await?;
        let actions = ["document:upload", "document:download", "document:archive"];
        let manager = role(backend, "SPV manager", "Manages the documents of SPVs", &[EntityType::Spv], &actions);
        let manager = manager.await?;
        let actions = ["document:download", "document:verify"];
        let officer = role(backend, "Compliance officer", "Verifies documents everywhere", &[], &actions).await?;

        let now = backend.now();
        let assign = async |principal, role: &Role, entity: Option<&Entity>, seconds: Option<i64>| {
            backend
                .assign(
                    NewAssignment {
                        principal_id: principal,
                        principal_type: default_principal_type(),
                        role_id: role.id,
                        entity_id: entity.map(|entity| entity.id),
                        effective_at: Some(now),
                        expires_at: seconds.map(|seconds| now.plus_seconds(seconds)),
                        condition: None,
                    }
                    .into(),
                )
                .await
        };
        let assignments = vec![
            assign(ADA, &reader, Some(&acme), None).await?,
            assign(BEN, &manager, Some(&spv), Some(WINDOW_SECONDS)).await?,
            assign(CLEO, &officer, None, None).await?,
        ];
        Ok(Self {
            spv: spv.id,
            api: backend.address(),
            now,
            entities: vec![acme, spv, offering, nord, hamburg, investor],
            roles: vec![reader, manager, officer],
            assignments,
        })
    }

    fn print(&self, out: &mut Output) -> std::io::Result<()> {
        out.heading("Entities")?;
        for entity in &self.entities {
            out.clipped_line(&format!("  {}  {}", entity.id, entity_label(&entity.entity_type, &entity.name)))?;
        }
        out.heading("Roles")?;
        for role in &self.roles {
            out.clipped_line(&format!("  {}  {}", role.id, role.name))?;
        }
        out.heading("Assignments")?;
        let held = [
            "Document reader on issuer:Acme Estates",
            "SPV manager on spv:Berlin One",
            "Compliance officer everywhere",
        ];
        for (assignment, role) in self.assignments.iter().zip(held) {
            let window_state = window_state(assignment, self.now);
            out.line(format_args!("  user {}\n    {role}, {window_state}", assignment.principal_id))?;
        }
        out.line(format_args!(""))?;
        out.heading("Try it")?;
        let over = match &self.api {
            Some(url) => format!(" --url {url}"),
            None => String::new(),
        };
        for (principal, action) in [(ADA, "document:download"), (ADA, "document:upload"), (BEN, "document:upload")] {
            out.line(format_args!("epr check{over} {principal} \\\n  {action} 'spv:Berlin One'"))?;
        }
        if self.api.is_none() {
            out.line(format_args!("epr report expiring"))?;
        }
        let base = self.api.as_deref().unwrap_or("http://localhost:8080/");
        let spv = self.spv;
        out.line(format_args!("curl -s {base}api/v1/authorize --json \\"))?;
        out.line(format_args!(
            "  '{{\"user_id\":\"{CLEO}\",\n    \"action\":\"document:verify\",\n    \"resource_id\":\"{spv}\"}}'"
        ))
    }
}

async fn entity(
    backend: &Backend,
    entity_type: EntityType,
    name: &str,
    parent_id: Option<Uuid>,
) -> Result<Entity, Box<dyn std::error::Error>> {
    if let Some(existing) = backend.entity_named(&entity_type, name).await? {
        return Ok(existing);
    }
    let new = NewEntity { parent_id, ..NewEntity::new(name.try_into()?, entity_type) };
    match backend.create_entity(new).await {
        Err(BackendError::Conflict(taken)) => {
            Err(format!("{taken}, but is archived: the demo cannot be created").into())
        }
        created => Ok(created?),
    }
}

async fn role(
    backend: &Backend,
    name: &str,
    description: &str,
    scope_types: &[EntityType],
    actions: &[&str],
) -> Result<Role, Box<dyn std::error::Error>> {
    if let Some(existing) = backend.role_named(name).await? {
        return Ok(existing);
    }
    let actions = actions.iter().map(|action| (*action).try_into()).collect::<Result<Vec<_>, _>>()?;
    let new = NewRole {
        description: Some(description.try_into()?),
        scope_types: scope_types.to_vec(),
        ..NewRole::new(name.try_into()?).with_permissions(actions)
    };
    Ok(backend.create_role(new).await?)
}

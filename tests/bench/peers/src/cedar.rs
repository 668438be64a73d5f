//! Cedar: a template for each role, linked for each assignment; the policies of each principal are a set of their own,
//! so that a check evaluates only those that can apply. All entities, with their ancestors computed, serve every check.

use std::collections::{HashMap, HashSet};

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicyId, PolicySet, Request,
    SlotId, Template,
};
use uuid::Uuid;

use crate::Peer;
use crate::world::{Assignment, EVERYTHING, World};

pub(crate) struct Cedar {
    authorizer: Authorizer,
    types: Types,
    entities: Entities,
    of_principal: HashMap<Uuid, PolicySet>,
}

struct Types {
    user: EntityTypeName,
    action: EntityTypeName,
    entity: EntityTypeName,
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

impl Cedar {
    pub(crate) fn load(world: &World) -> Self {
        let kind = |name: &str| name.parse::<EntityTypeName>().expect("the name of a type");
        let types = Types { user: kind("User"), action: kind("Action"), entity: kind("Entity") };
        let of = |at: Option<usize>| uid(&types.entity, &world.entity(at));
        let above_all = Entity::new_no_attrs(uid(&types.entity, EVERYTHING), HashSet::new());
        let below = world.entities.iter().enumerate();
        let below = below.map(|(at, one)| Entity::new_no_attrs(of(Some(at)), HashSet::from([of(one.parent)])));
        let entities = Entities::from_entities(below.chain([above_all]), None).expect("entities");

        let templates: Vec<Template> =
            world.roles.iter().enumerate().map(|(at, role)| template(world, at, role)).collect();
        let policies = |principal: Uuid, assignments: &[&Assignment]| {
            let mut policies = PolicySet::new();
            for (n, assignment) in assignments.iter().enumerate() {
                let template = &templates[assignment.role];
                if policies.template(template.id()).is_none() {
                    policies.add_template(template.clone()).expect("a new template");
                }
                let slots = HashMap::from([
                    (SlotId::principal(), uid(&types.user, &principal.to_string())),
                    (SlotId::resource(), of(assignment.entity)),
                ]);
                policies
                    .link(template.id().clone(), PolicyId::new(format!("assignment-{n}")), slots)
                    .expect("a policy");
            }
            policies
        };
        let of_principal = world.by_principal().into_iter();
        let of_principal = of_principal.map(|(principal, held)| (principal, policies(principal, &held))).collect();
        Self { authorizer: Authorizer::new(), types, entities, of_principal }
    }
}

fn template(world: &World, at: usize, role: &[usize]) -> Template {
    let actions: Vec<_> = role.iter().map(|action| format!("Action::{:?}", world.actions[*action])).collect();
    let actions = actions.join(", ");
    let text = format!("permit(principal == ?principal, action in [{actions}], resource in ?resource);");
    Template::parse(Some(PolicyId::new(format!("role-{at}"))), text).expect("a template")
}

impl Peer for Cedar {
    fn check(&self, user: Uuid, action: &str, resource: Uuid) -> bool {
        // Without policies Cedar denies.
        let Some(policies) = self.of_principal.get(&user) else { return false };
        let id = |id: Uuid| id.to_string();
        let request = Request::new(
            uid(&self.types.user, &id(user)),
            uid(&self.types.action, action),
            uid(&self.types.entity, &id(resource)),
            Context::empty(),
            None,
        );
        let response = self.authorizer.is_authorized(&request.expect("a request"), policies, &self.entities);
        response.decision() == Decision::Allow
    }
}

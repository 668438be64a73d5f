//! casbin: an enforcer for each principal with that principal's rules only, so that a check evaluates only those; all
//! share one role manager with the hierarchy of the entities.

use std::collections::HashMap;
use std::sync::Arc;

use casbin::{CoreApi, DefaultModel, DefaultRoleManager, Enforcer, MgmtApi, NullAdapter, RoleManager};
use parking_lot::RwLock;
use uuid::Uuid;

use crate::Peer;
use crate::world::{Assignment, World};

/// The principal is no part of it, since each has an enforcer. The comparison of actions comes first because it is the
/// cheaper one.
const MODEL: &str = "
[request_definition]
r = act, obj

[policy_definition]
p = act, obj

[role_definition]
g = _, _

[policy_effect]
e = some(where (p.eft == allow))

[matchers]
m = r.act == p.act && g(r.obj, p.obj)
";
/// Levels that casbin goes up. The world has four, and the entity above all.
const LEVELS: usize = 10;

pub(crate) struct Casbin(HashMap<Uuid, Enforcer>);

impl Casbin {
    pub(crate) async fn load(world: &World) -> Self {
        let mut hierarchy = DefaultRoleManager::new(LEVELS);
        for (at, entity) in world.entities.iter().enumerate() {
            hierarchy.add_link(&world.entity(Some(at)), &world.entity(entity.parent), None);
        }
        let hierarchy: Arc<RwLock<dyn RoleManager>> = Arc::new(RwLock::new(hierarchy));
        let model = DefaultModel::from_str(MODEL).await.expect("a model");
        let mut all = HashMap::new();
        for (principal, held) in world.by_principal() {
            let mut enforcer = Enforcer::new(model.clone(), NullAdapter).await.expect("an enforcer");
            // The links are in the shared role manager and in no policy.
            enforcer.enable_auto_build_role_links(false);
            let definition = enforcer.get_mut_model().get_mut_model().get_mut("g").and_then(|all| all.get_mut("g"));
            definition.expect("the role definition").rm = Arc::clone(&hierarchy);
            enforcer.set_role_manager(Arc::clone(&hierarchy)).expect("a role manager");
            enforcer.add_policies(rules(world, &held)).await.expect("rules");
            all.insert(principal, enforcer);
        }
        Self(all)
    }
}

/// A rule for each action of each assignment, each once.
fn rules(world: &World, held: &[&Assignment]) -> Vec<Vec<String>> {
    let mut rules: Vec<_> = held
        .iter()
        .flat_map(|one| world.roles[one.role].iter().map(|action| (*action, one.entity)))
        .map(|(action, entity)| vec![world.actions[action].clone(), world.entity(entity)])
        .collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

impl Peer for Casbin {
    fn check(&self, user: Uuid, action: &str, resource: Uuid) -> bool {
        let Some(enforcer) = self.0.get(&user) else { return false };
        enforcer.enforce(vec![action.to_owned(), resource.to_string()]).expect("a decision")
    }
}

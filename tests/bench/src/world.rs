//! The seeded world: entities in trees four deep, roles, principals, assignments, and questions with their right
//! answers.
//!
//! The answers come from the world as it is in memory, by the contract's sentence and not by the service's code.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use epr_testkit::database::{Database, DatabaseKind};
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use sqlx::{Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

use crate::load::skewed;
use crate::peers::registry;
use crate::scale::Scale;

/// The entity types of the four levels of a tree, and the number of children of each entity above.
const LEVELS: [(&str, usize); 4] = [("issuer", 1), ("spv", 4), ("offering", 8), ("investor", 6)];
/// Of a tree: 1 + 4 + 32 + 192.
const TREE: usize = 229;
const ACTIONS: usize = 200;

struct Entity {
    id: Uuid,
    parent: Option<usize>,
    level: usize,
    children: Vec<usize>,
}

struct Role {
    id: Uuid,
    actions: Vec<usize>,
    /// Levels that it counts for; all when empty.
    levels: Vec<usize>,
}

/// When an assignment counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Window {
    Now,
    Ended,
    NotYet,
}

struct Assignment {
    id: Uuid,
    principal: Uuid,
    role: usize,
    /// Everywhere when there is none.
    entity: Option<usize>,
    window: Window,
}

/// Everything.
pub(crate) struct World {
    entities: Vec<Entity>,
    roles: Vec<Role>,
    principals: Vec<Uuid>,
    assignments: Vec<Assignment>,
    of_principal: HashMap<Uuid, Vec<usize>>,
}

/// A question, and what is right.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) principal: Uuid,
    pub(crate) action: String,
    pub(crate) resource: Uuid,
    pub(crate) expected: bool,
}

impl Asked {
    /// The body of a check.
    pub(crate) fn body(&self) -> String {
        let Self { principal, action, resource, .. } = self;
        format!(r#"{{"user_id":"{principal}","action":"{action}","resource_id":"{resource}"}}"#)
    }
}

/// An id as the service makes them: the time in milliseconds first.
fn id(n: usize, rng: &mut StdRng) -> Uuid {
    let since = 1_767_225_600_000 + u64::try_from(n).expect("small");
    uuid::Builder::from_unix_timestamp_millis(since, &rng.random()).into_uuid()
}

fn action(n: usize) -> String {
    format!("document:action-{n}")
}

impl World {
    pub(crate) fn new(scale: &Scale, rng: &mut StdRng) -> Self {
        let mut world = Self {
            entities: Vec::with_capacity(scale.entities),
            roles: Vec::new(),
            principals: (0..scale.principals).map(|_| Uuid::from_u128(rng.random())).collect(),
            assignments: Vec::with_capacity(scale.assignments),
            of_principal: HashMap::new(),
        };
        while world.entities.len() + TREE <= scale.entities {
            world.tree(None, 0, rng);
        }
        while world.entities.len() < scale.entities {
            world.add(None, 0, rng);
        }
        for n in 0..scale.roles {
            let actions = (0..rng.random_range(1..=10)).map(|_| rng.random_range(0..ACTIONS)).collect();
            // A fifth is meant for certain types only.
            let levels = if rng.random_bool(0.2) { vec![rng.random_range(0..LEVELS.len())] } else { Vec::new() };
            world.roles.push(Role { id: id(n, rng), actions, levels });
        }
        let mut taken = std::collections::HashSet::new();
        while world.assignments.len() < scale.assignments {
            // Some principals have many, most have few.
            let principal = world.principals[skewed(scale.principals, 2, rng)];
            let role = rng.random_range(0..scale.roles);
            let entity = (!rng.random_bool(0.02)).then(|| rng.random_range(0..world.entities.len()));
            let window = match rng.random_range(0..100) {
                0..5 => Window::Ended,
                5..8 => Window::NotYet,
                _ => Window::Now,
            };
            if taken.insert((principal, role, entity)) {
                let at = world.assignments.len();
                world.assignments.push(Assignment { id: id(at, rng), principal, role, entity, window });
                world.of_principal.entry(principal).or_default().push(at);
            }
        }
        world
    }

    /// A world in which every assignment is in force and every role counts for every type.
    pub(crate) fn plain(scale: &Scale, rng: &mut StdRng) -> Self {
        let mut world = Self::new(scale, rng);
        for assignment in &mut world.assignments {
            assignment.window = Window::Now;
        }
        for role in &mut world.roles {
            role.levels.clear();
        }
        world
    }

    /// A plain world in the form that the peers read.
    pub(crate) fn registry(&self) -> registry::Registry {
        let entity = |one: &Entity| registry::Entity { id: one.id, parent: one.parent };
        let assignment = |one: &Assignment| {
            let Assignment { principal, role, entity, .. } = *one;
            registry::Assignment { principal, role, entity }
        };
        registry::Registry {
            actions: (0..ACTIONS).map(action).collect(),
            // Each once.
            roles: self.roles.iter().map(|role| role.actions.iter().copied().collect::<BTreeSet<_>>()).collect(),
            entities: self.entities.iter().map(entity).collect(),
            assignments: self.assignments.iter().map(assignment).collect(),
        }
    }

    fn add(&mut self, parent: Option<usize>, level: usize, rng: &mut StdRng) -> usize {
        let at = self.entities.len();
        self.entities.push(Entity { id: id(at, rng), parent, level, children: Vec::new() });
        if let Some(parent) = parent {
            self.entities[parent].children.push(at);
        }
        at
    }

    fn tree(&mut self, parent: Option<usize>, level: usize, rng: &mut StdRng) {
        let at = self.add(parent, level, rng);
        if let Some((_, children)) = LEVELS.get(level + 1) {
            for _ in 0..*children {
                self.tree(Some(at), level + 1, rng);
            }
        }
    }

    /// Every principal, also those without assignments.
    pub(crate) fn principals(&self) -> &[Uuid] {
        &self.principals
    }

    /// Questions as they come: six in ten about something that the principal has to do with, the others about anything.
    pub(crate) fn questions(&self, count: usize, rng: &mut StdRng) -> Vec<Asked> {
        (0..count)
            .map(|_| {
                let (principal, mut action, resource) = if rng.random_bool(0.6) {
                    let assignment = self.assignments.choose(rng).expect("assignments");
                    let place = assignment.entity.unwrap_or_else(|| rng.random_range(0..self.entities.len()));
                    let action = *self.roles[assignment.role].actions.choose(rng).expect("actions");
                    (assignment.principal, action, self.below(place, rng))
                } else {
                    let principal = *self.principals.choose(rng).expect("principals");
                    (principal, rng.random_range(0..ACTIONS), rng.random_range(0..self.entities.len()))
                };
                if rng.random_bool(0.1) {
                    action = rng.random_range(0..ACTIONS);
                }
                let expected = self.may(principal, action, resource);
                Asked { principal, action: self::action(action), resource: self.entities[resource].id, expected }
            })
            .collect()
    }

    /// Questions as they come, each with the type of its resource.
    pub(crate) fn typed_questions(&self, count: usize, rng: &mut StdRng) -> Vec<(Asked, &'static str)> {
        let types: HashMap<_, _> = self.entities.iter().map(|one| (one.id, LEVELS[one.level].0)).collect();
        let with_type = |asked: Asked| {
            let kind = types[&asked.resource];
            (asked, kind)
        };
        self.questions(count, rng).into_iter().map(with_type).collect()
    }

    /// Questions about one principal and one action on different entities, each with the type of its resource.
    pub(crate) fn questions_of_one(&self, count: usize, rng: &mut StdRng) -> Vec<(Asked, &'static str)> {
        let assignment = self.assignments.choose(rng).expect("assignments");
        let (principal, action) = (assignment.principal, self.roles[assignment.role].actions[0]);
        let first = rng.random_range(0..self.entities.len() - count);
        let ask = |at: usize| {
            let Entity { id: resource, level, .. } = self.entities[at];
            let expected = self.may(principal, action, at);
            (Asked { principal, action: self::action(action), resource, expected }, LEVELS[level].0)
        };
        (first..first + count).map(ask).collect()
    }

    /// A random entity in the tree under `place`.
    fn below(&self, mut place: usize, rng: &mut StdRng) -> usize {
        while rng.random_bool(0.7)
            && let Some(child) = self.entities[place].children.choose(rng)
        {
            place = *child;
        }
        place
    }

    fn may(&self, principal: Uuid, action: usize, resource: usize) -> bool {
        let mut lineage = vec![resource];
        while let Some(parent) = self.entities[lineage[lineage.len() - 1]].parent {
            lineage.push(parent);
        }
        let level = self.entities[resource].level;
        self.of_principal.get(&principal).into_iter().flatten().any(|at| {
            let Assignment { role, entity, window, .. } = self.assignments[*at];
            let role = &self.roles[role];
            window == Window::Now
                && entity.is_none_or(|place| lineage.contains(&place))
                && role.actions.contains(&action)
                && (role.levels.is_empty() || role.levels.contains(&level))
        })
    }

    /// A new database that holds it.
    pub(crate) async fn database(&self) -> Database {
        let database = Database::create(DatabaseKind::Postgres).await;
        database.store().await.close().await;
        self.load(&database.url).await;
        database
    }

    /// Loads it into a database with an empty schema, with the triggers disabled.
    async fn load(&self, url: &str) {
        let mut conn = PgConnection::connect(url).await.expect("the database");
        conn.execute("SET session_replication_role = replica").await.expect("the right to load");
        let mut text = String::new();
        for (n, entity) in self.entities.iter().enumerate() {
            let parent = entity.parent.map_or_else(|| "\\N".into(), |parent| self.entities[parent].id.to_string());
            let (word, _) = LEVELS[entity.level];
            let _ = writeln!(
                text,
                "{}\t{word} {n}\t{word}\t{parent}\t{{\"country\":\"DE\",\"ref\":{n}}}\t{}",
                entity.id,
                at(n)
            );
        }
        copy(&mut conn, "entities (id, name, type, parent_id, attributes, created_at)", &text).await;
        text.clear();
        let actions: Vec<Uuid> = (0..ACTIONS).map(|n| Uuid::from_u128(0xac << 64 | n as u128)).collect();
        for (n, id) in actions.iter().enumerate() {
            let _ = writeln!(text, "{id}\t{}", action(n));
        }
        copy(&mut conn, "permissions (id, action)", &text).await;
        text.clear();
        let mut held = String::new();
        for (n, role) in self.roles.iter().enumerate() {
            let words: Vec<_> = role.levels.iter().map(|level| format!("\"{}\"", LEVELS[*level].0)).collect();
            let _ = writeln!(text, "{}\trole {n}\t[{}]\t{}", role.id, words.join(","), at(n));
            let mut all = role.actions.clone();
            all.sort_unstable();
            all.dedup();
            for action in all {
                let _ = writeln!(held, "{}\t{}", role.id, actions[action]);
            }
        }
        copy(&mut conn, "roles (id, name, scope_types, created_at)", &text).await;
        copy(&mut conn, "role_permissions (role_id, permission_id)", &held).await;
        text.clear();
        for (n, assignment) in self.assignments.iter().enumerate() {
            let Assignment { id, principal, role, entity, window } = assignment;
            let role = self.roles[*role].id;
            let place = entity.map_or_else(|| "\\N".into(), |place| self.entities[place].id.to_string());
            let (from, until) = match window {
                Window::Now => ("2026-01-01Z", "\\N"),
                Window::Ended => ("2026-01-01Z", "2026-01-02Z"),
                Window::NotYet => ("2999-01-01Z", "\\N"),
            };
            let _ = writeln!(text, "{id}\t{principal}\t{role}\t{place}\t{from}\t{until}\t{}", at(n));
        }
        let columns = "(id, principal_id, role_id, entity_id, effective_at, expires_at, created_at)";
        copy(&mut conn, &format!("role_assignments {columns}"), &text).await;
    }

    /// A principal with an assignment.
    pub(crate) fn some_principal(&self) -> Uuid {
        self.assignments[0].principal
    }

    /// An entity without a parent.
    pub(crate) fn some_root(&self) -> Uuid {
        self.entities[0].id
    }

    /// Any entities, all different.
    pub(crate) fn places(&self, count: usize) -> impl Iterator<Item = Uuid> {
        self.entities.iter().take(count).map(|entity| entity.id)
    }

    /// The root of each tree with all of its entities.
    pub(crate) fn trees(&self) -> impl Iterator<Item = (Uuid, Vec<Uuid>)> {
        let roots =
            self.entities.iter().enumerate().filter(|(_, one)| one.parent.is_none() && !one.children.is_empty());
        roots.map(|(at, root)| {
            let (mut all, mut left) = (Vec::with_capacity(TREE), vec![at]);
            while let Some(at) = left.pop() {
                all.push(self.entities[at].id);
                left.extend(&self.entities[at].children);
            }
            (root.id, all)
        })
    }

    /// A role that counts for every type, and an action that it holds.
    pub(crate) fn some_role(&self) -> (Uuid, String) {
        let role = self.roles.iter().find(|role| role.levels.is_empty()).expect("a role for every type");
        (role.id, action(role.actions[0]))
    }
}

/// Does what the server would otherwise do by itself in the middle of the measurements.
pub(crate) async fn tidy(database: &Database) {
    for statement in ["VACUUM (ANALYZE)", "CHECKPOINT"] {
        database.execute(statement).await.expect("the right to tidy up");
    }
}

/// A moment in 2026, later for a higher `n`.
fn at(n: usize) -> String {
    format!("2026-01-01 00:00:00.{:06}+{:02}", n % 1_000_000, 0)
}

async fn copy(conn: &mut PgConnection, into: &str, text: &str) {
    let mut copy = conn.copy_in_raw(&format!("COPY {into} FROM STDIN")).await.expect("a copy");
    for chunk in text.as_bytes().chunks(1 << 20) {
        copy.send(chunk).await.expect("rows");
    }
    copy.finish().await.expect("rows that the schema takes");
}

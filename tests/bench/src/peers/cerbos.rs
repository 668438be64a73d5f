//! Cerbos: a derived role for each role, in force if an assignment of the principal and the path of the resource have
//! an entity in common. Cerbos stores neither, so that each request carries both; how the caller finds them is not
//! measured.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use axum::body::Bytes;
use epr_testkit::process::free_port;
use serde_json::{Value, json};
use tokio::process::Command;
use uuid::Uuid;

use super::grpc::{self, GrpcScript};
use super::registry::Registry;
use crate::http::Script;
use crate::server::Server;
use crate::world::Asked;

/// The entity above all roots: an assignment on it counts everywhere.
const EVERYTHING: &str = "everything";
/// A role that every principal has, because Cerbos requires one.
const EVERYONE: &str = "everyone";

/// What the request says about the principal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// All of its assignments; Cerbos finds those that reach the resource.
    Assignments,
    /// The roles that it has on the resource: the caller found them.
    Resolved,
}

impl Form {
    /// The kind of resource whose policy expects this form.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Assignments => "entity",
            Self::Resolved => "resolved_entity",
        }
    }
}

/// A question with everything that Cerbos has to know.
pub(super) struct Request<'a> {
    pub(super) principal: String,
    /// The entities of the assignments with each role.
    pub(super) held: BTreeMap<String, Vec<String>>,
    pub(super) resource: String,
    /// The resource and its ancestors.
    pub(super) path: Vec<String>,
    pub(super) action: &'a str,
    pub(super) form: Form,
}

impl Request<'_> {
    /// Every role of the principal.
    pub(super) fn roles(&self) -> Vec<String> {
        [EVERYONE.to_owned()].into_iter().chain(self.held.keys().cloned()).collect()
    }

    /// The body of the request over HTTP.
    fn json(&self) -> Value {
        let mut principal = json!({ "id": self.principal, "roles": self.roles() });
        let mut resource = json!({ "kind": self.form.kind(), "id": self.resource });
        if self.form == Form::Assignments {
            principal["attr"] = json!(self.held);
            resource["attr"] = json!({ "path": self.path });
        }
        json!({ "principal": principal, "resources": [{ "actions": [self.action], "resource": resource }] })
    }
}

/// Starts Cerbos with the policies of the world; returns it and its address for gRPC.
pub(super) async fn start(program: &str, registry: &Registry, folder: &Path) -> (Server, String) {
    let policies = folder.join("cerbos");
    std::fs::create_dir(&policies).expect("a folder");
    for (name, policy) in policies_of(registry) {
        std::fs::write(policies.join(name).with_extension("json"), policy.to_string()).expect("a file");
    }
    let (http, grpc) = (free_port(), free_port());
    let grpc = format!("127.0.0.1:{grpc}");
    let mut command = Command::new(program);
    command.args(["server", "--log-level=error"]);
    for setting in [
        &format!("server.httpListenAddr=127.0.0.1:{http}"),
        &format!("server.grpcListenAddr={grpc}"),
        "storage.driver=disk",
        &format!("storage.disk.directory={}", policies.display()),
        // Nothing leaves the machine.
        "telemetry.disabled=true",
    ] {
        command.arg(format!("--set={setting}"));
    }
    (Server::on_port(command, &http, "/_cerbos/health").await, grpc)
}

fn policies_of(registry: &Registry) -> [(&'static str, Value); 3] {
    let roles: Vec<_> = (0..registry.roles.len()).collect();
    let here = |role: &usize| format!("{}_here", name(*role));
    let definition = |role: &usize| {
        let expression = format!("hasIntersection(P.attr.{}, R.attr.path)", name(*role));
        let condition = json!({ "match": { "expr": expression } });
        json!({ "name": here(role), "parentRoles": [name(*role)], "condition": condition })
    };
    let actions = |role: &usize| {
        let actions: Vec<_> = registry.roles[*role].iter().map(|action| &registry.actions[*action]).collect();
        json!({ "actions": actions, "effect": "EFFECT_ALLOW" })
    };
    let with = |mut rule: Value, field: &str, role: String| {
        rule[field] = json!([role]);
        rule
    };
    let resource = |form: Form, imports: &[&str], rules: Vec<Value>| {
        let policy =
            json!({ "version": "default", "resource": form.kind(), "importDerivedRoles": imports, "rules": rules });
        json!({ "apiVersion": "api.cerbos.dev/v1", "resourcePolicy": policy })
    };
    let derived = json!({ "name": "here", "definitions": roles.iter().map(definition).collect::<Vec<_>>() });
    let by_derived = roles.iter().map(|role| with(actions(role), "derivedRoles", here(role))).collect();
    let by_role = roles.iter().map(|role| with(actions(role), "roles", name(*role))).collect();
    [
        ("derived_roles", json!({ "apiVersion": "api.cerbos.dev/v1", "derivedRoles": derived })),
        ("entity", resource(Form::Assignments, &["here"], by_derived)),
        ("resolved_entity", resource(Form::Resolved, &[], by_role)),
    ]
}

fn name(role: usize) -> String {
    format!("role_{role}")
}

fn requests<'a>(registry: &Registry, asked: &'a [Asked], form: Form) -> Vec<Request<'a>> {
    let at: HashMap<Uuid, usize> = registry.entities.iter().enumerate().map(|(at, one)| (one.id, at)).collect();
    let id = |at: Option<usize>| at.map_or_else(|| EVERYTHING.to_owned(), |at| registry.entities[at].id.to_string());
    let of_principal = registry.by_principal();
    let request = |asked: &'a Asked| {
        let mut path = Vec::new();
        let mut next = Some(at[&asked.resource]);
        while let Some(at) = next {
            path.push(id(next));
            next = registry.entities[at].parent;
        }
        path.push(id(None));
        let mut held: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for one in of_principal.get(&asked.principal).into_iter().flatten() {
            let entity = id(one.entity);
            if form == Form::Assignments || path.contains(&entity) {
                held.entry(name(one.role)).or_default().push(entity);
            }
        }
        let (principal, resource) = (asked.principal.to_string(), asked.resource.to_string());
        Request { principal, held, resource, path, action: &asked.action, form }
    };
    asked.iter().map(request).collect()
}

/// The questions as HTTP requests.
pub(super) fn http(registry: &Registry, asked: &[Asked], form: Form) -> Script {
    let requests = requests(registry, asked, form);
    let right = |asked: &Asked| if asked.expected { &b"EFFECT_ALLOW"[..] } else { b"EFFECT_DENY" };
    let with_answers = requests.iter().zip(asked);
    let with_answers = with_answers.map(|(request, asked)| (Bytes::from(request.json().to_string()), right(asked)));
    Script::of("/api/check/resources", with_answers.collect())
}

/// The questions as calls of gRPC.
pub(super) fn grpc(registry: &Registry, asked: &[Asked], form: Form, address: &str) -> GrpcScript {
    let requests = requests(registry, asked, form);
    let with_answers = requests.iter().zip(asked).map(|(request, asked)| (grpc::encode(request), asked.expected));
    GrpcScript::new(address, with_answers.collect())
}

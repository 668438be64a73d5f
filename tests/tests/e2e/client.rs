//! `epr-client` against real processes: every operation, what it repeats, and what it never repeats.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use epr_client::domain::event::Duplicate;
use epr_client::domain::{
    AccessItem, ActionsRequest, AssignmentFilter, AuditFilter, EntityFilter, EntityPatch, EntityStatus, EntityType,
    EventFilter, Json, ListRequest, NewAssignment, NewEntity, NewEvent, NewRole, PrincipalsRequest, RolePatch,
    Timestamp,
};
use epr_client::{
    BoxError, CheckItem, Client, Error, NewestRevision, Order, ProtocolError, Question, RetryPolicy, TransportKind,
};
use epr_testkit::cli::Cli;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::Process;
use epr_testkit::proxy::Proxy;
use futures_util::TryStreamExt as _;
use rstest::rstest;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use uuid::Uuid;

const USER: Uuid = Uuid::from_u128(0xaaaa_aaaa_0000_4000_8000_0000_0000_0001);
const OPERATOR: Uuid = Uuid::from_u128(0xaaaa_aaaa_0000_4000_8000_0000_0000_0002);

fn client(base: &str) -> Client {
    Client::builder(base).build().unwrap()
}

fn entity(name: &str, entity_type: EntityType) -> NewEntity {
    NewEntity::new(name.try_into().unwrap(), entity_type)
}

fn question(resource_id: Uuid) -> Question {
    Question::new(USER, "document:download".try_into().unwrap(), resource_id)
}

/// Quick, and with attempts to spare: what a test waits for decides, not the time.
fn quick_retries() -> RetryPolicy {
    RetryPolicy::default().attempts(1000).backoff(Duration::from_millis(1), Duration::from_millis(20))
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_works_over_a_real_service(#[case] kind: DatabaseKind) {
    let database = Database::create(kind).await;
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &database.url)]).await;
    registry(&client(&base)).await;
    events_and_ledger(&client(&base)).await;
    process.terminate().await;
}

async fn registry(client: &Client) {
    client.health().await.unwrap();
    let readiness = client.readiness().await.unwrap();
    assert!(readiness.ready && readiness.database == "ok" && readiness.shared_cache.is_none(), "{readiness:?}");

    let acme = client.create_entity(&entity("Acme", EntityType::Issuer)).await.unwrap();
    let mut new = entity("Berlin One", EntityType::Spv);
    new.parent_id = Some(acme.id);
    new.attributes.insert("share".into(), Json::Float(1.0));
    let spv = client.create_entity(&new).await.unwrap();
    assert_eq!((spv.parent_id, &spv.attributes), (Some(acme.id), &new.attributes), "1.0 stays a double");
    assert_eq!(client.entity(spv.id).await.unwrap(), spv);
    let patch = EntityPatch { status: Some(EntityStatus::Inactive), parent_id: Some(None), ..EntityPatch::default() };
    let changed = client.update_entity(spv.id, &patch).await.unwrap();
    assert_eq!((changed.status, changed.parent_id, &changed.name), (EntityStatus::Inactive, None, &spv.name));
    let patch = EntityPatch { parent_id: Some(Some(acme.id)), ..EntityPatch::default() };
    let spv = client.update_entity(spv.id, &patch).await.unwrap();
    let types = vec![EntityType::Spv, EntityType::Offering];
    let below = EntityFilter { types, parent_id: Some(acme.id), ..EntityFilter::default() };
    assert_eq!(client.entities(&below).all().await.unwrap(), std::slice::from_ref(&spv));

    let new = NewRole {
        description: Some("Reads".try_into().unwrap()),
        scope_types: vec![EntityType::Spv],
        ..NewRole::new("Reader".parse().unwrap()).permission("a:b".parse().unwrap())
    };
    let role = client.create_role(&new).await.unwrap();
    let permissions = Some(["document:download".try_into().unwrap()].into());
    let patch = RolePatch { permissions, ..RolePatch::default() };
    let role = client.update_role(role.id, &patch).await.unwrap();
    assert_eq!(
        (role.description.as_deref(), &role.permissions[..]),
        (Some("Reads"), &["document:download".into()][..])
    );
    assert_eq!(client.role(role.id).await.unwrap(), role);
    assert_eq!(client.roles().all().await.unwrap(), std::slice::from_ref(&role));

    assert!(!client.authorize(&question(spv.id)).await.unwrap());
    let until = Timestamp::parse("2999-01-01T00:00:00Z").unwrap();
    let new = NewAssignment { expires_at: Some(until), ..NewAssignment::new(USER, role.id).on(spv.id) };
    let held = client.assign(&new).await.unwrap();
    assert_eq!((held.expires_at, client.assign(&new).await.unwrap()), (Some(until), held.clone()), "assigned once");
    assert!(client.authorize(&question(spv.id)).await.unwrap());
    assert!(client.check(&question(spv.id)).await.unwrap());
    let batch: [CheckItem; 2] = [question(spv.id).into(), question(USER).into()];
    let decided = client.authorize_batch(&batch).await.unwrap();
    assert!(matches!(&decided[..], [Ok(true), Err(Error::NotFound { message })] if message.contains("not found")));
    let none = client.authorize_batch(&[]).await.unwrap_err();
    assert!(matches!(&none, Error::Invalid { fields, .. } if fields[0].path() == "checks"), "{none:?}");
    let explained = client.explain(&question(spv.id), &[].into_iter().collect(), None).await.unwrap();
    assert_eq!((explained.decision, explained.assignments.len()), (true, 1));
    lists_of_access(client, spv.id, held.id).await;
    let mine = AssignmentFilter { principal_id: Some(USER), entity_id: Some(spv.id), ..AssignmentFilter::default() };
    assert_eq!(client.assignments(&mine).all().await.unwrap(), std::slice::from_ref(&held));
    assert_eq!(client.assignment(held.id).await.unwrap(), held);
    let newest = NewestRevision::default();
    let request = client.with_actor(OPERATOR).with_request_id("the request").noting_revisions(&newest);
    request.revoke(held.id).await.unwrap();
    let revoked = newest.get().unwrap();
    assert!(!request.with_at_least(revoked).authorize(&question(spv.id)).await.unwrap());
    assert_eq!(newest.get(), Some(revoked), "the newest, and not that of a decision before it");
    assert_eq!(request.with_at_least(revoked).entity(spv.id).await.unwrap(), spv);
    assert_eq!(client.archive_entity(spv.id).await.unwrap().status, EntityStatus::Archived);

    let conflict = client.create_entity(&entity("Acme", EntityType::Issuer)).await.unwrap_err();
    assert!(matches!(&conflict, Error::Conflict { message } if message.contains("'Acme'")), "{conflict:?}");
    let missing = client.revoke(held.id).await.unwrap_err();
    assert!(matches!(&missing, Error::NotFound { message } if message.contains(&held.id.to_string())), "{missing:?}");
    let gone = client.assignment(held.id).await.unwrap_err();
    assert!(matches!(&gone, Error::NotFound { message } if message.contains(&held.id.to_string())), "{gone:?}");
    let past = Timestamp::parse("2001-01-01T00:00:00Z").unwrap();
    let invalid = client.assign(&NewAssignment { expires_at: Some(past), ..new.clone() }).await.unwrap_err();
    let Error::Invalid { fields, .. } = invalid else { panic!("{invalid:?}") };
    assert_eq!(
        (&fields[0].location[..], &fields[0].kind[..]),
        (&["body".into(), "expires_at".into()][..], "value_error")
    );
    let unfit = client.assign(&NewAssignment::new(USER, role.id).on(acme.id)).await.unwrap_err();
    assert!(matches!(&unfit, Error::Invalid { fields, .. } if fields.is_empty()), "{unfit:?}");
    let mut large = entity("Large", EntityType::Other);
    large.attributes.insert("text".into(), "x".repeat(2 << 20).into());
    let large = client.create_entity(&large).await.unwrap_err();
    assert!(matches!(large, Error::TooLarge { .. }), "{large:?}");
}

/// The user has one assignment, on `resource`.
async fn lists_of_access(client: &Client, resource: Uuid, assignment: Uuid) {
    let via =
        |items: &[AccessItem]| items.iter().map(|item| item.via.as_ref().unwrap().assignment_id).collect::<Vec<_>>();
    let list = ListRequest { limit: 1, ..ListRequest::default() };
    let principals = PrincipalsRequest {
        action: "document:download".try_into().unwrap(),
        resource_id: resource,
        principal_type: None,
        list: list.clone(),
    };
    let page = client.access_principals(&principals).page().await.unwrap();
    assert_eq!((page.items[0].id.as_str(), page.items[0].kind.as_deref()), (&*USER.to_string(), Some("user")));
    assert_eq!(via(&page.items), [assignment]);
    assert_eq!(client.access_principals(&principals).all().await.unwrap(), page.items);
    let next = client.access_principals(&principals).page_after(&page).await.unwrap();
    assert_eq!(next.map_or(0, |next| next.items.len()), 0, "one principal");
    let actions = ActionsRequest {
        principal_id: USER,
        principal_type: "user".try_into().unwrap(),
        resource_id: resource,
        list: list.clone(),
    };
    let allowed = client.access_actions(&actions).all().await.unwrap();
    assert_eq!((allowed[0].id.as_str(), via(&allowed)), ("document:download", vec![assignment]));
    let elsewhere = PrincipalsRequest { resource_id: Uuid::from_u128(1), ..principals.clone() };
    let unknown = client.access_principals(&elsewhere).page().await.unwrap_err();
    assert!(matches!(unknown, Error::NotFound { .. }), "{unknown:?}");
    let list = ListRequest { next: Some("foreign".to_owned()), ..list };
    let foreign = client.access_principals(&PrincipalsRequest { list, ..principals }).page().await.unwrap_err();
    assert!(matches!(foreign, Error::Invalid { .. }), "{foreign:?}");
}

async fn events_and_ledger(client: &Client) {
    let event = NewEvent {
        event_type: "document.uploaded".try_into().unwrap(),
        source: "document_vault".try_into().unwrap(),
        payload: [("n".to_owned(), Json::Int(1))].into_iter().collect(),
        context: [("actor_id".to_owned(), Json::from(USER))].into_iter().collect(),
        correlation_id: Some("c-1".try_into().unwrap()),
        occurred_at: Some(Timestamp::parse("2026-01-01T00:00:00Z").unwrap()),
        schema_version: "v1".try_into().unwrap(),
    };
    let first = client.ingest_event(&event).await.unwrap();
    assert_eq!((&first.event.payload, first.event.occurred_at), (&event.payload, event.occurred_at.unwrap()));
    assert_eq!(first.duplicate, None);
    let again = client.ingest_event(&event).await.unwrap();
    assert_eq!((again.event.id, again.duplicate), (first.event.id, Some(Duplicate::Same)));
    let other = client.ingest_event(&NewEvent { payload: json_object(), ..event.clone() }).await.unwrap();
    assert_eq!(other.duplicate, Some(Duplicate::Different));
    assert_eq!(client.event(first.event.event_id).await.unwrap(), again.event);
    let filter = EventFilter { source: Some("document_vault".into()), ..EventFilter::default() };
    assert_eq!(client.events(&filter).all().await.unwrap(), [again.event]);

    let all = AuditFilter::default();
    let mut newest = client.audit_entries(&all, Order::NewestFirst).limit(2).stream();
    let mut seen = Vec::new();
    while let Some(entry) = newest.try_next().await.unwrap() {
        seen.push(entry);
    }
    seen.reverse();
    assert_eq!(client.audit_entries(&all, Order::OldestFirst).all().await.unwrap(), seen);
    for (before, entry) in seen.iter().zip(&seen[1..]) {
        assert_eq!((entry.sequence, &entry.previous_hash), (before.sequence + 1, &before.entry_hash));
    }
    let by = AuditFilter { actor_id: Some(OPERATOR), ..AuditFilter::default() };
    let revoked = client.audit_entries(&by, Order::OldestFirst).all().await.unwrap();
    assert_eq!(revoked[0].action, "role_assignment.delete");
    assert_eq!(revoked[0].correlation_id.as_deref(), Some("the request"));

    let mut changes = client.changes(None);
    let page = changes.next_page(Duration::ZERO).await.unwrap();
    let registry: Vec<_> = seen.iter().filter(|entry| page.iter().any(|change| change.entry == **entry)).collect();
    assert_eq!((registry.len(), registry[0].action.as_str()), (page.len(), "entity.create"));
    assert!(seen.iter().filter(|entry| !registry.contains(entry)).all(|entry| !entry.action.starts_with("entity.")));
    assert_eq!(changes.next_page(Duration::from_secs(1)).await.unwrap(), []);
    assert!(changes.position() >= page.last().map(|change| change.revision));
}

fn json_object() -> epr_client::domain::JsonObject {
    [("n".to_owned(), Json::Int(2))].into_iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_sent_and_each_refusal_is_an_error_of_its_own() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let minted =
        Cli::on(&database.url).json(&["token", "new", "--name", "reader", "--scopes", "epr:read"]).await.remove(0);
    let token = minted["token"].as_str().unwrap().to_owned();
    let list = json!([minted["entry"]]).to_string();
    let environment =
        [("EPR_DATABASE_URL", database.url.as_str()), ("EPR_AUTH_MODE", "token"), ("EPR_API_TOKENS", &list)];
    let (process, base) = Process::api(&environment).await;
    let refused = client(&base).roles().all().await.unwrap_err();
    assert!(matches!(refused, Error::Unauthorized { .. }), "{refused:?}");
    let reader = Client::builder(&base).token(token.as_str()).build().unwrap();
    assert_eq!(reader.roles().all().await.unwrap(), []);
    let refused = reader.create_entity(&entity("Acme", EntityType::Issuer)).await.unwrap_err();
    assert!(matches!(&refused, Error::Forbidden { message } if message.contains("epr:write")), "{refused:?}");

    // A provider is asked for each request: this one gives an old token first.
    let asked = AtomicUsize::new(0);
    let provider = move || {
        let token = if asked.fetch_add(1, Ordering::Relaxed) == 0 { "epr_old".to_owned() } else { token.clone() };
        async { Ok::<_, BoxError>(token) }
    };
    let renewing = Client::builder(&base).token_provider(provider).build().unwrap();
    assert!(matches!(renewing.roles().all().await, Err(Error::Unauthorized { .. })));
    assert_eq!(renewing.roles().all().await.unwrap(), []);
    let broken = Client::builder(&base).token_provider(async || Err("no issuer".into())).build().unwrap();
    assert!(matches!(broken.roles().all().await, Err(Error::Token(_))));
    process.terminate().await;
}

/// A client that makes the way whole again before its second attempt, and the number of attempts it made.
fn mending(base: &str, way: &Arc<Proxy>) -> (Client, Arc<AtomicUsize>) {
    let attempts = Arc::new(AtomicUsize::new(0));
    let (counted, way) = (Arc::clone(&attempts), Arc::clone(way));
    let provider = move || {
        let (attempt, way) = (counted.fetch_add(1, Ordering::Relaxed), Arc::clone(&way));
        async move {
            if attempt == 1 {
                way.restore().await;
            }
            Ok::<_, BoxError>("unused".to_owned())
        }
    };
    let client = Client::builder(base).retries(quick_retries()).token_provider(provider).build().unwrap();
    (client, attempts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_repeated_while_the_service_has_no_database() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let (way, url) = Proxy::in_front_of(&database).await;
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &url)]).await;
    let plain = client(&base);
    let acme = plain.create_entity(&entity("Acme", EntityType::Issuer)).await.unwrap();

    way.cut().await;
    let readiness = plain.readiness().await.unwrap();
    assert!(!readiness.ready && readiness.database == "unavailable", "{readiness:?}");
    let once = Client::builder(&base).retries(RetryPolicy::never()).build().unwrap();
    let unavailable = once.authorize(&question(acme.id)).await.unwrap_err();
    assert!(
        matches!(unavailable, Error::Unavailable { status: 503, retry_after: Some(_), .. })
            && unavailable.is_temporary(),
        "{unavailable:?}"
    );
    // It may have been carried out: the error is returned.
    let (impatient, attempts) = mending(&base, &way);
    let unknown = impatient.create_entity(&entity("Nordhaus", EntityType::Issuer)).await.unwrap_err();
    assert!(matches!(unknown, Error::Unavailable { .. }), "{unknown:?}");
    assert_eq!(attempts.load(Ordering::Relaxed), 1);

    let (patient, attempts) = mending(&base, &way);
    assert!(!patient.authorize(&question(acme.id)).await.unwrap());
    assert!(attempts.load(Ordering::Relaxed) >= 2, "{attempts:?}");
    process.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_was_not_sent_is_repeated() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &database.url)]).await;
    let way = Proxy::to(base.strip_prefix("http://").unwrap()).await;
    way.cut().await;
    let behind = format!("http://{}", way.address);
    let once = Client::builder(&behind).retries(RetryPolicy::never()).build().unwrap();
    let refused = once.create_entity(&entity("Acme", EntityType::Issuer)).await.unwrap_err();
    assert!(matches!(refused, Error::Transport { kind: TransportKind::Connect, .. }), "{refused:?}");
    let (patient, attempts) = mending(&behind, &way);
    let made = patient.create_entity(&entity("Acme", EntityType::Issuer)).await.unwrap();
    assert_eq!(attempts.load(Ordering::Relaxed), 2);
    assert_eq!(client(&base).entities(&EntityFilter::default()).all().await.unwrap(), [made]);
    process.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_stopped_in_the_middle_of_a_list_is_an_error() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &database.url)]).await;
    let client = Client::builder(&base).retries(RetryPolicy::never()).build().unwrap();
    for name in ["One", "Two", "Three"] {
        client.create_entity(&entity(name, EntityType::Spv)).await.unwrap();
    }
    let list = client.entities(&EntityFilter::default()).limit(2);
    let first = list.page().await.unwrap();
    assert!(first.items.len() == 2 && first.has_next());
    let second = list.page_after(&first).await.unwrap().unwrap();
    assert_eq!((&second.items[0].name[..], second.has_next()), ("One", false));
    assert_eq!(list.page_after(&second).await.unwrap(), None);

    let mut rows = list.stream();
    assert_eq!(rows.try_next().await.unwrap().unwrap().name, "Three");
    process.signal("KILL").await;
    process.wait_for_exit().await;
    assert_eq!(rows.try_next().await.unwrap().unwrap().name, "Two", "of the page that was there");
    let ended = rows.try_next().await.unwrap_err();
    assert!(matches!(ended, Error::Transport { .. }), "{ended:?}");
    assert!(rows.try_next().await.unwrap().is_none(), "nothing follows an error");
}

/// A server that answers every request with these bytes and ends the connection; the requests that it has seen.
async fn server(answer: &'static [u8]) -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(AtomicUsize::new(0));
    let requests = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if stream.read(&mut [0; 4096]).await.unwrap_or(0) > 0 {
                requests.fetch_add(1, Ordering::Relaxed);
                let _ = stream.write_all(answer).await;
            }
        }
    });
    (base, seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_ends_is_not_repeated() {
    for answer in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"authorized\": "] {
        let (base, seen) = server(answer).await;
        let client = Client::builder(&base).retries(quick_retries()).build().unwrap();
        let ended = client.authorize(&question(USER)).await.unwrap_err();
        assert!(matches!(ended, Error::Transport { kind: TransportKind::Interrupted, .. }), "{ended:?}");
        assert_eq!(seen.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_stands_still_is_a_timeout_and_another_server_a_protocol_error() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &database.url)]).await;
    let hasty = Client::builder(&base).timeout(Duration::from_millis(200)).build().unwrap();
    process.suspend().await;
    let late = hasty.create_entity(&entity("Acme", EntityType::Issuer)).await.unwrap_err();
    assert!(matches!(late, Error::Transport { kind: TransportKind::Timeout, .. }), "{late:?}");
    process.signal("CONT").await;
    process.terminate().await;

    let other = async |answer| client(&server(answer).await.0).roles().all().await.unwrap_err();
    let page = other(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>").await;
    assert!(matches!(page, Error::Protocol(ProtocolError::Body { .. })), "{page:?}");
    let elsewhere: &[u8] = b"HTTP/1.1 302 Found\r\nlocation: http://evil.test/\r\ncontent-length: 0\r\n\r\n";
    let redirect = other(elsewhere).await;
    assert!(matches!(redirect, Error::Protocol(ProtocolError::Redirect { location: Some(_) })), "{redirect:?}");
    let foreign: &[u8] = b"HTTP/1.1 200 OK\r\nlink: <http://evil.test/>; rel=\"next\"\r\ncontent-length: 2\r\n\r\n[]";
    let foreign = other(foreign).await;
    assert!(matches!(foreign, Error::Protocol(ProtocolError::ForeignLink)), "{foreign:?}");
}

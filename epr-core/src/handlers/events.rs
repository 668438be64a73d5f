//! Events: ingesting those of other services, and creating EPR's own.

use tracing::info;
use uuid::Uuid;

use super::event_entry::entry_for;
use super::once::{commit_once, kept};
use super::transaction::{Change, ChangeResult, Mutation};
use crate::call::Call;
use crate::domain::audit::OWN_SOURCE;
use crate::domain::event::{
    DeliveryState, Duplicate, Event, IngestedEvent, MAX_MESSAGE_BYTES, NewEvent, ordering_key, too_large,
};
use crate::domain::fields::{Problem, object_problem};
use crate::domain::json::object;
use crate::domain::{
    Assignment, Entity, Invalid, JsonObject, KeptAnswer, KeyedRequest, Once, Principal, PrincipalStatus, Role,
    Timestamp,
};
use crate::engine::Engines;
use crate::error::{Error, Result};
use crate::ledger::chain::Draft;
use crate::publish::Message;
use crate::store::OutboxEvent;

/// Events that are made pending again in one transaction.
const REQUEUE_BATCH: u32 = 1000;

/// Makes failed events pending again: one, or all of them, batch by batch. Returns their number.
pub(crate) async fn requeue(engines: &Engines, event_id: Option<Uuid>) -> Result<u64> {
    let mut all = 0;
    loop {
        let done = engines.store().requeue_events(event_id, engines.now(), REQUEUE_BATCH).await?;
        all += done;
        if done < u64::from(REQUEUE_BATCH) {
            return Ok(all);
        }
    }
}

/// Accepts an event from another service and tries to deliver it. Under an idempotency key, a repeat returns the first
/// answer, which has the delivery state of the commit: the attempts to deliver follow it.
pub(crate) async fn ingest(
    engines: &Engines,
    call: &Call,
    request: Option<&KeyedRequest>,
    new: NewEvent,
) -> Result<Once<IngestedEvent>> {
    refuse_own_source(engines, new.source.as_str())?;
    let dated = new.occurred_at.is_some();
    let now = engines.now();
    let event = Event {
        id: engines.new_id(),
        event_id: engines.new_id(),
        event_type: new.event_type.into_string(),
        source: new.source.into_string(),
        payload: new.payload,
        context: new.context,
        correlation_id: new.correlation_id.map(crate::domain::Text::into_string),
        occurred_at: new.occurred_at.unwrap_or(now),
        schema_version: new.schema_version.into_string(),
        delivery_state: first_state(engines),
        delivery_attempts: first_attempts(engines),
        last_error: None,
        created_at: now,
        updated_at: now,
        traceparent: call.traceparent,
        ingested: true,
    };
    check(&event)?;
    let entry = entry_for(engines.core.settings.audit_events, call, &event);
    let duplicate_of =
        |first: &Event| if same_content(first, &event, dated) { Duplicate::Same } else { Duplicate::Different };
    let answer = |first: &Option<Event>| {
        let duplicate = first.as_ref().map(duplicate_of);
        Ok(KeptAnswer { duplicate, ..kept(first.as_ref().unwrap_or(&event))? })
    };
    let first = match commit_once(engines, None, request, &Ingest { event: &event, entry }, answer).await? {
        Once::First(first) => first,
        Once::Repeated(answer) => return Ok(Once::Repeated(answer)),
    };
    let Some(first) = first else {
        // The delivery has been attempted: return its state. The event is accepted even if that cannot be read.
        let delivered = match request {
            None => engines.store().event(event.event_id).await.ok().flatten(),
            Some(_) => None,
        };
        let event = delivered.unwrap_or(event);
        info!(
            event_id = %event.event_id, event_type = event.event_type, source = event.source,
            correlation_id = event.correlation_id, "events_ingested"
        );
        return Ok(Once::First(IngestedEvent { event, duplicate: None }));
    };
    let duplicate = duplicate_of(&first);
    engines.core.metrics.deduplicated(duplicate);
    info!(
        event_id = %first.event_id, event_type = first.event_type, source = first.source,
        correlation_id = first.correlation_id, differs = duplicate == Duplicate::Different, "event_ingest_deduplicated"
    );
    Ok(Once::First(IngestedEvent { event: first, duplicate: Some(duplicate) }))
}

/// Refuses EPR's own source: consumers trust that such an event is about a change that EPR made.
fn refuse_own_source(engines: &Engines, source: &str) -> Result<()> {
    let own = [OWN_SOURCE, engines.core.settings.events.source.as_str()];
    if own.iter().any(|own| own.eq_ignore_ascii_case(source.trim())) {
        let sentence =
            format!("'{source}' is the source of EPR's own events; use the name of the service that reports");
        return Err(Error::field("source", Problem::new("reserved", sentence)));
    }
    Ok(())
}

/// The delivery state of a new event: complete when there is no topic.
pub(super) fn first_state(engines: &Engines) -> DeliveryState {
    if engines.delivery.publishes() { DeliveryState::Pending } else { DeliveryState::Succeeded }
}

/// The delivery attempts of a new event: one when there is no topic, as in the older service.
fn first_attempts(engines: &Engines) -> i32 {
    i32::from(!engines.delivery.publishes())
}

/// An event of EPR's own.
pub(super) fn own_event(
    engines: &Engines,
    call: &Call,
    now: Timestamp,
    event_type: &str,
    payload: JsonObject,
    key: String,
) -> OutboxEvent {
    let event = Event {
        id: engines.new_id(),
        event_id: engines.new_id(),
        event_type: event_type.to_owned(),
        source: engines.core.settings.events.source.clone(),
        payload,
        context: JsonObject::new(),
        correlation_id: call.correlation_id.as_ref().map(ToString::to_string),
        occurred_at: now,
        schema_version: "v1".to_owned(),
        delivery_state: first_state(engines),
        delivery_attempts: first_attempts(engines),
        last_error: None,
        created_at: now,
        updated_at: now,
        traceparent: call.traceparent,
        ingested: false,
    };
    OutboxEvent { event, ordering_key: Some(key), lease: None }
}

/// Whether a repeat has the content of the first event. A time that the caller did not send is not compared.
fn same_content(first: &Event, again: &Event, dated: bool) -> bool {
    first.event_type == again.event_type
        && first.payload == again.payload
        && first.context == again.context
        && first.schema_version == again.schema_version
        && (!dated || first.occurred_at == again.occurred_at)
}

struct Ingest<'a> {
    event: &'a Event,
    entry: Option<Draft>,
}

impl Mutation for Ingest<'_> {
    /// The first event with this source and correlation id, if this is a repeat.
    type Done = Option<Event>;

    async fn apply(&self, change: &mut Change) -> ChangeResult<Option<Event>> {
        // The entry first, as in every change: with two orders of the ledger's lock and an ordering key's there could
        // be a deadlock.
        if let Some(entry) = &self.entry {
            change.record(entry.clone());
        }
        let ordering_key = ordering_key(&self.event.payload);
        change.emit(OutboxEvent { event: self.event.clone(), ordering_key, lease: None });
        Ok(None)
    }

    fn found_event(&self, _: Option<Event>, first: Event) -> Option<Event> {
        Some(first)
    }
}

/// Refuses an event that could never be delivered, while its sender can still correct it.
fn check(event: &Event) -> Result<()> {
    for (name, members) in [("payload", &event.payload), ("context", &event.context)] {
        if let Some(problem) = object_problem(members) {
            return Err(Error::field(name, problem));
        }
    }
    let bytes = Message::of(event).bytes();
    if bytes > MAX_MESSAGE_BYTES {
        return Err(Invalid::one("body", None, too_large(bytes)).into());
    }
    Ok(())
}

pub(super) fn entity_archived(engines: &Engines, call: &Call, entity: &Entity) -> OutboxEvent {
    let payload = object([("entity_id", entity.id.into()), ("entity_type", entity.entity_type.word().into())]);
    own_event(engines, call, entity.updated_at, "entity.archived", payload, entity.id.to_string())
}

pub(super) fn role_updated(engines: &Engines, call: &Call, role: &Role) -> OutboxEvent {
    own_event(
        engines,
        call,
        role.updated_at,
        "role.updated",
        object([("role_id", role.id.into())]),
        role.id.to_string(),
    )
}

/// The payload names the principal and nothing personal.
pub(super) fn principal_status_changed(engines: &Engines, call: &Call, principal: &Principal) -> OutboxEvent {
    let event_type = match principal.status {
        PrincipalStatus::Active => "principal.activated",
        PrincipalStatus::Suspended => "principal.suspended",
    };
    let payload =
        object([("principal_id", principal.id.into()), ("principal_type", principal.principal_type.as_str().into())]);
    own_event(engines, call, principal.updated_at, event_type, payload, principal.id.to_string())
}

/// `change` is `created` or `revoked`.
pub(super) fn assignment_changed(
    engines: &Engines,
    call: &Call,
    now: Timestamp,
    assignment: &Assignment,
    change: &str,
) -> OutboxEvent {
    let payload = object([
        ("principal_id", assignment.principal_id.into()),
        ("principal_type", assignment.principal_type.as_str().into()),
        ("role_id", assignment.role_id.into()),
        ("entity_id", assignment.entity_id.into()),
        ("change", change.into()),
    ]);
    // A global assignment is ordered with the others of its principal.
    let key = assignment.entity_id.unwrap_or(assignment.principal_id).to_string();
    own_event(engines, call, now, "role.assignment.changed", payload, key)
}

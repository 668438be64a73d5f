//! `Call`: the caller of a use case and the context of the call.

use uuid::Uuid;

use crate::domain::audit::CorrelationId;
use crate::domain::named_caller::NamedCaller;
use crate::domain::{StatedReason, TraceParent};

/// The caller and the context of one call. The ledger records both with every change that the call makes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Call {
    /// The actor, if the caller named one.
    pub actor_id: Option<Uuid>,
    /// The credential or the operating system's user behind the call. It is the actor when `actor_id` names none.
    pub caller: Option<NamedCaller>,
    /// The caller's id for a group of calls that belong together, if it sent one.
    pub correlation_id: Option<CorrelationId>,
    /// Why the caller makes a change, if it says so (`EPR-Reason`). The entries of the change have it as
    /// `details.stated_reason`; checks ignore it.
    pub stated_reason: Option<StatedReason>,
    /// The trace that this call is part of, if any. Events that the call causes carry it.
    pub traceparent: Option<TraceParent>,
}

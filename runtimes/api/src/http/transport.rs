//! How answers reach their callers, and what follows for long ones.

/// How answers reach their callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Over connections, piece by piece and for as long as it takes.
    Connections,
    /// Each in one piece, as the result of an invocation that ends with it.
    Invocations,
}

/// Bytes of the events in one answer to an invocation.
const INVOCATION_EVENT_BYTES: usize = 2 << 20;

impl Transport {
    /// The size of a whole list without its last row: the list ends with the row that exceeds it.
    pub(crate) fn list_bytes(self) -> i64 {
        match self {
            Self::Connections => 63 << 20,
            // A function of AWS Lambda returns at most 6 MB.
            Self::Invocations => 3 << 20,
        }
    }

    /// Whether a call may wait for something to happen.
    pub(crate) fn waits(self) -> bool {
        self == Self::Connections
    }

    /// Whether a change that outlasts its timeout is completed after it was answered.
    pub(crate) fn completes_later(self) -> bool {
        self == Self::Connections
    }

    /// Whether an answer has room for more events after `written` bytes of them.
    pub(crate) fn takes_events_after(self, written: usize) -> bool {
        self == Self::Connections || written < INVOCATION_EVENT_BYTES
    }
}

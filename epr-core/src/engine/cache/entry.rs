//! The text form of a decision in the shared tier, and its keys. Plain ASCII, so that every transport carries it
//! unchanged.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::memory::Basis;
use super::pending::Scope;
use crate::decision::{Decision, Denial, Question, Reason, Span, Via};
use crate::domain::fields::Choice as _;
use crate::domain::{EntityType, Timestamp};
use crate::store::ReadAt;

/// The version of the text form. An entry of another version is not read. Programs that wrote version 1 knew neither
/// suspended principals nor conditions; those that wrote version 2 did not say which state a decision rests on.
const FORM: &str = "3";

/// The epochs under which a decision is made, and the server that holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Epochs {
    /// The run of the server. A server that was restarted may have lost renewals (an old snapshot).
    pub(super) server: String,
    pub(super) global: String,
    pub(super) principal: String,
}

/// The keys of one database.
pub(super) struct Keys {
    start: String,
}

impl Keys {
    pub(super) fn new(prefix: &str, database: &str) -> Self {
        Self { start: format!("{prefix}:{database}") }
    }

    pub(super) fn epoch(&self, scope: Scope) -> String {
        match scope {
            None => format!("{}:epoch:*", self.start),
            Some(principal) => format!("{}:epoch:{}", self.start, principal.simple()),
        }
    }

    pub(super) fn entry(&self, question: &Question) -> String {
        let mut hash = Sha256::new();
        hash.update(question.principal_id.as_bytes());
        hash.update(question.resource_id.as_bytes());
        // With the length of the first text, so that two pairs of texts never give the same bytes.
        hash.update(question.principal_type.as_str().len().to_be_bytes());
        hash.update(question.principal_type.as_str());
        hash.update(question.action.as_str());
        let mut key = format!("{}:is:", self.start);
        for byte in hash.finalize() {
            let _ = write!(key, "{byte:02x}");
        }
        key
    }
}

/// A new, random epoch.
pub(super) fn token() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// A decision, its basis, and the time for which it is valid.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) decision: Decision,
    pub(super) basis: Basis,
    pub(super) span: Span,
}

pub(super) fn write(epochs: &Epochs, entry: &Entry) -> String {
    let Entry { decision, basis: Basis { read_at, resource_type }, span } = entry;
    let time = |at: Option<Timestamp>| at.map_or_else(|| "-".into(), |at| at.unix_micros().to_string());
    let Epochs { server, global, principal } = epochs;
    let (from, until) = (time(span.from), time(span.until));
    let reason = match decision.reason {
        Reason::Granted { assignment_id, role_id, via } => {
            format!("{} {} {}", via.word(), assignment_id.simple(), role_id.simple())
        }
        reason @ Reason::Denied(_) => reason.code().into(),
    };
    let (ReadAt { revision, decisive }, kind) = (read_at, resource_type.word());
    format!("{FORM} {server} {global} {principal} {from} {until} {revision} {decisive} {kind} {reason}")
}

/// Reads an entry. Any other text is treated as absent.
pub(super) fn read(text: &str) -> Option<(Epochs, Entry)> {
    let mut words = text.split(' ');
    if words.next()? != FORM {
        return None;
    }
    let mut word = || words.next();
    let time = |word: &str| match word {
        "-" => Some(None),
        word => Timestamp::from_unix_micros(word.parse().ok()?).ok().map(Some),
    };
    let epochs = Epochs { server: word()?.into(), global: word()?.into(), principal: word()?.into() };
    let span = Span { from: time(word()?)?, until: time(word()?)? };
    let read_at = ReadAt { revision: word()?.parse().ok()?, decisive: word()?.parse().ok()? };
    let basis = Basis { read_at, resource_type: EntityType::from_word(word()?)?.into() };
    let first = word()?;
    let reason = match Denial::from_word(first) {
        Some(denial) => Reason::Denied(denial),
        None => {
            let via = Via::from_word(first)?;
            let (assignment_id, role_id) = (Uuid::parse_str(word()?).ok()?, Uuid::parse_str(word()?).ok()?);
            Reason::Granted { assignment_id, role_id, via }
        }
    };
    if word().is_some() {
        return None;
    }
    let decision = Decision { allowed: matches!(reason, Reason::Granted { .. }), reason };
    Some((epochs, Entry { decision, basis, span }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Incarnation, Revision};

    #[test]
    fn what_is_written_is_read_back_and_nothing_else_is() {
        let epochs = Epochs { server: "s".into(), global: token(), principal: token() };
        let at = |micros| Timestamp::from_unix_micros(micros).unwrap();
        let revision = Revision { incarnation: Incarnation(Uuid::from_u128(9)), sequence: 12 };
        let basis = Basis { read_at: ReadAt { revision, decisive: 11 }, resource_type: EntityType::Spv.into() };
        let granted = |via| Reason::Granted { assignment_id: Uuid::from_u128(7), role_id: Uuid::from_u128(8), via };
        let reasons = [
            Reason::Denied(Denial::NoAssignment),
            Reason::Denied(Denial::ActionNotHeld),
            Reason::Denied(Denial::TypeOutOfScope),
            Reason::Denied(Denial::Expired),
            Reason::Denied(Denial::NotYetInForce),
            Reason::Denied(Denial::PrincipalSuspended),
            granted(Via::Direct),
            granted(Via::Inherited),
            granted(Via::Global),
        ];
        for reason in reasons {
            for span in [Span { from: None, until: None }, Span { from: Some(at(-5)), until: Some(at(9)) }] {
                let decision = Decision { allowed: matches!(reason, Reason::Granted { .. }), reason };
                let entry = Entry { decision, basis: basis.clone(), span };
                let text = write(&epochs, &entry);
                assert_eq!(read(&text), Some((epochs.clone(), entry)), "{text}");
                assert_eq!(read(&format!("{text} more")), None);
                assert_eq!(read(&text.replacen('3', "2", 1)), None);
                let (less, _) = text.rsplit_once(' ').unwrap();
                assert_eq!(read(less), None);
            }
        }
    }

    #[test]
    fn questions_do_not_share_keys() {
        let keys = Keys::new("epr", "db");
        let question = |kind: &str, action: &str| {
            let mut question = Question::new(Uuid::nil(), action.try_into().unwrap(), Uuid::nil());
            question.principal_type = kind.try_into().unwrap();
            keys.entry(&question)
        };
        assert_ne!(question("user", "a:b"), question("usera", ":b"));
        assert_ne!(question("user", "a:b"), question("user", "a:c"));
    }
}

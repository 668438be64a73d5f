//! The ledger entries of a batch.
//!
//! Owns how much one call may add to the ledger. Must never write to it.

use super::super::asked::Asked;
use super::super::authzen::Recorder;
use super::super::record;
use super::item::{Asking, ItemDecision};
use crate::Call;
use crate::domain::fields::Problem;
use crate::error::{Error, Result};
use crate::ledger::chain::Draft;
use crate::settings::AuditContext;

/// The most bytes of details that one call may add to the ledger.
const MAX_RECORDED_BYTES: usize = 16 << 20;

/// Makes the entries of one call.
pub(super) struct Drafts<'a> {
    call: &'a Call,
    audit_context: AuditContext,
    /// The member of the body that lists the items.
    member: &'static str,
    /// Present from the first item by names on.
    by_names: Option<Recorder<'a>>,
    /// The bytes of details so far.
    bytes: usize,
}

impl<'a> Drafts<'a> {
    pub(super) fn new(call: &'a Call, audit_context: AuditContext, member: &'static str) -> Self {
        Self { call, audit_context, member, by_names: None, bytes: 0 }
    }

    /// The entry of a decision.
    ///
    /// # Errors
    /// The call would add too much to the ledger.
    pub(super) fn draft(&mut self, asking: Asking<'a>, decided: &ItemDecision) -> Result<Draft> {
        let (call, audit_context) = (self.call, self.audit_context);
        let draft = match asking {
            Asking::Ids(item) => {
                let asked = Asked { call, question: &item.question, context: &item.context };
                let ItemDecision { evaluated, basis, now, .. } = decided;
                record::decided(asked, *now, evaluated, basis, audit_context, !decided.is_evaluated())?
            }
            Asking::Names(named) => {
                let recorder = self.by_names.get_or_insert_with(|| Recorder::new(call, audit_context, named.names));
                recorder.draft(named, decided)?
            }
        };
        self.bytes += draft.details().len();
        if self.bytes <= MAX_RECORDED_BYTES {
            return Ok(draft);
        }
        let msg = format!(
            "The ledger entries of this batch would take more than {MAX_RECORDED_BYTES} bytes; send fewer items, or \
             smaller contexts and properties"
        );
        Err(Error::field(self.member, Problem::new("too_large", msg)))
    }
}

//! Checkpoints of the ledger: the keys that sign them and how often.

use std::sync::Arc;
use std::time::Duration;

use super::reader::Reader;
use super::variable::{Section, Variable};
use crate::domain::Incarnation;
use crate::ledger::checkpoint::Checkpoint;
use crate::signing::{LedgerKeys, LedgerSigning};

const KEY_ALLOWED: &str = "a PEM (PKCS #8), a seed of 32 bytes in hex or base64, or the path of a file with either";

const ORIGIN: Variable = Variable::optional(
    "EPR_LEDGER_ORIGIN",
    "a URL without scheme, spaces and +, such as epr.example/ledger",
    "The name of this ledger in its checkpoints, to which EPR adds the incarnation. Required with `EPR_LEDGER_KEY`. \
     Must not be changed afterwards: see [PROOFS.md](PROOFS.md).",
);
const KEY: Variable = Variable::optional(
    "EPR_LEDGER_KEY",
    KEY_ALLOWED,
    "The Ed25519 key that signs checkpoints of the ledger. Not set: none are made. A process with this variable signs.",
)
.secret();
const KEY_PQ: Variable = Variable::optional(
    "EPR_LEDGER_KEY_PQ",
    KEY_ALLOWED,
    "An ML-DSA-44 key that signs checkpoints besides `EPR_LEDGER_KEY`.",
)
.secret();
const INTERVAL: Variable = Variable::number(
    "EPR_LEDGER_CHECKPOINT_INTERVAL",
    10,
    &(1..=86_400),
    "Time between two checkpoints in seconds. None is made unless the ledger has grown.",
);

pub(super) const SECTION: Section =
    Section { title: "Ledger checkpoints", variables: &[ORIGIN, KEY, KEY_PQ, INTERVAL] };

/// Reads how checkpoints are signed; `None` when they are not.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<LedgerSigning> {
    let origin = reader.checked(&ORIGIN, |given, _| {
        let example = format!("{given}/{}", Incarnation(uuid::Uuid::nil()));
        let scheme = given.contains("://") || given.ends_with('/');
        match Checkpoint::new(&example, 0, [0; 32]) {
            Ok(_) if !scheme => Ok(given.to_owned()),
            _ => Err("expected a URL without scheme, spaces and +, such as epr.example/ledger".to_owned()),
        }
    });
    let interval = Duration::from_secs(reader.number(&INTERVAL));
    let key = reader.checked(&KEY, |given, _| LedgerKeys::read_ed25519(given));
    let key = match reader.optional_text(&KEY_PQ) {
        None => key,
        Some(given) => match key.map(|key| key.with_ml_dsa(&given)) {
            Some(Ok(key)) => Some(key),
            Some(Err(why)) => {
                reader.error(format!("EPR_LEDGER_KEY_PQ: {why}"));
                None
            }
            None => {
                if !reader.is_set(&KEY) {
                    reader.error("EPR_LEDGER_KEY_PQ is set without EPR_LEDGER_KEY".to_owned());
                }
                None
            }
        },
    };
    let keys = Arc::new(key?);
    if origin.is_none() && !reader.is_set(&ORIGIN) {
        reader.error("EPR_LEDGER_KEY needs EPR_LEDGER_ORIGIN, the name of the ledger".to_owned());
    }
    Some(LedgerSigning { origin: origin?, keys, interval })
}

//! Witnesses of the ledger over HTTP (C2SP tlog-witness): servers of others that cosign a checkpoint if it continues
//! the last one that they have seen.
//!
//! Owns one request and its answers. Must never keep a line that the witness's key did not make.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Client;

use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::merkle::Hash;
use crate::ledger::note::{KeyType, Note, VerifierKey};

/// The deadline of one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer that is read: a few signatures.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// A witness.
#[derive(Clone)]
pub struct Witness {
    client: Client,
    url: String,
    key: VerifierKey,
}

impl fmt::Debug for Witness {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Witness").field("name", &self.key.name()).finish_non_exhaustive()
    }
}

/// What a witness answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WitnessAnswer {
    /// It cosigned; the signature line.
    Cosigned(String),
    /// It has seen another size last; the request should begin there.
    OtherSize(u64),
    /// It says that the checkpoint does not continue what it has seen.
    Inconsistent,
    /// It refused for a reason that does not concern the ledger's content, or could not be reached.
    Failed(String),
}

impl Witness {
    /// Reads `URL VKEY`.
    ///
    /// # Errors
    /// A sentence.
    pub fn parse(given: &str) -> Result<Self, String> {
        let mut words = given.split_whitespace();
        let (Some(url), Some(key), None) = (words.next(), words.next(), words.next()) else {
            return Err("expected a URL, a space and the verifier key of the witness".to_owned());
        };
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return Err("the URL of a witness begins with https://".to_owned());
        }
        let key: VerifierKey = key.parse().map_err(|error| format!("the key of the witness: {error}"))?;
        if key.kind() == KeyType::Ed25519 {
            return Err("the key of a witness has the type 0x04 or 0x06".to_owned());
        }
        let client = Client::builder().timeout(CALL_TIMEOUT).build().map_err(|error| error.to_string())?;
        Ok(Self { client, url: url.trim_end_matches('/').to_owned(), key })
    }

    /// The name of the witness's key.
    #[must_use]
    pub fn name(&self) -> &str {
        self.key.name()
    }

    /// Asks for a cosignature on the checkpoint in `note`; `path` proves that it continues the tree of `old` entries.
    pub async fn add_checkpoint(&self, old: u64, path: &[Hash], note: &Note) -> WitnessAnswer {
        let first = std::iter::once(format!("old {old}"));
        let lines: Vec<String> = first.chain(path.iter().map(|hash| STANDARD.encode(hash))).collect();
        let body = format!("{}\n\n{note}", lines.join("\n"));
        let sent = self.client.post(format!("{}/add-checkpoint", self.url)).body(body).send().await;
        let response = match sent {
            Ok(response) => response,
            Err(error) => return WitnessAnswer::Failed(error.without_url().to_string()),
        };
        let status = response.status().as_u16();
        let answer = match response.bytes().await {
            Ok(bytes) if bytes.len() <= MAX_ANSWER_BYTES => String::from_utf8_lossy(&bytes).into_owned(),
            Ok(_) => return WitnessAnswer::Failed("the answer is too long".to_owned()),
            Err(error) => return WitnessAnswer::Failed(error.without_url().to_string()),
        };
        match status {
            200 => self.cosignature(note, &answer),
            409 => match answer.trim_end_matches('\n').parse() {
                Ok(size) => WitnessAnswer::OtherSize(size),
                Err(_) => WitnessAnswer::Failed("status 409 without a size".to_owned()),
            },
            403 => WitnessAnswer::Failed("it does not accept the signature of the ledger's key (403)".to_owned()),
            404 => WitnessAnswer::Failed("it does not know the origin of the ledger (404)".to_owned()),
            422 => WitnessAnswer::Inconsistent,
            other => WitnessAnswer::Failed(format!("status {other}")),
        }
    }

    /// The line of the answer by the witness's key, once the key has verified it.
    fn cosignature(&self, note: &Note, answer: &str) -> WitnessAnswer {
        for line in answer.lines() {
            let Ok(cosigned) = format!("{note}{line}\n").parse::<Note>() else { continue };
            let unsigned = Note {
                text: cosigned.text.clone(),
                signatures: cosigned.signatures.last().cloned().into_iter().collect(),
            };
            if Checkpoint::verified(&unsigned, &self.key).is_ok() {
                return WitnessAnswer::Cosigned(line.to_owned());
            }
        }
        WitnessAnswer::Failed("the answer has no valid signature by its key".to_owned())
    }
}

//! A stand-in for AWS KMS, which speaks its JSON protocol (`TrentService.GetPublicKey`, `TrentService.Sign`) with real
//! keys of Ed25519 and ML-DSA-44. moto 5.2.5 refuses both kinds of key, so that this path has no other server to test
//! with. It answers as AWS documents its API, checks what it is sent, and has never been compared with KMS itself.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, ML_DSA_44_SIGNING, PqdsaKeyPair};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// The region of the keys.
pub const REGION: &str = "eu-central-1";
/// The longest message that KMS signs, in bytes.
const MAX_MESSAGE_BYTES: usize = 4096;

/// What it does with the next requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mood {
    /// It answers.
    Works,
    /// It refuses with this status and this exception.
    Refuses(u16, &'static str),
    /// It answers nothing for a minute.
    Silent,
    /// It signs another message.
    SignsOther,
}

/// The server; ends with the test's runtime.
#[derive(Clone)]
pub struct Kms {
    /// Its URL.
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    ed25519: Ed25519KeyPair,
    ml_dsa: PqdsaKeyPair,
    state: Mutex<(Mood, Vec<String>)>,
}

impl Kms {
    /// Starts a server with keys from `seed`.
    pub async fn start(seed: u8) -> Self {
        let ed25519 = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a key");
        let ml_dsa = PqdsaKeyPair::from_seed(&ML_DSA_44_SIGNING, &[seed; 32]).expect("a key");
        let shared = Arc::new(Shared { ed25519, ml_dsa, state: Mutex::new((Mood::Works, Vec::new())) });
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let router = Router::new().route("/", post(answer)).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    /// The ARN of the key of Ed25519.
    #[must_use]
    pub fn ed25519() -> String {
        arn("ed25519")
    }

    /// The ARN of the key of ML-DSA-44.
    #[must_use]
    pub fn ml_dsa() -> String {
        arn("ml-dsa-44")
    }

    /// Sets what it does with the next requests.
    pub fn set(&self, mood: Mood) {
        self.shared.state.lock().expect("no panic").0 = mood;
    }

    /// The operations since the last call, with the ids of their keys.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.state.lock().expect("no panic").1)
    }
}

fn arn(id: &str) -> String {
    format!("arn:aws:kms:{REGION}:123456789012:key/{id}")
}

fn refuse(status: u16, exception: &str, message: &str) -> Response {
    let body = json!({"__type": exception, "message": message}).to_string();
    (StatusCode::from_u16(status).expect("a status"), body).into_response()
}

async fn answer(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: String) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let operation = header("x-amz-target").trim_start_matches("TrentService.").to_owned();
    let key = body["KeyId"].as_str().unwrap_or_default();
    let mood = {
        let mut state = shared.state.lock().expect("no panic");
        state.1.push(format!("{operation} {}", key.rsplit('/').next().unwrap_or_default()));
        state.0
    };
    if header("content-type") != "application/x-amz-json-1.1"
        || !header("authorization").contains(&format!("/{REGION}/kms/aws4_request"))
    {
        return refuse(400, "IncompleteSignatureException", "not signed for KMS in the region of the key");
    }
    match mood {
        Mood::Refuses(status, exception) => return refuse(status, exception, "refused by the test"),
        Mood::Silent => tokio::time::sleep(Duration::from_mins(1)).await,
        Mood::Works | Mood::SignsOther => {}
    }
    let is_ed25519 = key == Kms::ed25519();
    if !is_ed25519 && key != Kms::ml_dsa() {
        return refuse(400, "NotFoundException", "no such key");
    }
    let (spec, algorithm) =
        if is_ed25519 { ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512") } else { ("ML_DSA_44", "ML_DSA_SHAKE_256") };
    match operation.as_str() {
        "GetPublicKey" => {
            let der: PublicKeyX509Der<'_> = if is_ed25519 {
                shared.ed25519.public_key().as_der().expect("a public key")
            } else {
                shared.ml_dsa.public_key().as_der().expect("a public key")
            };
            let public = STANDARD.encode(der.as_ref());
            json!({
                "KeyId": key, "PublicKey": public, "KeySpec": spec, "CustomerMasterKeySpec": spec,
                "KeyUsage": "SIGN_VERIFY", "SigningAlgorithms": [algorithm],
            })
            .to_string()
            .into_response()
        }
        "Sign" if body["SigningAlgorithm"] != algorithm || body["MessageType"] != "RAW" => {
            refuse(400, "InvalidKeyUsageException", "another algorithm or message type than the key has")
        }
        "Sign" => {
            let message = body["Message"].as_str().and_then(|message| STANDARD.decode(message).ok());
            let Some(mut message) = message.filter(|message| (1..=MAX_MESSAGE_BYTES).contains(&message.len())) else {
                return refuse(400, "ValidationException", "a message has 1 to 4096 bytes");
            };
            if mood == Mood::SignsOther {
                message.push(0);
            }
            let signature = if is_ed25519 {
                shared.ed25519.sign(&message).as_ref().to_vec()
            } else {
                let mut signature = vec![0; 2420];
                shared.ml_dsa.sign(&message, &mut signature).expect("a signature");
                signature
            };
            let signature = STANDARD.encode(signature);
            json!({"KeyId": key, "Signature": signature, "SigningAlgorithm": algorithm}).to_string().into_response()
        }
        _ => refuse(400, "UnknownOperationException", "no such operation"),
    }
}

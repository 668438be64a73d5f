//! An issuer of JWTs: keys generated for one test, tokens signed by them, and the set of keys over HTTP.
//!
//! Signs with the crypto library itself, not with the crate that verifies.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaKeyPair,
};
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The issuer's name in its tokens.
pub const ISSUER: &str = "https://issuer.test";
/// The audience of its tokens.
pub const AUDIENCE: &str = "epr";

/// Bytes in the base64url encoding of JWTs.
#[must_use]
pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ec256(EcdsaKeyPair),
    Ec384(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

/// A key pair with an id.
pub struct SigningKey {
    /// The `kid` of the key.
    pub id: String,
    pair: Pair,
}

impl SigningKey {
    /// RSA of 2048 bits.
    #[must_use]
    pub fn rsa(id: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        Self { id: id.into(), pair: Pair::Rsa(Box::new(pair)) }
    }

    /// P-256.
    #[must_use]
    pub fn ec256(id: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        Self { id: id.into(), pair: Pair::Ec256(pair) }
    }

    /// P-384.
    #[must_use]
    pub fn ec384(id: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key");
        Self { id: id.into(), pair: Pair::Ec384(pair) }
    }

    /// Ed25519.
    #[must_use]
    pub fn ed(id: &str) -> Self {
        Self { id: id.into(), pair: Pair::Ed(Ed25519KeyPair::generate().expect("a key")) }
    }

    /// The public half as a JWK.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let ec = |curve: &str, point: &[u8]| {
            let (x, y) = point[1..].split_at((point.len() - 1) / 2);
            json!({"kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y)})
        };
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let key = pair.public_key();
                let (n, e) = (key.modulus(), key.exponent());
                json!({"kty": "RSA", "n": base64url(n.big_endian_without_leading_zero()),
                    "e": base64url(e.big_endian_without_leading_zero())})
            }
            Pair::Ec256(pair) => ec("P-256", pair.public_key().as_ref()),
            Pair::Ec384(pair) => ec("P-384", pair.public_key().as_ref()),
            Pair::Ed(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(pair.public_key().as_ref())}),
        };
        jwk["kid"] = self.id.as_str().into();
        jwk
    }

    /// The algorithm that its type is usually used with.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match &self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::Ec256(_) => "ES256",
            Pair::Ec384(_) => "ES384",
            Pair::Ed(_) => "EdDSA",
        }
    }

    /// A signature in the encoding of JWTs; RSA keys use `algorithm`.
    #[must_use]
    pub fn signature(&self, algorithm: &str, message: &str) -> String {
        let message = message.as_bytes();
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let encoding: &'static dyn aws_lc_rs::signature::RsaEncoding = match algorithm {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signature).expect("a signature");
                base64url(signature)
            }
            Pair::Ec256(pair) | Pair::Ec384(pair) => base64url(pair.sign(&random, message).expect("a signature")),
            Pair::Ed(pair) => base64url(pair.sign(message)),
        }
    }

    /// A token of exactly this header and these claims, both as text.
    #[must_use]
    pub fn sign_text(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", base64url(header), base64url(claims));
        let header: Value = serde_json::from_str(header).unwrap_or_default();
        let signature = self.signature(header["alg"].as_str().unwrap_or_default(), &signed);
        format!("{signed}.{signature}")
    }

    /// A token with these claims and the header that they usually have.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm(), "kid": self.id, "typ": "JWT"});
        self.sign_text(&header.to_string(), &claims.to_string())
    }
}

/// Valid claims: from `now` (seconds since 1970) for an hour.
#[must_use]
pub fn claims(now: i64, scope: &str) -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "aaaaaaaa-0000-4000-8000-000000000001", "iat": now, "nbf": now,
        "exp": now + 3600, "scope": scope})
}

/// A JWKS document.
#[must_use]
pub fn key_set(keys: &[&SigningKey]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}

/// The issuer's response to a fetch of its keys.
#[derive(Clone)]
pub enum Answers {
    /// This document.
    Document(String),
    /// This status without a body.
    Status(u16),
    /// A redirect to this URL.
    Redirect(String),
    /// No response.
    Never,
}

/// A web server with an issuer's keys.
pub struct Issuer {
    /// The URL of the keys.
    pub url: String,
    answers: Arc<Mutex<Answers>>,
    fetched: Arc<AtomicUsize>,
    server: tokio::task::JoinHandle<()>,
}

impl Issuer {
    /// Starts an issuer with this response.
    pub async fn start(first: Answers) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let url = format!("http://{}/keys", listener.local_addr().expect("its address"));
        let (answers, fetched) = (Arc::new(Mutex::new(first)), Arc::new(AtomicUsize::new(0)));
        let serve = {
            let (answers, fetched) = (Arc::clone(&answers), Arc::clone(&fetched));
            move || {
                fetched.fetch_add(1, Ordering::SeqCst);
                let answer = answers.lock().expect("the answer").clone();
                respond(answer)
            }
        };
        let router = Router::new().route("/keys", get(serve));
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("a server");
        });
        Self { url, answers, fetched, server }
    }

    /// Starts an issuer with these keys.
    pub async fn with(keys: &[&SigningKey]) -> Self {
        Self::start(Answers::Document(key_set(keys))).await
    }

    /// Changes the response.
    pub fn answer(&self, next: Answers) {
        *self.answers.lock().expect("the answer") = next;
    }

    /// The number of fetches.
    #[must_use]
    pub fn fetched(&self) -> usize {
        self.fetched.load(Ordering::SeqCst)
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn respond(answer: Answers) -> Response {
    match answer {
        Answers::Document(document) => ([(header::CONTENT_TYPE, "application/json")], document).into_response(),
        Answers::Status(status) => StatusCode::from_u16(status).expect("a status").into_response(),
        Answers::Redirect(to) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
        Answers::Never => std::future::pending().await,
    }
}

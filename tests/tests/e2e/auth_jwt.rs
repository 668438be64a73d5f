//! JWTs: what is taken, and every way known to us of getting in with one that should not be.

use std::sync::Arc;

use epr_core::authn::{AuthenticationError, Authenticator, Caller, CredentialError, Scope};
use epr_core::clock::ManualClock;
use epr_core::domain::Timestamp;
use epr_core::settings::{Settings, Source};
use epr_testkit::issuer::{AUDIENCE, ISSUER, Issuer, SigningKey, base64url, claims, key_set};
use serde_json::{Value, json};

const NOW: i64 = 1_780_000_000;

struct Door {
    authenticator: Authenticator,
    clock: Arc<ManualClock>,
    _issuer: Issuer,
}

impl Door {
    async fn of(keys: &[&SigningKey]) -> Self {
        Self::with(&key_set(keys), &[]).await
    }

    async fn with(document: &str, more: &[(&str, &str)]) -> Self {
        let issuer = Issuer::start(epr_testkit::issuer::Answers::Document(document.to_owned())).await;
        let mut environment = vec![
            ("EPR_AUTH_MODE", "jwt"),
            ("EPR_JWT_ISSUER", ISSUER),
            ("EPR_JWT_AUDIENCE", "other,epr"),
            ("EPR_JWT_ALGORITHMS", "RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,EdDSA"),
            ("EPR_JWT_JWKS_URL", issuer.url.as_str()),
        ];
        environment.extend_from_slice(more);
        let settings = Settings::from_source(&Source::of(environment)).expect("settings");
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_micros(NOW * 1_000_000).expect("a time")));
        let authenticator = Authenticator::start(&settings.auth, clock.clone()).await.expect("an authenticator");
        Self { authenticator, clock, _issuer: issuer }
    }

    async fn knock(&self, token: &str) -> Result<Caller, AuthenticationError> {
        let value = format!("Bearer {token}");
        self.authenticator.authenticate([value.as_bytes()]).await
    }

    #[track_caller]
    #[allow(
        clippy::needless_pass_by_value,
        reason = "outcomes are held against what they should be where they are made"
    )]
    fn refused(outcome: Result<Caller, AuthenticationError>, why: CredentialError, what: &str) {
        assert_eq!(outcome, Err(AuthenticationError::Invalid(why)), "{what}");
    }
}

fn with(key: &SigningKey, header: &Value) -> String {
    key.sign_text(&header.to_string(), &claims(NOW, "epr:read").to_string())
}

fn changed(name: &str, value: Value) -> Value {
    let mut claims = claims(NOW, "epr:read");
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims(NOW, "epr:read");
    claims.as_object_mut().unwrap().remove(name);
    claims
}

#[tokio::test]
async fn every_allowed_algorithm_is_accepted() {
    let keys = [SigningKey::rsa("r"), SigningKey::ec256("p"), SigningKey::ec384("q"), SigningKey::ed("e")];
    let door = Door::of(&keys.each_ref()).await;
    let [rsa, p256, p384, ed] = &keys;
    for (key, algorithm) in [
        (rsa, "RS256"),
        (rsa, "RS384"),
        (rsa, "RS512"),
        (rsa, "PS256"),
        (rsa, "PS384"),
        (rsa, "PS512"),
        (p256, "ES256"),
        (p384, "ES384"),
        (ed, "EdDSA"),
    ] {
        let token = with(key, &json!({"alg": algorithm, "kid": key.id}));
        let caller = door.knock(&token).await.unwrap_or_else(|refused| panic!("{algorithm}: {refused:?}"));
        assert!(caller.scopes.hold(Scope::Read) && !caller.scopes.hold(Scope::Write));
        assert_eq!(caller.actor_id.unwrap().to_string(), "aaaaaaaa-0000-4000-8000-000000000001");
    }
}

#[tokio::test]
async fn forged_signatures_and_headers_are_refused() {
    let (rsa, ec, stranger) = (SigningKey::rsa("r"), SigningKey::ec256("p"), SigningKey::rsa("r"));
    let door = Door::of(&[&rsa, &ec]).await;
    let good = rsa.sign(&claims(NOW, "epr:read"));
    assert!(door.knock(&good).await.is_ok());
    let [head, body, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let other_body = base64url(claims(NOW, "epr:write").to_string());

    // No algorithm, and HMAC with the public key for a secret, in the ways it could be spelt.
    let none = |alg: &str| format!("{}.{body}.", base64url(json!({"alg": alg, "kid": "r"}).to_string()));
    for alg in ["none", "None", "NONE", "nOnE", "", "RS256 ", "rs256"] {
        Door::refused(door.knock(&none(alg)).await, CredentialError::Algorithm, alg);
    }
    let jwk = rsa.jwk();
    for secret in [jwk["n"].as_str().unwrap().to_owned(), jwk.to_string()] {
        let signed = format!("{}.{body}", base64url(json!({"alg": "HS256", "kid": "r"}).to_string()));
        let mac = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
        let token = format!("{signed}.{}", base64url(aws_lc_rs::hmac::sign(&mac, signed.as_bytes())));
        Door::refused(door.knock(&token).await, CredentialError::Algorithm, "HS256 with the public key");
    }
    // A key under an algorithm that is another type's.
    Door::refused(
        door.knock(&with(&rsa, &json!({"alg": "ES256", "kid": "r"}))).await,
        CredentialError::Algorithm,
        "ES256 by RSA",
    );
    Door::refused(
        door.knock(&with(&ec, &json!({"alg": "RS256", "kid": "p"}))).await,
        CredentialError::Algorithm,
        "RS256 by EC",
    );
    Door::refused(
        door.knock(&with(&ec, &json!({"alg": "ES384", "kid": "p"}))).await,
        CredentialError::Algorithm,
        "P-384 by P-256",
    );
    // Not the signature of this key, of these claims, of this header, or none at all.
    let rs384 = base64url(json!({"alg": "RS384", "kid": "r", "typ": "JWT"}).to_string());
    for (what, token) in [
        ("a stranger's key under our id", stranger.sign(&claims(NOW, "epr:read"))),
        ("another body", format!("{head}.{other_body}.{signature}")),
        ("another algorithm", format!("{rs384}.{body}.{signature}")),
        ("no signature", format!("{head}.{body}.")),
        ("half a signature", format!("{head}.{body}.{}", &signature[..signature.len() / 2])),
        ("a signature of zeros", format!("{head}.{body}.{}", base64url([0; 256]))),
        ("another spelling of the same signature", format!("{head}.{body}.{signature}A")),
    ] {
        Door::refused(door.knock(&token).await, CredentialError::Signature, what);
    }
    // ECDSA's signature of zeros for all keys (CVE-2022-21449).
    let psychic =
        format!("{}.{body}.{}", base64url(json!({"alg": "ES256", "kid": "p"}).to_string()), base64url([0; 64]));
    Door::refused(door.knock(&psychic).await, CredentialError::Signature, "zeros");
    // A key inside the token, or at an address that the token names, is ignored.
    for header in [
        json!({"alg": "RS256", "kid": "r", "jwk": stranger.jwk()}),
        json!({"alg": "RS256", "kid": "r", "jku": "https://evil.test/keys"}),
        json!({"alg": "RS256", "kid": "r", "x5u": "https://evil.test/cert", "x5c": ["MIIB"]}),
    ] {
        Door::refused(door.knock(&with(&stranger, &header)).await, CredentialError::Signature, "an embedded key");
        assert!(door.knock(&with(&rsa, &header)).await.is_ok(), "the same header, rightly signed");
    }
    for id in
        [json!("nobody"), json!(""), json!("../../etc/passwd"), json!("r\u{0}"), json!("R"), json!("r' OR 1=1 --")]
    {
        let token = with(&rsa, &json!({"alg": "RS256", "kid": id}));
        Door::refused(door.knock(&token).await, CredentialError::UnknownKey, "an unknown key");
    }
    Door::refused(
        door.knock(&with(&rsa, &json!({"alg": "RS256"}))).await,
        CredentialError::UnknownKey,
        "no id among two keys",
    );
}

#[tokio::test]
async fn malformed_tokens_are_refused() {
    let key = SigningKey::ed("e");
    let door = Door::of(&[&key]).await;
    let good = key.sign(&claims(NOW, "epr:read"));
    let [head, body, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let text = claims(NOW, "epr:read").to_string();
    let header = json!({"alg": "EdDSA", "kid": "e"}).to_string();
    for (what, token) in [
        ("one dot", format!("{head}.{body}")),
        ("four parts", format!("{good}.{signature}")),
        ("an encrypted token's five", format!("{head}.{body}.{signature}.{body}.{signature}")),
        ("dots", "..".to_owned()),
        ("no header", format!(".{body}.{signature}")),
        ("no base64", format!("!!!.{body}.{signature}")),
        ("padded base64", format!("{head}==.{body}.{signature}")),
        ("a header that is a list", key.sign_text("[]", &text)),
        ("a doubled alg", key.sign_text(r#"{"alg": "none", "alg": "EdDSA", "kid": "e"}"#, &text)),
        ("an id that is a number", key.sign_text(r#"{"alg": "EdDSA", "kid": 1}"#, &text)),
        (
            "an extension that must be understood",
            key.sign_text(r#"{"alg": "EdDSA", "kid": "e", "crit": ["exp"]}"#, &text),
        ),
        ("an unencoded body", key.sign_text(r#"{"alg": "EdDSA", "kid": "e", "b64": false, "crit": ["b64"]}"#, &text)),
        ("an oversized token", key.sign(&changed("padding", "x".repeat(9000).into()))),
        ("claims that are a list", key.sign_text(&header, "[]")),
        ("claims that are nothing", key.sign_text(&header, "")),
        ("a doubled claim", key.sign_text(&header, &text.replacen('{', r#"{"scope": "epr:write","#, 1))),
        ("a claim doubled by an escape", key.sign_text(&header, &text.replacen('{', r#"{"\u0073ub": "x","#, 1))),
        (
            "claims deeper than anything",
            key.sign_text(&header, &format!("{{\"a\":{}{}}}", "[".repeat(500), "]".repeat(500))),
        ),
    ] {
        Door::refused(door.knock(&token).await, CredentialError::Malformed, what);
    }
    assert!(door.knock(&good).await.is_ok());
    // The only key needs no name.
    assert!(door.knock(&with(&key, &json!({"alg": "EdDSA"}))).await.is_ok());
}

#[tokio::test]
async fn claims_for_another_audience_or_time_are_refused() {
    let key = SigningKey::ec256("p");
    let door = Door::of(&[&key]).await;
    let cases = [
        (changed("iss", json!("https://evil.test")), CredentialError::Issuer),
        (changed("iss", json!(format!("{ISSUER}/"))), CredentialError::Issuer),
        (changed("iss", json!([ISSUER])), CredentialError::Issuer),
        (without("iss"), CredentialError::Issuer),
        (changed("aud", json!("somebody")), CredentialError::Audience),
        (changed("aud", json!("epr2")), CredentialError::Audience),
        (changed("aud", json!([])), CredentialError::Audience),
        (changed("aud", json!(["somebody", "EPR"])), CredentialError::Audience),
        (changed("aud", json!([AUDIENCE, 1])), CredentialError::Audience),
        (changed("aud", json!({"epr": true})), CredentialError::Audience),
        (changed("aud", Value::Null), CredentialError::Audience),
        (without("aud"), CredentialError::Audience),
        (without("exp"), CredentialError::Claims),
        (changed("exp", Value::Null), CredentialError::Claims),
        (changed("exp", json!((NOW + 3600).to_string())), CredentialError::Claims),
        (changed("exp", json!(true)), CredentialError::Claims),
        (changed("exp", json!(0)), CredentialError::Expired),
        (changed("exp", json!(-1)), CredentialError::Expired),
        (changed("exp", json!(i64::MIN)), CredentialError::Expired),
        (changed("exp", json!(-1e308)), CredentialError::Expired),
        (changed("nbf", json!((NOW - 1).to_string())), CredentialError::Claims),
        (changed("nbf", json!(NOW + 31)), CredentialError::NotYetValid),
        (changed("nbf", json!(u64::MAX)), CredentialError::NotYetValid),
        (changed("nbf", json!(1e308)), CredentialError::NotYetValid),
        (changed("scope", json!(["epr:read"])), CredentialError::Claims),
        (changed("sub", json!(1)), CredentialError::Claims),
        (changed("cnf", json!({"jkt": "x"})), CredentialError::Claims),
    ];
    for (claims, why) in cases {
        Door::refused(door.knock(&key.sign(&claims)).await, why, &claims.to_string());
    }
    for taken in [
        changed("aud", json!(["somebody", AUDIENCE])),
        changed("aud", json!("other")),
        changed("exp", json!(u64::MAX)),
        changed("exp", json!(1e300)),
        changed("nbf", json!(NOW + 30)),
        without("nbf"),
        without("scope"),
        without("sub"),
    ] {
        assert!(door.knock(&key.sign(&taken)).await.is_ok(), "{taken}");
    }
}

#[tokio::test]
async fn a_token_expires_to_the_microsecond() {
    let key = SigningKey::ed("e");
    let door = Door::with(&key_set(&[&key]), &[("EPR_JWT_LEEWAY", "10")]).await;
    let whole = key.sign(&claims(NOW, "epr:read"));
    let split = key.sign(&changed("exp", json!(3600.5 + 1_780_000_000.0)));
    door.clock.advance_micros(3_610_000_000 - 1);
    assert!(door.knock(&whole).await.is_ok());
    door.clock.advance_micros(1);
    Door::refused(door.knock(&whole).await, CredentialError::Expired, "exp + leeway");
    assert!(door.knock(&split).await.is_ok());
    door.clock.advance_micros(500_000);
    Door::refused(door.knock(&split).await, CredentialError::Expired, "exp + leeway");
}

#[tokio::test]
async fn scopes_and_actors_come_from_the_claims() {
    let key = SigningKey::ed("e");
    let door = Door::with(&key_set(&[&key]), &[("EPR_JWT_ACTOR_CLAIM", "uid"), ("EPR_JWT_TYPE", "at+jwt")]).await;
    let sign = |claims: &Value, typ: &str| {
        key.sign_text(&json!({"alg": "EdDSA", "kid": "e", "typ": typ}).to_string(), &claims.to_string())
    };
    for (given, expected) in [
        (json!({"scope": "epr:read epr:write openid"}), "epr:read epr:write"),
        (json!({"scope": "epr:readepr:write EPR:READ epr:read,epr:write epr:*"}), ""),
        (json!({"scope": "", "scp": "epr:read"}), ""),
        (json!({"scp": "epr:audit epr:act-as"}), "epr:audit epr:act-as"),
        (json!({"scp": ["epr:events", "epr:authorize"]}), "epr:authorize epr:events"),
        (json!({"roles": ["epr:write"], "permissions": ["epr:write"]}), ""),
    ] {
        let mut all = without("scope");
        all.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
        all["uid"] = "BBBBBBBB-0000-4000-8000-000000000002".into();
        let caller = door.knock(&sign(&all, "at+jwt")).await.unwrap();
        assert_eq!(caller.scopes.to_string(), expected, "{given}");
        assert_eq!(caller.actor_id.unwrap().to_string(), "bbbbbbbb-0000-4000-8000-000000000002");
    }
    let bare = claims(NOW, "epr:read");
    assert_eq!(door.knock(&sign(&bare, "application/AT+JWT")).await.unwrap().actor_id, None, "`sub` is not the claim");
    assert_eq!(door.knock(&sign(&changed("uid", json!("7")), "at+jwt")).await.unwrap().actor_id, None);
    for typ in ["JWT", "", "at+jwt2", "application/", "application/json"] {
        Door::refused(door.knock(&sign(&bare, typ)).await, CredentialError::Claims, typ);
    }
}

#[tokio::test]
async fn a_key_is_used_only_for_its_declared_purpose() {
    let (rsa, stated, other) = (SigningKey::rsa("r"), SigningKey::rsa("stated"), SigningKey::ed("e"));
    let of = |key: &SigningKey, name: &str, value: Value| {
        let mut jwk = key.jwk();
        jwk[name] = value;
        jwk
    };
    let fine = of(&stated, "alg", json!("PS256"));
    let secret = json!({"kty": "oct", "kid": "o", "k": base64url("secret"), "alg": "HS256"});
    for unusable in [
        of(&rsa, "use", json!("enc")),
        of(&rsa, "use", json!("SIG")),
        of(&rsa, "key_ops", json!(["sign", "encrypt"])),
        of(&rsa, "alg", json!("RSA-OAEP")),
        of(&rsa, "alg", json!("HS256")),
        of(&rsa, "alg", json!("ES256")),
        of(&rsa, "n", json!("not base64!")),
        of(&rsa, "kty", json!("EC")),
    ] {
        let document = json!({"keys": [unusable, secret, fine, other.jwk()]}).to_string();
        let door = Door::with(&document, &[]).await;
        let token = rsa.sign(&claims(NOW, "epr:read"));
        Door::refused(door.knock(&token).await, CredentialError::UnknownKey, &document);
        let mac = with(&other, &json!({"alg": "HS256", "kid": "o"}));
        Door::refused(door.knock(&mac).await, CredentialError::Algorithm, "a secret in the set");
        assert!(door.knock(&with(&stated, &json!({"alg": "PS256", "kid": "stated"}))).await.is_ok());
        let unstated = with(&stated, &json!({"alg": "RS256", "kid": "stated"}));
        Door::refused(door.knock(&unstated).await, CredentialError::Algorithm, "the key states another");
    }
    // An algorithm that the setting does not list is refused, even if a key supports it.
    let door = Door::with(&key_set(&[&rsa]), &[("EPR_JWT_ALGORITHMS", "RS256")]).await;
    assert!(door.knock(&rsa.sign(&claims(NOW, ""))).await.is_ok());
    Door::refused(
        door.knock(&with(&rsa, &json!({"alg": "RS512", "kid": "r"}))).await,
        CredentialError::Algorithm,
        "RS512",
    );
}

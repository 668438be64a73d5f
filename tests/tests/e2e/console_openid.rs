//! Logging in to the console by OpenID Connect: the way there and back, and every answer that begins no session.

use epr_testkit::browser::{Browser, Shown, form_token};
use epr_testkit::cli::Cli;
use epr_testkit::database::DatabaseKind;
use epr_testkit::openid::{CLIENT_ID, CLIENT_SECRET, OpenIdProvider};
use rstest::rstest;
use serde_json::{Value, json};

use crate::console_world::World;

const SESSION: &str = "__Host-epr-console";
const PENDING: &str = "__Host-epr-console-openid";
const ORIGIN: &str = "https://epr.test";
const GRANTS: &str = "{\"Internal audit\": [\"epr:read\", \"epr:audit\", \"epr:explain\"]}";

/// A service whose people log in at a provider.
struct Setting {
    provider: OpenIdProvider,
    world: World,
}

impl Setting {
    async fn new(has_secret: bool, more: &[(&str, &str)]) -> Self {
        Self::on(DatabaseKind::Sqlite, has_secret, more).await
    }

    async fn on(kind: DatabaseKind, has_secret: bool, more: &[(&str, &str)]) -> Self {
        let provider = OpenIdProvider::start(&format!("{ORIGIN}/console/login/callback"), has_secret).await;
        let mut variables = vec![
            ("EPR_OIDC_ISSUER", provider.issuer.as_str()),
            ("EPR_OIDC_CLIENT_ID", CLIENT_ID),
            ("EPR_CONSOLE_ORIGIN", ORIGIN),
            ("EPR_OIDC_CLAIM", "groups"),
            ("EPR_OIDC_GRANTS", GRANTS),
        ];
        if has_secret {
            variables.push(("EPR_OIDC_CLIENT_SECRET", CLIENT_SECRET));
        }
        variables.extend_from_slice(more);
        let world = World::with(kind, &variables).await;
        Self { provider, world }
    }

    fn browser(&self) -> Browser {
        Browser::new(&self.world.base)
    }

    /// Where the provider leads a browser that begins to log in.
    async fn way_back(&self, browser: &Browser, to: &str) -> String {
        let begun = browser.get(&format!("/console/login/openid?to={to}")).await;
        assert_eq!(begun.status, 303, "{}", begun.body);
        self.provider.visit(begun.location()).await
    }

    async fn log_in(&self, browser: &Browser, to: &str) -> Shown {
        let back = self.way_back(browser, to).await;
        browser.get(&back).await
    }
}

/// The address with another value of a parameter; without it for `None`.
fn with(address: &str, name: &str, value: Option<&str>) -> String {
    let (path, query) = address.split_once('?').unwrap();
    let mut parameters: Vec<String> =
        query.split('&').filter(|pair| !pair.starts_with(&format!("{name}="))).map(str::to_owned).collect();
    parameters.extend(value.map(|value| format!("{name}={value}")));
    format!("{path}?{}", parameters.join("&"))
}

#[rstest]
#[case::public_client(false, "{}")]
#[case::password(true, "{}")]
#[case::secret_in_the_form(true, "{\"token_endpoint_auth_methods_supported\": [\"client_secret_post\"]}")]
#[tokio::test]
async fn a_login_at_the_provider_opens_a_session_with_the_scopes_of_its_claim(
    #[case] has_secret: bool,
    #[case] described: &str,
) {
    let setting = Setting::new(has_secret, &[]).await;
    setting.provider.describe(serde_json::from_str(described).unwrap());
    let browser = setting.browser();
    let guest = browser.get("/console/ledger?action=entity.create").await;
    let login = browser.get(guest.location()).await.expect(200);
    let link = "href=\"/console/login/openid?to=%2Fconsole%2Fledger%3Faction%3Dentity.create\"";
    assert!(login.contains(link) && login.contains("Log in at <bdi>127.0.0.1</bdi>"), "{login}");
    let begun = browser.get("/console/login/openid?to=%2Fconsole%2Fledger%3Faction%3Dentity.create").await;
    let cookie = begun.headers.get("set-cookie").unwrap().to_str().unwrap();
    assert!(cookie.starts_with(PENDING) && cookie.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600"));
    let back = setting.provider.visit(begun.location()).await;
    let entered = browser.get(&back).await;
    assert_eq!((entered.status, entered.location()), (303, "/console/ledger?action=entity.create"));
    assert_eq!(browser.cookie(PENDING), None, "an answer is used once");
    let ledger = browser.get(entered.location()).await.expect(200);
    assert!(ledger.contains("ada@id.test") && ledger.contains("entity.create"), "{ledger}");
    assert_eq!(browser.get("/console/access").await.status, 403, "epr:list is not granted");
    let write = [("form_token", form_token(&ledger)), ("name", "x".to_owned())];
    let write: Vec<_> = write.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(browser.post("/console/change/entity", &write).await.status, 403);
    // What the visitor does is recorded as its own.
    let World { ada, berlin, .. } = &setting.world;
    let check = format!("/console/check?user_id={ada}&action=document%3Adownload&resource_id={berlin}");
    browser.get(&check).await.expect(200);
    let entries = "/api/v1/audit/entries?action=authorization.explain&limit=1";
    let entries = setting.world.call(reqwest::Method::GET, entries, &Value::Null).await;
    assert_eq!(entries[0]["details"]["caller"], "ada@id.test");
    assert_eq!(entries[0]["actor_id"], "6ea0796c-4697-5fe0-b37a-f4636ccdfa4d");
    // Whoever is logged in is not sent to the provider again.
    assert_eq!(browser.get("/console/login/openid?to=/console/roles").await.location(), "/console/roles");
}

#[tokio::test]
async fn an_answer_that_the_browser_did_not_ask_for_begins_no_session() {
    let setting = Setting::new(false, &[]).await;
    let (victim, attacker) = (setting.browser(), setting.browser());
    let refused = async |browser: &Browser, back: &str, part: &str| {
        let exchanges = setting.provider.exchanges();
        let shown = browser.get(back).await;
        assert_eq!(shown.status, 400, "{back}: {}", shown.body);
        assert!(shown.body.contains(part), "{}", shown.body);
        assert_eq!((browser.cookie(SESSION), setting.provider.exchanges()), (None, exchanges), "no code is sent on");
    };
    let foreign = "This browser did not begin the login";
    let of_attacker = setting.way_back(&attacker, "/console").await;
    // Another site leads the victim's browser to the attacker's answer: without a login, and during its own.
    refused(&victim, &of_attacker, foreign).await;
    let of_victim = setting.way_back(&victim, "/console").await;
    refused(&victim, &of_attacker, foreign).await;
    // The answer above was the victim's only one.
    refused(&victim, &of_victim, foreign).await;
    for (name, value) in [("state", None), ("state", Some("x")), ("code", None)] {
        let browser = setting.browser();
        let back = with(&setting.way_back(&browser, "/console").await, name, value);
        let shown = browser.get(&back).await;
        assert_eq!((shown.status, browser.cookie(SESSION)), (if name == "code" { 401 } else { 400 }, None), "{back}");
    }
    // A login that began long ago: the time is covered by the state.
    let browser = setting.browser();
    let back = setting.way_back(&browser, "/console").await;
    let kept = browser.cookie(PENDING).unwrap();
    let parts: Vec<_> = kept.split('.').collect();
    browser.set_cookie(PENDING, &[parts[0], "1700000000", parts[2]].join("."));
    refused(&browser, &back, foreign).await;
}

#[tokio::test]
async fn a_code_is_used_once_and_only_by_the_browser_that_asked_for_it() {
    let setting = Setting::new(false, &[]).await;
    let refused = async |browser: &Browser, back: &str| {
        let shown = browser.get(back).await;
        assert_eq!(shown.status, 401, "{}", shown.body);
        assert!(shown.body.contains("was used already, or too late"), "{}", shown.body);
        assert!(shown.body.contains("href=\"/console/login?to=%2Fconsole\""), "the next attempt: {}", shown.body);
    };
    let browser = setting.browser();
    let back = setting.way_back(&browser, "/console").await;
    let kept = browser.cookie(PENDING).unwrap();
    assert_eq!(browser.get(&back).await.status, 303);
    let again = setting.browser();
    again.set_cookie(PENDING, &kept);
    refused(&again, &back).await;
    assert_eq!(again.cookie(SESSION), None);
    // A code that was intercepted: PKCE binds it to the verifier of the other browser.
    let (victim, attacker) = (setting.browser(), setting.browser());
    let of_victim = setting.way_back(&victim, "/console").await;
    let of_attacker = setting.way_back(&attacker, "/console").await;
    let code = of_victim.split('&').find_map(|pair| pair.split_once("code=")).unwrap().1;
    refused(&attacker, &with(&of_attacker, "code", Some(code))).await;
    assert_eq!(attacker.cookie(SESSION), None);
}

#[tokio::test]
async fn an_id_token_that_is_not_valid_begins_no_session() {
    let mut setting = Setting::new(false, &[]).await;
    let alterations: [(&str, &str, Value); 9] = [
        ("nonce", "nonce", json!("another")),
        ("nonce", "nonce", Value::Null),
        ("issuer", "iss", json!("https://other.test")),
        ("audience", "aud", json!("other")),
        ("audience", "aud", json!([CLIENT_ID, "other"])),
        ("audience", "azp", json!("other")),
        ("expired", "exp", json!(1_700_000_000)),
        ("not_yet_valid", "nbf", json!(4_000_000_000_u32)),
        ("claims", "sub", json!(7)),
    ];
    for (reason, claim, value) in alterations {
        setting.provider.alter(move |claims| claims[claim] = value.clone());
        refused(&mut setting, 401, reason, "answer is not valid").await;
    }
    setting.provider.alter(|_| {});
    setting.provider.sign_with_foreign_key(true);
    refused(&mut setting, 401, "signature", "answer is not valid").await;
    setting.provider.sign_with_foreign_key(false);
    // The answer names another provider: a browser that mixes up two of them.
    let browser = setting.browser();
    let back = setting.way_back(&browser, "/console").await;
    let shown = browser.get(&with(&back, "iss", Some("https%3A%2F%2Fother.test"))).await;
    assert_eq!((shown.status, browser.cookie(SESSION)), (401, None));
    let line = setting.world.process.wait_for_log("console_login_refused").await;
    assert_eq!(line["extra"]["reason"], "issuer");
    // A login that gives nothing here.
    setting.provider.alter(|claims| claims["groups"] = json!(["epr:write", "staff"]));
    refused(&mut setting, 403, "no_scope", "Ask for a value of the claim groups").await;
    // The provider's own refusal.
    setting.provider.alter(|_| {});
    setting.provider.refuse(Some("access_denied"));
    refused(&mut setting, 401, "provider", "access_denied &#60;b&#62;no&#60;/b&#62;").await;
    setting.provider.refuse(None);
    let browser = setting.browser();
    assert_eq!(setting.log_in(&browser, "/console").await.status, 303);
    let (_, log) = setting.world.process.terminate().await;
    let log = log.iter().map(Value::to_string).collect::<String>();
    assert!(!log.contains("code-") && !log.contains("eyJ"), "neither codes nor tokens are logged");
}

/// A login that is refused with this reason.
async fn refused(setting: &mut Setting, status: u16, reason: &str, part: &str) {
    let browser = setting.browser();
    let shown = setting.log_in(&browser, "/console").await;
    assert_eq!(shown.status, status, "{reason}: {}", shown.body);
    assert!(shown.body.contains(part), "{reason}: {}", shown.body);
    assert_eq!(browser.cookie(SESSION), None, "{reason}");
    let line = setting.world.process.wait_for_log("console_login_refused").await;
    assert_eq!(line["extra"]["reason"], reason);
}

#[tokio::test]
async fn a_login_leads_to_pages_of_the_console_only() {
    let setting = Setting::new(false, &[]).await;
    for to in ["https://evil.test/", "//evil.test/console", "/\\evil.test", "/consoles", "%2F%2Fevil.test", ""] {
        let encoded = to.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
        assert_eq!(setting.log_in(&setting.browser(), &encoded).await.location(), "/console", "{to}");
    }
    // Not by the cookie either, which is the browser's own.
    let browser = setting.browser();
    let back = setting.way_back(&browser, "/console").await;
    let kept = browser.cookie(PENDING).unwrap();
    let parts: Vec<_> = kept.split('.').collect();
    browser.set_cookie(PENDING, &[parts[0], parts[1], "aHR0cHM6Ly9ldmlsLnRlc3Qv"].join("."));
    let shown = browser.get(&back).await;
    assert_eq!(shown.status, 400);
    assert!(!shown.body.contains("evil.test"), "{}", shown.body);
}

#[tokio::test]
async fn a_provider_that_does_not_answer_is_a_503_that_says_what_to_do() {
    let setting = Setting::new(false, &[]).await;
    let unavailable = async |browser: &Browser, path: &str| {
        let shown = browser.get(path).await;
        assert_eq!(shown.status, 503, "{}", shown.body);
        let says = "The identity provider does not answer. Try again later, or log in with an API token.";
        assert!(shown.body.contains(says), "{}", shown.body);
    };
    for described in [
        json!({"issuer": "https://other.test"}),
        json!({"token_endpoint": "file:///etc/passwd"}),
        json!({"jwks_uri": "http://169.254.169.254/keys"}),
        json!({"code_challenge_methods_supported": ["plain"]}),
    ] {
        setting.provider.describe(described);
        let (_process, base) = setting.world.another_process().await;
        unavailable(&Browser::new(&base), "/console/login/openid").await;
    }
    setting.provider.describe(json!({}));
    let (logged_in, begun) = (setting.browser(), setting.browser());
    assert_eq!(setting.log_in(&logged_in, "/console").await.status, 303);
    let back = setting.way_back(&begun, "/console").await;
    let Setting { provider, world } = setting;
    let issuer = provider.issuer.clone();
    drop(provider);
    // Sessions that have begun go on: the keys are known. A code cannot be exchanged.
    assert_eq!(logged_in.get("/console").await.status, 200);
    unavailable(&begun, &back).await;
    assert_eq!(begun.cookie(SESSION), None);
    let (_process, base) = world.another_process().await;
    unavailable(&Browser::new(&base), "/console/login/openid").await;
    assert_eq!(logged_in.at(&base).get("/console").await.status, 503, "the keys are not known here");
    assert_eq!(Browser::new(&base).log_in(&world.auditor).await.status, 303, "a token opens the console");
    let cli = [("EPR_AUTH_MODE", "token"), ("EPR_API_TOKENS", "[]"), ("EPR_OIDC_ISSUER", issuer.as_str())];
    let cli = cli.iter().fold(Cli::on(&world.database.url), |cli, (name, value)| cli.with(name, value));
    let cli = cli.with("EPR_OIDC_CLIENT_ID", CLIENT_ID).with("EPR_CONSOLE_ORIGIN", ORIGIN);
    let report: Value = serde_json::from_str(&cli.run(&["doctor", "--json"]).await.out).unwrap();
    let finding = report["findings"].as_array().unwrap().iter().find(|finding| finding["what"] == "provider").unwrap();
    assert_eq!(finding["state"], "wrong", "{finding}");
}

#[tokio::test]
async fn a_session_of_the_provider_lives_in_every_process_and_is_verified_by_the_present_settings() {
    let setting = Setting::on(DatabaseKind::Postgres, true, &[]).await;
    let (one, two) = (setting.browser(), setting.browser());
    let (_process, base) = setting.world.another_process().await;
    // A login may begin in one process and end in another.
    let back = setting.way_back(&one, "/console").await;
    let one = one.at(&base);
    assert_eq!(one.get(&back).await.status, 303);
    assert_eq!(setting.log_in(&two, "/console").await.status, 303);
    let (_process, narrowed) =
        setting.world.another_process_with(&[("EPR_OIDC_GRANTS", "{\"staff\": [\"epr:read\"]}")]).await;
    assert_eq!(one.get("/console/ledger").await.status, 200);
    assert_eq!(one.at(&narrowed).get("/console/ledger").await.status, 403, "the mapping of this process");
    let (_process, another_client) = setting.world.another_process_with(&[("EPR_OIDC_CLIENT_ID", "another")]).await;
    assert_eq!(one.at(&another_client).get("/console").await.status, 303, "a token for another client");
    let home = two.get("/console").await.expect(200);
    assert_eq!(two.post("/console/logout-everywhere", &[("form_token", &form_token(&home))]).await.status, 303);
    assert_eq!(one.get("/console").await.status, 303);
}

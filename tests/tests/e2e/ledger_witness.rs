//! Witnesses (C2SP tlog-witness) that cosign checkpoints: a stand-in that follows the specification, and what happens
//! when one refuses.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use epr_core::clock::{Clock as _, SystemClock};
use epr_core::ledger::checkpoint::Checkpoint;
use epr_core::ledger::merkle::{Hash, empty_root, verify_consistency};
use epr_core::ledger::note::{KeyType, Note, Signature, VerifierKey};
use epr_testkit::api::Api;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::ledger::draft;
use epr_testkit::process::run;
use serde_json::json;

const SEED: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// What the stand-in does instead of its duty.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Dutiful,
    Answers(u16),
    /// Cosigns with another key.
    Forges,
}

struct Standing {
    /// The size and root that it has seen last, by origin.
    seen: HashMap<String, (u64, Hash)>,
    /// The keys of ledgers that it accepts, by origin.
    ledgers: Vec<VerifierKey>,
    mood: Mood,
    /// The first line of each request.
    asked: Vec<String>,
}

#[derive(Clone)]
struct StandIn {
    standing: Arc<Mutex<Standing>>,
    pair: Arc<Ed25519KeyPair>,
    key: VerifierKey,
    url: String,
}

impl StandIn {
    async fn start(name: &str, seed: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let key = VerifierKey::new(name, KeyType::Cosignature, pair.public_key().as_ref()).unwrap();
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let standing = Standing { seen: HashMap::new(), ledgers: Vec::new(), mood: Mood::Dutiful, asked: Vec::new() };
        let this = Self { standing: Arc::new(Mutex::new(standing)), pair: Arc::new(pair), key, url };
        let answer = |State(witness): State<Self>, body: String| async move { witness.answer(&body) };
        let app = Router::new().route("/add-checkpoint", post(answer)).with_state(this.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        this
    }

    fn accept(&self, keys: &[String]) {
        self.standing.lock().unwrap().ledgers = keys.iter().map(|key| key.parse().unwrap()).collect();
    }

    fn mood(&self, mood: Mood) {
        self.standing.lock().unwrap().mood = mood;
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.standing.lock().unwrap().asked)
    }

    fn setting(&self) -> String {
        format!("{} {}", self.url, self.key)
    }

    fn cosign(&self, checkpoint: &Checkpoint, pair: &Ed25519KeyPair) -> String {
        let time = u64::try_from(SystemClock.now().unix_micros() / 1_000_000).unwrap();
        let signature = pair.sign(&checkpoint.message(&self.key, time));
        let bytes = [&time.to_be_bytes(), signature.as_ref()].concat();
        format!("{}\n", Signature::by(&self.key, bytes))
    }

    fn answer(&self, body: &str) -> (StatusCode, String) {
        let mut standing = self.standing.lock().unwrap();
        let bad = || (StatusCode::BAD_REQUEST, String::new());
        let Some((head, note)) = body.split_once("\n\n") else { return bad() };
        let mut lines = head.lines();
        let first = lines.next().unwrap_or_default().to_owned();
        standing.asked.push(first.clone());
        if let Mood::Answers(status) = standing.mood {
            return (StatusCode::from_u16(status).unwrap(), String::new());
        }
        let Some(old) = first.strip_prefix("old ").and_then(|old| old.parse::<u64>().ok()) else { return bad() };
        let path: Option<Vec<Hash>> = lines.map(|line| STANDARD.decode(line).ok()?.try_into().ok()).collect();
        let (Some(path), Ok(note)) = (path, note.parse::<Note>()) else { return bad() };
        let Ok(checkpoint) = note.text.parse::<Checkpoint>() else { return bad() };
        let keys: Vec<_> = standing.ledgers.iter().filter(|key| key.name() == checkpoint.origin()).collect();
        if keys.is_empty() {
            return (StatusCode::NOT_FOUND, String::new());
        }
        if !keys.iter().any(|key| Checkpoint::verified(&note, key).is_ok()) {
            return (StatusCode::FORBIDDEN, String::new());
        }
        if old > checkpoint.size {
            return bad();
        }
        let (size, root) = standing.seen.get(checkpoint.origin()).copied().unwrap_or((0, empty_root()));
        if old != size || (old == checkpoint.size && root != checkpoint.root) {
            return (StatusCode::CONFLICT, format!("{size}\n"));
        }
        if verify_consistency((old, &root), (checkpoint.size, &checkpoint.root), &path).is_err() {
            return (StatusCode::UNPROCESSABLE_ENTITY, String::new());
        }
        standing.seen.insert(checkpoint.origin().to_owned(), (checkpoint.size, checkpoint.root));
        let other = Ed25519KeyPair::from_seed_unchecked(&[99; 32]).unwrap();
        let pair = if standing.mood == Mood::Forges { &other } else { &*self.pair };
        // A line by a key that nobody knows comes first; it is not kept.
        let stranger = "— stranger.example AAAAAAAAAAAA\n";
        (StatusCode::OK, stranger.to_owned() + &self.cosign(&checkpoint, pair))
    }
}

async fn grow(api: &Api, size: i64) {
    let store = api.database.store().await;
    let head = store.registry_state().await.unwrap().head;
    let drafts: Vec<_> = (head..size)
        .map(|n| {
            draft(&json!({
                "event_id": null, "source": "tests", "action": "thing.done", "actor_id": null, "actor_type": "service",
                "entity_id": null, "entity_type": null, "correlation_id": null,
                "occurred_at": "2026-01-01T00:00:00Z", "details": {"n": n},
            }))
        })
        .collect();
    store.append(&drafts).await.unwrap();
}

async fn service(database: &Arc<Database>, witnesses: &str, quorum: &str, place: &str) -> Api {
    let environment = [
        ("EPR_LEDGER_ORIGIN", "epr.test/ledger"),
        ("EPR_LEDGER_KEY", SEED),
        ("EPR_LEDGER_PUBLISH_URL", place),
        ("EPR_LEDGER_WITNESS_URLS", witnesses),
        ("EPR_LEDGER_WITNESS_QUORUM", quorum),
    ];
    Api::with_settings(Arc::clone(database), Arc::new(SystemClock), &environment).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_is_published_when_enough_witnesses_have_cosigned_it() {
    let folder = tempfile::tempdir().unwrap();
    let text = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let place = text("published");
    let (one, two) = (StandIn::start("one.example", 1).await, StandIn::start("two.example", 2).await);
    let both = format!("{}, {}", one.setting(), two.setting());
    let database = Arc::new(Database::create(DatabaseKind::Sqlite).await);
    let api = service(&database, &both, "2", &place).await;
    let keys = api.epr.verifier_keys().await.unwrap();
    let checkpoint = async || api.epr.newest_checkpoint().await.unwrap().note;

    // Neither knows the ledger yet.
    grow(&api, 300).await;
    api.epr.make_checkpoint().await.unwrap();
    assert_eq!((one.asked(), two.asked()), (vec!["old 0".to_owned()], vec!["old 0".to_owned()]));
    assert_eq!(api.epr.checkpoint_status().unwrap().published, Some(0), "the quorum is missing");
    one.accept(&keys);
    api.epr.make_checkpoint().await.unwrap();
    assert!(checkpoint().await.contains("\n— one.example "));
    assert_eq!(api.epr.checkpoint_status().unwrap().published, Some(0));
    // Each of these leaves the checkpoint without the second cosignature.
    two.accept(&keys);
    for mood in [Mood::Answers(403), Mood::Answers(404), Mood::Answers(500), Mood::Answers(409), Mood::Forges] {
        two.mood(mood);
        api.epr.make_checkpoint().await.unwrap();
        assert!(!checkpoint().await.contains("two.example"), "{mood:?}");
        assert_eq!(api.epr.checkpoint_status().unwrap().published, Some(0), "{mood:?}");
    }
    // It has signed nothing, but has seen this size when it forged.
    two.mood(Mood::Dutiful);
    two.asked();
    api.epr.make_checkpoint().await.unwrap();
    assert_eq!(two.asked(), ["old 0", "old 300"], "409 names the size to begin with");
    assert_eq!(api.epr.checkpoint_status().unwrap().published, Some(300));
    assert!(!checkpoint().await.contains("stranger.example"));
    // Whoever has cosigned is not asked again.
    one.asked();
    api.epr.make_checkpoint().await.unwrap();
    assert_eq!((one.asked().len(), two.asked().len()), (0, 0));

    // A process that starts later begins where the witness is.
    let later = service(&database, &both, "2", &place).await;
    grow(&later, 700).await;
    later.epr.make_checkpoint().await.unwrap();
    assert_eq!(one.asked(), ["old 0", "old 300"]);
    assert_eq!(later.epr.checkpoint_status().unwrap().published, Some(700));

    // Without the database, with the keys of the ledger and of the witnesses.
    fs::write(text("keys"), keys.join("\n")).unwrap();
    fs::write(text("witnesses"), format!("{}\n{}\n", one.key, two.key)).unwrap();
    let incarnation = fs::read_dir(&place).unwrap().next().unwrap().unwrap().path();
    let published = incarnation.to_str().unwrap();
    for (quorum, expected) in [("2", 0), ("3", 1)] {
        let arguments =
            ["published", published, "--key", &text("keys"), "--witness", &text("witnesses"), "--quorum", quorum];
        let (code, out, error) = run("epr-verify", &[], &arguments).await;
        assert_eq!(code, expected, "{out}{error}");
        assert!(expected == 1 || out.contains("signatures of 1 keys and 2 witnesses verified"), "{out}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_that_has_seen_another_ledger_stops_the_signer() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("published");
    let witness = StandIn::start("one.example", 1).await;
    let database = Arc::new(Database::create(DatabaseKind::Sqlite).await);
    let setting = witness.setting();
    let api = service(&database, &setting, "0", place.to_str().unwrap()).await;
    witness.accept(&api.epr.verifier_keys().await.unwrap());
    grow(&api, 300).await;
    api.epr.make_checkpoint().await.unwrap();
    let origin = witness.standing.lock().unwrap().seen.keys().next().unwrap().clone();
    for (seen, why) in [
        ((900, [7; 32]), "has seen 900 entries, but the newest checkpoint has"),
        ((250, [7; 32]), "does not continue what it has seen"),
    ] {
        witness.standing.lock().unwrap().seen.insert(origin.clone(), seen);
        // A process that remembers nothing of this witness.
        let later = service(&database, &setting, "0", place.to_str().unwrap()).await;
        let head = database.number("SELECT sequence FROM audit_chain_head").await;
        grow(&later, head + 10).await;
        let error = later.epr.make_checkpoint().await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert_eq!(later.get("/readyz").await.expect(200)["dependencies"]["ledger"]["status"], "inconsistent");
    }
    // The same size with another root.
    let head = database.number("SELECT sequence FROM audit_chain_head").await;
    witness.standing.lock().unwrap().seen.insert(origin, (u64::try_from(head).unwrap(), [7; 32]));
    let later = service(&database, &setting, "0", place.to_str().unwrap()).await;
    let error = later.epr.make_checkpoint().await.unwrap_err().to_string();
    assert!(error.contains("does not continue what it has seen"), "{error}");
}

#[tokio::test]
async fn settings_of_witnesses_that_make_no_sense_are_refused() {
    let vkey = StandIn::start("one.example", 1).await.setting();
    for (urls, quorum, why) in [
        ("https://one.example", "0", "expected a URL, a space and the verifier key"),
        ("ftp://one.example x", "0", "begins with https://"),
        ("https://one.example one.example+00000000+AA==", "0", "the key of the witness"),
        (vkey.as_str(), "2", "EPR_LEDGER_WITNESS_QUORUM is 2, but EPR_LEDGER_WITNESS_URLS has 1"),
    ] {
        let source =
            epr_core::settings::Source::of([("EPR_LEDGER_WITNESS_URLS", urls), ("EPR_LEDGER_WITNESS_QUORUM", quorum)]);
        let error = epr_core::Settings::from_source(&source).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

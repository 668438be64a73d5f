//! The ledger in a bucket of S3: the order of the requests, retention by Object Lock, and what the credentials may not.
//!
//! moto has Object Lock. It does not check what credentials may do and never fails: a server in front of it does both.

use std::sync::Arc;

use aws_sdk_s3::types::{
    DefaultRetention, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockMode, ObjectLockRetentionMode,
    ObjectLockRule,
};
use axum::http::Method;
use epr_core::clock::{Clock as _, SystemClock};
use epr_testkit::api::Api;
use epr_testkit::aws;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::ledger::grow;
use epr_testkit::s3_front::{Front, Seen};
use rstest::rstest;

const SEED: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const DAY: i64 = 86_400;

/// A bucket, a server in front of it, and a service that publishes there.
struct World {
    s3: aws_sdk_s3::Client,
    bucket: String,
    front: Front,
    api: Api,
}

/// The Object Lock of a bucket.
#[derive(Clone, Copy, PartialEq)]
enum Lock {
    None,
    WithoutDefault,
    /// A default retention of two days.
    Default,
}

impl World {
    async fn new(lock: Lock, retention: Option<&str>) -> Self {
        let s3 = aws::s3().await;
        let bucket = format!("ledger-{:08x}", rand::random::<u32>());
        let create = s3.create_bucket().bucket(&bucket).object_lock_enabled_for_bucket(lock != Lock::None);
        create.send().await.unwrap();
        if lock == Lock::Default {
            let default = DefaultRetention::builder().mode(ObjectLockRetentionMode::Governance).days(2).build();
            let rule = ObjectLockRule::builder().default_retention(default).build();
            let enabled = ObjectLockConfiguration::builder().object_lock_enabled(ObjectLockEnabled::Enabled);
            let put = s3.put_object_lock_configuration().bucket(&bucket);
            put.object_lock_configuration(enabled.rule(rule).build()).send().await.unwrap();
        }
        let front = Front::start(&aws::endpoint()).await;
        let place = format!("s3://{bucket}/public");
        let mut environment = aws::environment(&front.url).to_vec();
        environment.extend([
            ("EPR_LEDGER_ORIGIN", "epr.test/ledger"),
            ("EPR_LEDGER_KEY", SEED),
            ("EPR_LEDGER_PUBLISH_URL", &place),
        ]);
        environment.extend(retention.map(|retention| ("EPR_LEDGER_PUBLISH_RETENTION", retention)));
        let database = Arc::new(Database::create(DatabaseKind::Sqlite).await);
        let api = Api::with_settings(database, Arc::new(SystemClock), &environment).await;
        Self { s3, bucket, front, api }
    }

    async fn checkpoint(&self, size: i64) -> Result<(), String> {
        grow(&self.api, size).await;
        self.api.epr.make_checkpoint().await.map(|_| ()).map_err(|error| epr_core::error::chain(&error))
    }

    fn published(&self) -> Option<u64> {
        self.api.epr.checkpoint_status().unwrap().published
    }

    /// The mode of each object's retention and its days from now, by the end of its key.
    async fn retentions(&self) -> Vec<(String, Option<(ObjectLockMode, i64)>)> {
        let now = SystemClock.now().unix_micros() / 1_000_000;
        let list = self.s3.list_objects_v2().bucket(&self.bucket).send().await.unwrap();
        let mut found = Vec::new();
        for key in list.contents().iter().filter_map(|object| object.key()) {
            let head = self.s3.head_object().bucket(&self.bucket).key(key).send().await.unwrap();
            let until = head.object_lock_retain_until_date().map(|until| (until.secs() - now + DAY / 2) / DAY);
            // Without the prefix and the incarnation.
            let name = key.splitn(3, '/').nth(2).unwrap().to_owned();
            found.push((name, head.object_lock_mode().cloned().zip(until)));
        }
        found
    }
}

/// The objects that were written, in the order of their requests.
fn written(requests: &[Seen]) -> Vec<&str> {
    let puts = requests.iter().filter(|one| one.method == Method::PUT && one.status.is_success());
    puts.map(|one| one.target.split(['?']).next().unwrap().splitn(5, '/').nth(4).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_follows_everything_that_it_needs_and_only_it_is_replaced() {
    let world = World::new(Lock::None, None).await;
    world.checkpoint(300).await.unwrap();
    let requests = world.front.take();
    let names = written(&requests);
    assert_eq!(names.len(), 7, "{names:?}");
    assert_eq!(names[5..], ["checkpoints/0000000000000000300", "checkpoint"]);
    for put in requests.iter().filter(|one| one.method == Method::PUT) {
        let condition = put.headers.get("if-none-match").map(|value| value.to_str().unwrap());
        assert_eq!(condition, (!put.target.contains("/checkpoint?")).then_some("*"), "{}", put.target);
        assert!(put.headers.contains_key("x-amz-checksum-sha256"), "{}", put.target);
    }
    let locks = requests.iter().filter(|one| one.target.contains("object-lock")).count();
    assert_eq!(locks, 1, "the configuration is read once");

    // One tile is missing: the checkpoint that needs it is not published.
    world.front.refuse(|method, target, _| {
        (method == Method::PUT && target.contains("/tile/0/001")).then_some((403, "AccessDenied"))
    });
    let error = world.checkpoint(512).await.unwrap_err();
    assert!(error.contains("tile/0/001: AccessDenied"), "{error}");
    assert!(!written(&world.front.take()).iter().any(|name| name.starts_with("checkpoint")));
    assert_eq!((world.published(), world.api.epr.newest_checkpoint().await.unwrap().size), (Some(300), 512));

    // S3 is unavailable, and signing continues. Afterwards only what is missing is written.
    world.front.refuse(|_, _, _| Some((403, "AccountProblem")));
    world.checkpoint(600).await.unwrap_err();
    world.front.refuse(|_, _, _| None);
    world.front.take();
    world.checkpoint(601).await.unwrap();
    assert_eq!(world.published(), Some(601));
    let requests = world.front.take();
    let names = written(&requests);
    assert_eq!(names.last(), Some(&"checkpoint"));
    assert!(!names.contains(&"tile/entries/001"), "it had been written before: {names:?}");
    assert_eq!(requests.iter().filter(|one| one.status == 412).count(), 2, "S3 refuses to write them again");
    assert!(!requests.iter().any(|one| one.target.contains("object-lock")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_s3_is_retried_and_a_missing_bucket_is_no_empty_one() {
    let world = World::new(Lock::None, None).await;
    let failures = std::sync::atomic::AtomicUsize::new(0);
    world.front.refuse(move |method, _, _| {
        let first = method == Method::PUT && failures.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        first.then_some((503, "SlowDown"))
    });
    world.checkpoint(10).await.unwrap();
    assert_eq!(world.published(), Some(10));
    // Two processes write the same file: S3 asks both to try again.
    let failures = std::sync::atomic::AtomicUsize::new(0);
    world.front.refuse(move |method, _, _| {
        let first = method == Method::PUT && failures.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        first.then_some((409, "ConditionalRequestConflict"))
    });
    world.checkpoint(20).await.unwrap();
    assert_eq!(world.published(), Some(20));

    world.front.refuse(|method, _, _| (method == Method::GET).then_some((404, "NoSuchBucket")));
    let error = world.checkpoint(30).await.unwrap_err();
    assert!(error.contains("NoSuchBucket"), "{error}");
}

#[rstest]
#[case::default_of_the_bucket(Lock::Default, None, Some((ObjectLockMode::Governance, 2)), false)]
#[case::the_default_wins(Lock::Default, Some("compliance:30"), Some((ObjectLockMode::Governance, 2)), false)]
#[case::setting(Lock::WithoutDefault, Some("compliance:30"), Some((ObjectLockMode::Compliance, 30)), true)]
#[case::neither(Lock::WithoutDefault, None, None, false)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_retained_when_the_bucket_has_object_lock(
    #[case] lock: Lock,
    #[case] setting: Option<&str>,
    #[case] expected: Option<(ObjectLockMode, i64)>,
    #[case] except_for_the_checkpoint: bool,
) {
    let world = World::new(lock, setting).await;
    for size in [300, 310] {
        world.checkpoint(size).await.unwrap();
    }
    let found = world.retentions().await;
    assert!(found.len() > 8, "{found:?}");
    for (name, retention) in found {
        let is_replaced = name == "checkpoint";
        assert_eq!(retention, expected.clone().filter(|_| !(is_replaced && except_for_the_checkpoint)), "{name}");
    }
    // What is retained cannot be deleted, by anyone.
    if let Some((ObjectLockMode::Compliance, _)) = expected {
        let list = world.s3.list_object_versions().bucket(&world.bucket).send().await.unwrap();
        let tile = list.versions().iter().find(|one| one.key().unwrap().ends_with("/tile/0/000")).unwrap();
        let delete = world.s3.delete_object().bucket(&world.bucket).key(tile.key().unwrap());
        let refused = delete.version_id(tile.version_id().unwrap()).bypass_governance_retention(true).send().await;
        assert!(format!("{:?}", refused.unwrap_err()).contains("AccessDenied"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_published_without_the_retention_that_is_asked_for() {
    let world = World::new(Lock::None, Some("governance:30")).await;
    let error = world.checkpoint(10).await.unwrap_err();
    assert!(error.contains("the bucket has no Object Lock, which EPR_LEDGER_PUBLISH_RETENTION needs"), "{error}");
    assert_eq!(written(&world.front.take()), Vec::<&str>::new());

    // The credentials may not put a retention: the checkpoint waits until they may.
    let world = World::new(Lock::WithoutDefault, Some("governance:30")).await;
    world.front.refuse(|method, _, headers| {
        (method == Method::PUT && headers.contains_key("x-amz-object-lock-mode")).then_some((403, "AccessDenied"))
    });
    let error = world.checkpoint(10).await.unwrap_err();
    assert!(error.contains("AccessDenied"), "{error}");
    assert_eq!(written(&world.front.take()), Vec::<&str>::new());
    assert_eq!((world.published(), world.api.epr.newest_checkpoint().await.unwrap().size), (Some(0), 10));
    world.front.refuse(|_, _, _| None);
    world.checkpoint(10).await.unwrap();
    assert_eq!(world.published(), Some(10));
}

#[rstest]
#[case::without_a_setting(None, Some((ObjectLockMode::Governance, 2)))]
#[case::with_a_setting(Some("compliance:30"), Some((ObjectLockMode::Compliance, 30)))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_may_not_read_the_configuration_leave_it_to_the_setting_or_the_bucket(
    #[case] setting: Option<&str>,
    #[case] expected: Option<(ObjectLockMode, i64)>,
) {
    let world = World::new(Lock::Default, setting).await;
    world.front.refuse(|method, target, _| {
        (method == Method::GET && target.contains("object-lock")).then_some((403, "AccessDenied"))
    });
    world.checkpoint(10).await.unwrap();
    for (name, retention) in world.retentions().await.into_iter().filter(|(name, _)| name != "checkpoint") {
        assert_eq!(retention, expected, "{name}");
    }
}

#[test]
fn a_retention_that_means_nothing_is_refused() {
    for (place, retention, why) in [
        ("s3://bucket", "forever", "compliance:DAYS or governance:DAYS"),
        ("/srv/ledger", "compliance:30", "EPR_LEDGER_PUBLISH_URL is not a bucket"),
    ] {
        let source = epr_core::settings::Source::of([
            ("EPR_LEDGER_ORIGIN", "epr.test/ledger"),
            ("EPR_LEDGER_KEY", SEED),
            ("EPR_LEDGER_PUBLISH_URL", place),
            ("EPR_LEDGER_PUBLISH_RETENTION", retention),
        ]);
        let error = epr_core::Settings::from_source(&source).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

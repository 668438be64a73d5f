//! Sessions of browsers: begun, used, ended alone or with all of their caller, removed when they are idle.

use epr_core::domain::browser_session::{BrowserSession, IDLE_SECONDS};
use rstest::rstest;

use crate::support::{Backend, World, at};

fn session(key: u8, caller: u8, used: i64) -> BrowserSession {
    BrowserSession {
        key: [key; 32],
        caller: [caller; 32],
        sealed_credential: vec![0, 255, key],
        begun_at: at(0),
        used_at: at(used),
    }
}

impl World {
    async fn begin_sessions(&self, sessions: &[BrowserSession]) {
        for session in sessions {
            self.store.begin_browser_session(session, 100).await.unwrap();
        }
    }

    /// The keys among 1 to 9 that have a session.
    async fn sessions(&self) -> Vec<u8> {
        let mut found = Vec::new();
        for key in 1..10 {
            found.extend(self.store.browser_session(&[key; 32]).await.unwrap().map(|session| session.key[0]));
        }
        found
    }
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_session_is_found_by_its_key_until_it_is_ended(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.begin_sessions(&[session(1, 1, 0), session(2, 1, 0)]).await;
    assert_eq!(world.store.browser_session(&[1; 32]).await.unwrap(), Some(session(1, 1, 0)));
    assert_eq!(world.store.browser_session(&[3; 32]).await.unwrap(), None);
    for (now, expected) in [(60, 60), (30, 60), (90, 90)] {
        world.store.mark_browser_session_used(&[1; 32], at(now)).await.unwrap();
        assert_eq!(world.store.browser_session(&[1; 32]).await.unwrap(), Some(session(1, 1, expected)));
    }
    world.store.end_browser_session(&[1; 32]).await.unwrap();
    world.store.end_browser_session(&[1; 32]).await.unwrap();
    world.store.mark_browser_session_used(&[1; 32], at(120)).await.unwrap();
    assert_eq!(world.sessions().await, [2], "it does not come back");
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn all_sessions_of_a_caller_end_together_and_no_other(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.begin_sessions(&[session(1, 1, 0), session(2, 2, 0), session(3, 1, 0)]).await;
    assert_eq!(world.store.end_browser_sessions_of(&[1; 32]).await.unwrap(), 2);
    assert_eq!(world.store.end_browser_sessions_of(&[1; 32]).await.unwrap(), 0);
    assert_eq!(world.sessions().await, [2]);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_caller_has_a_bounded_number_of_sessions(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.begin_sessions(&[session(1, 1, 5), session(2, 2, 0), session(3, 1, 4)]).await;
    world.store.begin_browser_session(&session(4, 1, 6), 2).await.unwrap();
    assert_eq!(world.sessions().await, [1, 2, 4], "the one that was unused for longest is gone");
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn idle_sessions_are_removed_the_oldest_first(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.begin_sessions(&[session(1, 1, 0), session(2, 1, 1), session(3, 2, 2), session(4, 2, 3)]).await;
    assert_eq!(world.store.remove_idle_browser_sessions(at(IDLE_SECONDS - 1), 9).await.unwrap(), 0);
    assert_eq!(world.store.remove_idle_browser_sessions(at(IDLE_SECONDS + 2), 2).await.unwrap(), 2);
    assert_eq!(world.sessions().await, [3, 4]);
    assert_eq!(world.store.remove_idle_browser_sessions(at(IDLE_SECONDS + 2), 2).await.unwrap(), 1);
    assert_eq!(world.sessions().await, [4]);
}

//! The steps of a history of the cache, and their probabilities.

use proptest::prelude::*;

#[derive(Debug, Clone)]
pub(super) enum Change {
    Assign { principal: u8, role: u8, place: u8, from: i8, lasts: Option<u8> },
    Revoke(u8),
    Permissions { role: u8, read: bool },
    Scope { role: u8, narrow: bool },
    Parent(Option<u8>),
    Archive(u8),
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A whole check at one process.
    Check {
        at: u8,
        asked: u8,
    },
    /// A check that stops when it has read its facts.
    Begin {
        at: u8,
        asked: u8,
    },
    /// The oldest check that has stopped continues.
    Finish,
    /// A change at one process, which stops at its commit.
    Change {
        at: u8,
        change: Change,
    },
    /// It goes on to its answer.
    Answer,
    /// The other process hears of every change up to now.
    Deliver(u8),
    /// A process's feed follower completes what is pending.
    Renew(u8),
    Pass(u8),
    Save,
    Restart,
    Flush,
    Evict(u8),
    Server {
        away: bool,
        full: bool,
    },
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (0..2_u8, 0..2_u8, 0..4_u8, -3..4_i8, proptest::option::of(1..6_u8))
            .prop_map(|(principal, role, place, from, lasts)| Change::Assign { principal, role, place, from, lasts }),
        6 => any::<u8>().prop_map(Change::Revoke),
        2 => (0..2_u8, any::<bool>()).prop_map(|(role, read)| Change::Permissions { role, read }),
        1 => (0..2_u8, any::<bool>()).prop_map(|(role, narrow)| Change::Scope { role, narrow }),
        2 => proptest::option::of(0..2_u8).prop_map(Change::Parent),
        1 => (0..3_u8).prop_map(Change::Archive),
    ]
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let at = 0..2_u8;
    prop_oneof![
        12 => (at.clone(), 0..4_u8).prop_map(|(at, asked)| Step::Check { at, asked }),
        4 => (at.clone(), 0..4_u8).prop_map(|(at, asked)| Step::Begin { at, asked }),
        4 => Just(Step::Finish),
        6 => (at.clone(), change()).prop_map(|(at, change)| Step::Change { at, change }),
        4 => Just(Step::Answer),
        4 => at.clone().prop_map(Step::Deliver),
        4 => at.prop_map(Step::Renew),
        3 => (1..4_u8).prop_map(Step::Pass),
        1 => Just(Step::Save),
        1 => Just(Step::Restart),
        1 => Just(Step::Flush),
        1 => any::<u8>().prop_map(Step::Evict),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(away, full)| Step::Server { away, full }),
    ]
}

//! The steps of a history of the cache, and their probabilities.

use proptest::prelude::*;
use proptest::strategy::Union;

use super::conditions::{CONDITIONS, CONTEXTS};

#[derive(Debug, Clone)]
pub(super) enum Change {
    Assign {
        principal: u8,
        role: u8,
        place: u8,
        from: i8,
        lasts: Option<u8>,
        condition: Option<u8>,
    },
    Revoke(u8),
    Permissions {
        role: u8,
        read: bool,
    },
    Scope {
        role: u8,
        narrow: bool,
    },
    Parent(Option<u8>),
    Archive(u8),
    /// The condition of a role's action.
    Condition {
        role: u8,
        condition: Option<u8>,
    },
    /// The attributes of an entity.
    Attributes {
        entity: u8,
        open: bool,
    },
    /// The status and the attributes of a principal.
    Principal {
        principal: u8,
        suspended: bool,
        cleared: bool,
    },
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A whole check at one process. `at_least`: the caller names the newest revision, which it knows from any process.
    Check {
        at: u8,
        asked: u8,
        context: u8,
        at_least: bool,
    },
    /// A check that stops when it has read its facts.
    Begin {
        at: u8,
        asked: u8,
        context: u8,
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
    /// The registry in memory of a process: its changes are read, to be used later.
    Read(u8),
    /// What was read is used.
    Keep(u8),
    /// Another program changes the registry, past every process: it revokes an assignment, or takes an action from a
    /// role.
    Past {
        revoke: bool,
        which: u8,
    },
    /// The change feed of a process.
    Feed {
        at: u8,
        does: Feed,
    },
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

/// What a change feed does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Feed {
    /// It is cut, and the process knows it.
    Cut,
    /// It works again. With `elsewhere`, at another server, which has the registry, and no notes of the changes.
    Connect { elsewhere: bool },
    /// A heartbeat is missing.
    Silence,
    /// Heartbeats arrive again, after everything before them.
    Beat,
}

/// The place of a global assignment: beyond the entities.
pub(super) const EVERYWHERE: u8 = 3;

/// What the steps of a history are mostly about. A missing guard is found sooner among steps that can show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Focus {
    /// Everything but conditions and principals.
    Unconditional,
    /// Conditions and principals, on servers that have no failures.
    Conditions,
    /// Everything but the registry in memory, and the feed.
    All,
    /// Everything.
    Graph,
}

impl Focus {
    /// The steps that every history begins with: one principal holds a role without a condition; the other holds one on
    /// a condition about the resource and one on a condition about the context.
    pub(super) fn beginning(self) -> Vec<Step> {
        if self != Self::Conditions {
            return Vec::new();
        }
        let assign = |principal, role, condition| {
            let change = Change::Assign { principal, role, place: EVERYWHERE, from: -3, lasts: None, condition };
            [Step::Change { at: 0, change }, Step::Answer]
        };
        let assigned = [assign(0, 0, None), assign(1, 0, Some(1)), assign(1, 1, Some(0))].concat();
        assigned.into_iter().chain([Step::Deliver(1), Step::Renew(1)]).collect()
    }

    /// `weight` unless the focus is elsewhere.
    fn weight(self, elsewhere: Self, weight: u32) -> u32 {
        if self == elsewhere { 0 } else { weight }
    }
}

/// The condition of an assignment, which has none outside of the focus.
fn condition(focus: Focus) -> BoxedStrategy<Option<u8>> {
    match focus {
        Focus::Unconditional => Just(None).boxed(),
        Focus::Conditions => proptest::option::weighted(0.8, 0..CONDITIONS).boxed(),
        Focus::All | Focus::Graph => proptest::option::of(0..CONDITIONS).boxed(),
    }
}

/// One of the options with a weight above zero.
fn one_of<T: std::fmt::Debug + 'static>(options: Vec<(u32, BoxedStrategy<T>)>) -> impl Strategy<Value = T> {
    Union::new_weighted(options.into_iter().filter(|(weight, _)| *weight > 0).collect())
}

fn change(focus: Focus) -> impl Strategy<Value = Change> {
    let conditions = |weight| focus.weight(Focus::Unconditional, weight);
    let others = |weight| focus.weight(Focus::Conditions, weight);
    let assign = (0..2_u8, 0..2_u8, 0..4_u8, -3..4_i8, proptest::option::of(1..6_u8), condition(focus)).prop_map(
        |(principal, role, place, from, lasts, condition)| Change::Assign {
            principal,
            role,
            place,
            from,
            lasts,
            condition,
        },
    );
    let permissions = (0..2_u8, any::<bool>()).prop_map(|(role, read)| Change::Permissions { role, read });
    let scope = (0..2_u8, any::<bool>()).prop_map(|(role, narrow)| Change::Scope { role, narrow });
    let of_role = (0..2_u8, condition(focus)).prop_map(|(role, condition)| Change::Condition { role, condition });
    let attributes = (1..3_u8, any::<bool>()).prop_map(|(entity, open)| Change::Attributes { entity, open });
    let principal = (0..2_u8, proptest::bool::weighted(0.3), any::<bool>())
        .prop_map(|(principal, suspended, cleared)| Change::Principal { principal, suspended, cleared });
    one_of(vec![
        (6, assign.boxed()),
        (others(6), any::<u8>().prop_map(Change::Revoke).boxed()),
        (others(2), permissions.boxed()),
        (others(1), scope.boxed()),
        (others(2), proptest::option::of(0..2_u8).prop_map(Change::Parent).boxed()),
        (others(1), (0..3_u8).prop_map(Change::Archive).boxed()),
        (conditions(1), of_role.boxed()),
        (conditions(4), attributes.boxed()),
        (conditions(4), principal.boxed()),
    ])
}

fn check(((at, asked, context), at_least): ((u8, u8, u8), bool)) -> Step {
    Step::Check { at, asked, context, at_least }
}

pub(super) fn step(focus: Focus) -> impl Strategy<Value = Step> {
    let at = || 0..2_u8;
    let contexts = if focus == Focus::Unconditional { 1 } else { CONTEXTS };
    // A change under way keeps answers from being compared.
    let answer = if focus == Focus::Conditions { 12 } else { 4 };
    let failure = focus.weight(Focus::Conditions, 1);
    let of_graph = |weight| if focus == Focus::Graph { weight } else { 0 };
    let feed = prop_oneof![
        1 => Just(Feed::Cut),
        8 => proptest::bool::weighted(0.3).prop_map(|elsewhere| Feed::Connect { elsewhere }),
        1 => Just(Feed::Silence),
        6 => Just(Feed::Beat),
    ];
    let asked = || (at(), 0..4_u8, 0..contexts);
    one_of(vec![
        (12, (asked(), any::<bool>()).prop_map(check).boxed()),
        (4, asked().prop_map(|(at, asked, context)| Step::Begin { at, asked, context }).boxed()),
        (4, Just(Step::Finish).boxed()),
        (6, (at(), change(focus)).prop_map(|(at, change)| Step::Change { at, change }).boxed()),
        (answer, Just(Step::Answer).boxed()),
        (4, at().prop_map(Step::Deliver).boxed()),
        (4, at().prop_map(Step::Renew).boxed()),
        (3, (1..4_u8).prop_map(Step::Pass).boxed()),
        (of_graph(8), at().prop_map(Step::Read).boxed()),
        (of_graph(8), at().prop_map(Step::Keep).boxed()),
        (of_graph(4), at().prop_map(Step::Deliver).boxed()),
        (of_graph(1), (any::<bool>(), any::<u8>()).prop_map(|(revoke, which)| Step::Past { revoke, which }).boxed()),
        (of_graph(3), (at(), feed).prop_map(|(at, does)| Step::Feed { at, does }).boxed()),
        (failure, Just(Step::Save).boxed()),
        (failure, Just(Step::Restart).boxed()),
        (failure, Just(Step::Flush).boxed()),
        (failure, any::<u8>().prop_map(Step::Evict).boxed()),
        (failure, (any::<bool>(), any::<bool>()).prop_map(|(away, full)| Step::Server { away, full }).boxed()),
    ])
}

//! `--at` and `--revision`: the moment that a question is about.

use clap::Args;
use epr_core::domain::{Moment, Revision, Timestamp};

use crate::times::{self, GivenTime};

/// The moment of a question; without an option the present one.
#[derive(Args)]
pub(crate) struct MomentOptions {
    /// A time: the registry as it was then, and windows and `now` compared with it; a period needs a sign, such as
    /// -30d; default: now
    #[arg(long, value_name = "TIME", value_parser = times::either, allow_hyphen_values = true)]
    at: Option<GivenTime>,
    /// A state of the registry, as lists and explanations print it and as the header EPR-Revision has it
    #[arg(long, value_name = "REVISION")]
    revision: Option<Revision>,
}

impl MomentOptions {
    /// The moment, asked for at `now`.
    #[must_use]
    pub(crate) fn moment(&self, now: Timestamp) -> Moment {
        Moment { at: self.at.map(|at| at.resolve(now)), revision: self.revision }
    }
}

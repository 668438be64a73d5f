//! What the commands about lists of access share: options, and notices about an empty list.

use clap::{Args, ValueEnum};
use epr_core::domain::access::{Include, ListRequest, ListedAction};
use epr_core::domain::{Moment, Role, Timestamp};

use crate::backend::Backend;
use crate::backend::access::ListedState;
use crate::check::{Context, context};
use crate::moment::MomentOptions;
use crate::output::{Output, escaped, notice};
use crate::rows::{Finished, FormatOption, RowFormat};

/// Options of every list of access.
#[derive(Args)]
pub(crate) struct ListOptions {
    /// What conditions can read under `context`: a JSON object, or the name of a file that holds one
    #[arg(long, value_name = "FILE|JSON", value_parser = context)]
    context: Option<Context>,
    /// Also list what is left out otherwise: conditional (allowed only if the context had more) or archived
    /// (entities); repeatable, or separated by commas
    #[arg(long, value_name = "WHAT", value_delimiter = ',', hide_possible_values = true)]
    include: Vec<Included>,
    /// List at most N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    #[command(flatten)]
    moment: MomentOptions,
    #[command(flatten)]
    format: FormatOption,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Included {
    Conditional,
    Archived,
}

impl ListOptions {
    pub(crate) fn format(&self, out: &Output) -> Result<RowFormat, String> {
        self.format.or(RowFormat::Table, out)
    }

    /// The moment of the list, asked for at `now`.
    pub(crate) fn moment(&self, now: Timestamp) -> Moment {
        self.moment.moment(now)
    }

    /// What a request has beside its question, at `now`.
    pub(crate) fn request(&self, now: Timestamp) -> ListRequest {
        let Moment { at, revision } = self.moment(now);
        let mut include: Vec<_> = self.include.clone();
        include.sort_unstable();
        include.dedup();
        let word = |included: Included| match included {
            Included::Conditional => Include::Conditional,
            Included::Archived => Include::Archived,
        };
        ListRequest {
            context: self.context.clone().map(|given| given.0).unwrap_or_default(),
            include: include.into_iter().map(word).collect(),
            at,
            revision,
            ..ListRequest::default()
        }
    }
}

/// Reports how many items a complete list has (`what`), and the state that it rests on.
pub(crate) fn report(finished: Finished, what: &str, state: &ListedState, format: RowFormat) {
    if finished.rows > 0 && !finished.is_cut && format != RowFormat::Json {
        notice(&format!("{what}, as of {}, revision {}.", state.as_of, escaped(&state.revision)));
    }
}

/// [`report`] for rows of several lists, one after the other.
pub(crate) fn report_several(finished: Finished, what: &str, states: &[ListedState], format: RowFormat) {
    let ([first, ..], Some(last)) = (states, states.last()) else { return };
    if first.revision == last.revision {
        return report(finished, what, first, format);
    }
    if finished.rows > 0 && !finished.is_cut && format != RowFormat::Json {
        let (from, to) = (escaped(&first.revision), escaped(&last.revision));
        notice(&format!("{what}. The registry changed meanwhile: revisions {from} to {to}, one for each action."));
    }
}

/// Reads an action.
pub(crate) fn action(text: &str) -> Result<ListedAction, String> {
    ListedAction::new(text).map_err(|error| error.to_string())
}

/// Says, after an empty list, that no role has the action: it may be misspelt.
pub(crate) async fn notice_unknown_action(backend: &Backend, action: &ListedAction, format: RowFormat) {
    if format == RowFormat::Json {
        return;
    }
    let mut is_held = false;
    let mut visit = |role: Role| {
        is_held = role.permissions.iter().any(|permission| permission == action.as_str());
        !is_held
    };
    let read = backend.for_each_role(&mut visit).await;
    // A token that may list access may not be allowed to read roles.
    if read.is_ok() && !is_held {
        notice(&format!("No role has the action {}.", escaped(action.as_str())));
    }
}

//! Members of a body that the route does not know: refused, or ignored for callers of the older service.
//!
//! Owns what `EPR_UNKNOWN_MEMBERS` changes. Must not be used for checks and events, which ignore them always.

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use epr_core::domain::{Invalid, Json};
use epr_core::settings::UnknownMembers;
use tracing::warn;

use crate::App;

/// Names the members that were ignored.
const HEADER: HeaderName = HeaderName::from_static("epr-ignored");

/// Most letters of names in the header and in the log.
const MOST: usize = 1024;

/// The members that were ignored and of which the caller hears.
pub(crate) struct Ignored(Option<String>);

/// The body as the reader of the domain takes it, and what was left out of it. The reader itself refuses what is
/// still unknown.
pub(crate) fn split(app: &App, body: Result<Json, Invalid>, known: &[&str]) -> (Result<Json, Invalid>, Ignored) {
    match (app.unknown_members, body) {
        (UnknownMembers::Reject, body) | (_, body @ (Err(_) | Ok(Json::Null))) => (body, Ignored(None)),
        (mode, Ok(Json::Object(members))) => {
            let (kept, left): (Vec<_>, Vec<_>) =
                members.into_iter().partition(|(name, _)| known.contains(&name.as_str()));
            let tell = mode == UnknownMembers::Warn && !left.is_empty();
            let names = tell.then(|| names(left.iter().map(|(name, _)| name.as_str())));
            if let Some(names) = &names {
                warn!(members = names, "unknown_members_ignored");
            }
            (Ok(Json::Object(kept.into_iter().collect())), Ignored(names))
        }
        (_, body) => (body, Ignored(None)),
    }
}

impl Ignored {
    /// `answer`, with the header when there is something to name.
    pub(crate) fn on(self, mut answer: Response) -> Response {
        if let Some(value) = self.0.and_then(|names| HeaderValue::try_from(names).ok()) {
            answer.headers_mut().insert(HEADER, value);
        }
        answer
    }
}

/// As a header and a terminal can show them. What does not fit is counted.
fn names<'a>(left: impl ExactSizeIterator<Item = &'a str>) -> String {
    let mut text = String::new();
    let mut more = left.len();
    for name in left {
        let name = name.chars().take(MOST).collect::<String>().escape_default().to_string();
        if text.len() + name.len() > MOST {
            break;
        }
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(&name);
        more -= 1;
    }
    if more > 0 { format!("{text} and {more} more") } else { text }
}

//! `EPR_UNKNOWN_MEMBERS`: whether members of a body that the route does not know are an error, or are ignored for
//! callers of the older service.
//!
//! Must not be used for checks and events, which always ignore them. Must never ignore a misspelt
//! [restriction](RESTRICTIONS).

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use epr_core::domain::fields::resembles;
use epr_core::domain::{Invalid, Json};
use epr_core::settings::UnknownMembers;
use tracing::warn;

use crate::App;

/// Names the members that were ignored.
const EPR_IGNORED: HeaderName = HeaderName::from_static("epr-ignored");

/// The most characters of names in the header and in the log.
const MAX_NAMES_LENGTH: usize = 1024;

/// Members that narrow what a request grants. No caller of the older service sends them, and a request without them
/// would grant more than its caller meant.
const RESTRICTIONS: &[&str] = &["condition", "conditions"];

/// The names of the ignored members, if the caller is to learn them.
pub(crate) struct Ignored(Option<String>);

/// Removes the members that are not in `known` from the body if the setting says so. Otherwise they stay, and the
/// reader of the domain reports them. A member that resembles one of the [`RESTRICTIONS`] always stays.
pub(crate) fn split(app: &App, body: Result<Json, Invalid>, known: &[&str]) -> (Result<Json, Invalid>, Ignored) {
    match (app.unknown_members, body) {
        (UnknownMembers::Reject, body) | (_, body @ (Err(_) | Ok(Json::Null))) => (body, Ignored(None)),
        (mode, Ok(Json::Object(members))) => {
            let (kept, unknown): (Vec<_>, Vec<_>) = members
                .into_iter()
                .partition(|(name, _)| known.contains(&name.as_str()) || resembles(name, RESTRICTIONS));
            let warn = mode == UnknownMembers::Warn && !unknown.is_empty();
            let names = warn.then(|| join(unknown.iter().map(|(name, _)| name.as_str())));
            if let Some(names) = &names {
                warn!(members = names, "unknown_members_ignored");
            }
            (Ok(Json::Object(kept.into_iter().collect())), Ignored(names))
        }
        (_, body) => (body, Ignored(None)),
    }
}

impl Ignored {
    /// Adds the header `EPR-Ignored` if there are names.
    pub(crate) fn name_in(self, mut response: Response) -> Response {
        if let Some(value) = self.0.and_then(|names| HeaderValue::try_from(names).ok()) {
            response.headers_mut().insert(EPR_IGNORED, value);
        }
        response
    }
}

/// The names, escaped for a header and a terminal, and the number of those beyond the maximum length.
fn join<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let mut text = String::new();
    let mut more = names.len();
    for name in names {
        let name = name.chars().take(MAX_NAMES_LENGTH).collect::<String>().escape_default().to_string();
        if text.len() + name.len() > MAX_NAMES_LENGTH {
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

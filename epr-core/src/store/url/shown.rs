//! Database URLs in messages: the accepted forms, and a URL without its password.

/// The accepted forms.
pub const ALLOWED: &str = "sqlite:///relative/path.db, sqlite:////absolute/path.db, \
 sqlite:///:memory: or postgresql://user:password@host:port/database";

pub(super) fn user_of(user_info: &str) -> &str {
    user_info.split_once(':').map_or(user_info, |(user, _)| user)
}

/// `text` with a password in it replaced by `***`, for messages.
#[must_use]
pub fn masked(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return "***".to_owned();
    };
    // A password may hold `?` and `@`, and may also stand among the options: whatever comes behind the last `@` and
    // before a `?` can be shown, the rest is not looked at.
    let (user_info, place) = match rest.rsplit_once('@') {
        Some((user_info, place)) => (Some(user_info), place),
        None => (None, rest),
    };
    let place = place.split_once('?').map_or_else(|| place.to_owned(), |(place, _)| format!("{place}?***"));
    match user_info.map(user_of) {
        Some(user) if !user.contains(['/', '?']) => format!("{scheme}://{user}:***@{place}"),
        Some(_) => format!("{scheme}://***"),
        None => format!("{scheme}://{place}"),
    }
}

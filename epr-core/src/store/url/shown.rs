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
    let (user_info, server) = match rest.rsplit_once('@') {
        Some((user_info, server)) => (Some(user_info), server),
        None => (None, rest),
    };
    let server = server.split_once('?').map_or_else(|| server.to_owned(), |(server, _)| format!("{server}?***"));
    match user_info.map(user_of) {
        Some(user) if !user.contains(['/', '?']) => format!("{scheme}://{user}:***@{server}"),
        Some(_) => format!("{scheme}://***"),
        None => format!("{scheme}://{server}"),
    }
}

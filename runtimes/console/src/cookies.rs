//! Cookies of the console: their names, how they are read and written.
//!
//! Must never write a cookie that a script, another site or another host could read.

use axum::http::{HeaderMap, HeaderValue, header};

/// The cookie of a session.
pub(crate) const SESSION: &str = "__Host-epr-console";
/// The cookie of the login form, which the form repeats: another site cannot know it.
pub(crate) const LOGIN: &str = "__Host-epr-console-login";
/// The cookie of a login at the provider that has begun.
pub(crate) const PENDING_LOGIN: &str = "__Host-epr-console-openid";
/// The cookie of the language.
pub(crate) const LANGUAGE: &str = "__Host-epr-console-language";

/// The value of the cookie `name`; `None` if it is absent or present more than once.
pub(crate) fn read<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut found = lines.flat_map(|line| line.split(';')).filter_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then_some(value)
    });
    found.next().filter(|_| found.next().is_none())
}

/// A cookie that lasts as long as the browser, or `seconds`. `value` must consist of letters, digits, `-`, `_` and `.`.
pub(crate) fn set(name: &str, value: &str, seconds: Option<u32>) -> Option<HeaderValue> {
    written(name, value, "Strict", seconds)
}

/// A cookie that the browser also sends when another site leads it back here: for what the provider answers.
pub(crate) fn set_for_return(name: &str, value: &str, seconds: u32) -> Option<HeaderValue> {
    written(name, value, "Lax", Some(seconds))
}

fn written(name: &str, value: &str, same_site: &str, seconds: Option<u32>) -> Option<HeaderValue> {
    let age = seconds.map(|seconds| format!("; Max-Age={seconds}")).unwrap_or_default();
    HeaderValue::try_from(format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite={same_site}{age}")).ok()
}

/// Removes a cookie.
pub(crate) fn clear(name: &str) -> Option<HeaderValue> {
    set(name, "", Some(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_among_others_and_only_if_it_is_there_once() {
        let headers = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::COOKIE, HeaderValue::from_static(line));
            }
            headers
        };
        assert_eq!(read(&headers(&["a=1; b=2"]), "b"), Some("2"));
        assert_eq!(read(&headers(&["a=1", "b=2"]), "b"), Some("2"));
        assert_eq!(read(&headers(&["b=1; b=2"]), "b"), None);
        assert_eq!(read(&headers(&["xb=1"]), "b"), None);
        assert_eq!(read(&headers(&[]), "b"), None);
    }

    #[test]
    fn every_cookie_is_secure_and_http_only_and_strict_unless_another_site_leads_back() {
        let cookie = set(SESSION, "value", None).unwrap();
        let cookie = cookie.to_str().unwrap();
        assert_eq!(cookie, "__Host-epr-console=value; Path=/; Secure; HttpOnly; SameSite=Strict");
        let pending = set_for_return(PENDING_LOGIN, "a.1.b", 600).unwrap();
        let expected = "__Host-epr-console-openid=a.1.b; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600";
        assert_eq!(pending.to_str().unwrap(), expected);
        assert!(clear(SESSION).unwrap().to_str().unwrap().ends_with("SameSite=Strict; Max-Age=0"));
    }
}

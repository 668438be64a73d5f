//! Which route wants which scope: the one table, with everything that is not in it shut.

use axum::http::Method;
use epr_core::authn::Scope;
use epr_core::settings::OpenPath;

/// Who may call a route when callers are authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Anyone.
    Open,
    /// Anyone, where the settings leave this open; else whoever has `epr:operate`.
    OpenIf(OpenPath),
    /// Whoever has this scope.
    Needs(Scope),
}

/// One route of the router and its rule.
#[derive(Debug, Clone)]
pub struct Access {
    /// GET stands for HEAD, too.
    pub method: Method,
    /// The path as the router has it.
    pub path: &'static str,
    /// Its rule.
    pub rule: Rule,
}

/// Every route. One that is missing here is answered 405 to everyone as soon as callers are authenticated.
#[must_use]
pub fn table() -> &'static [Access] {
    &TABLE
}

const fn access(method: Method, path: &'static str, rule: Rule) -> Access {
    Access { method, path, rule }
}

const READ: Rule = Rule::Needs(Scope::Read);
const WRITE: Rule = Rule::Needs(Scope::Write);
const EVENTS: Rule = Rule::Needs(Scope::Events);
const AUTHORIZE: Rule = Rule::Needs(Scope::Authorize);

static TABLE: [Access; 25] = [
    access(Method::GET, "/healthz", Rule::Open),
    access(Method::GET, "/readyz", Rule::OpenIf(OpenPath::Readyz)),
    access(Method::GET, "/metrics", Rule::OpenIf(OpenPath::Metrics)),
    access(Method::GET, "/openapi.json", Rule::OpenIf(OpenPath::Docs)),
    access(Method::GET, "/docs", Rule::OpenIf(OpenPath::Docs)),
    access(Method::GET, "/redoc", Rule::OpenIf(OpenPath::Docs)),
    access(Method::GET, "/docs/{file}", Rule::OpenIf(OpenPath::Docs)),
    access(Method::POST, "/api/v1/entities", WRITE),
    access(Method::GET, "/api/v1/entities", READ),
    access(Method::GET, "/api/v1/entities/{id}", READ),
    access(Method::PATCH, "/api/v1/entities/{id}", WRITE),
    access(Method::POST, "/api/v1/entities/{id}/archive", WRITE),
    access(Method::POST, "/api/v1/roles", WRITE),
    access(Method::GET, "/api/v1/roles", READ),
    access(Method::GET, "/api/v1/roles/{id}", READ),
    access(Method::PATCH, "/api/v1/roles/{id}", WRITE),
    access(Method::POST, "/api/v1/assignments", WRITE),
    access(Method::GET, "/api/v1/assignments", READ),
    access(Method::DELETE, "/api/v1/assignments/{id}", WRITE),
    access(Method::POST, "/api/v1/authorize", AUTHORIZE),
    access(Method::POST, "/api/v1/permissions/check", AUTHORIZE),
    access(Method::POST, "/api/v1/events", EVENTS),
    access(Method::GET, "/api/v1/events", EVENTS),
    access(Method::GET, "/api/v1/events/{event_id}", EVENTS),
    access(Method::GET, "/api/v1/audit/entries", Rule::Needs(Scope::Audit)),
];

/// The rule of a route.
pub(crate) fn rule(method: &Method, path: &str) -> Option<Rule> {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    TABLE.iter().find(|access| access.method == *method && access.path == path).map(|access| access.rule)
}

/// The methods that a path has, as an `Allow` header lists them.
pub(crate) fn methods(path: &str) -> String {
    let mut methods: Vec<&str> = Vec::new();
    for access in TABLE.iter().filter(|access| access.path == path) {
        methods.push(access.method.as_str());
        if access.method == Method::GET {
            methods.push("HEAD");
        }
    }
    methods.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_the_table_has_no_rule() {
        assert_eq!(rule(&Method::HEAD, "/healthz"), Some(Rule::Open));
        for (method, path) in [
            (Method::POST, "/healthz"),
            (Method::GET, "/api/v1/nope"),
            (Method::GET, "/api/v1/entities/"),
            (Method::GET, ""),
        ] {
            assert_eq!(rule(&method, path), None, "{method} {path}");
        }
        assert_eq!(methods("/api/v1/entities"), "POST,GET,HEAD");
    }

    #[test]
    fn no_route_stands_twice() {
        for (at, one) in TABLE.iter().enumerate() {
            assert!(!TABLE[..at].iter().any(|other| (&other.method, other.path) == (&one.method, one.path)), "{one:?}");
        }
    }
}

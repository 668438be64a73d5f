//! Access rules: the scope that each route requires, derived from the declarations of the routes.
//!
//! The guard refuses every request that has no rule here. `docs/ACCESS.md` is this table, compared by a test, so that a
//! review sees every change of a rule.

use std::fmt::Write as _;

use axum::http::Method;
use epr_core::authn::Scope;
use epr_core::domain::fields::Choice as _;
use epr_core::settings::OpenPath;

use crate::routes;

/// Which callers may call a route when callers are authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Any caller, without a credential.
    Open,
    /// Any caller where the settings open this path, else callers with this scope.
    OpenIf(OpenPath, Scope),
    /// Callers with this scope.
    Requires(Scope),
    /// Callers with both scopes.
    RequiresBoth(Scope, Scope),
}

/// One route and its rule.
#[derive(Debug, Clone)]
pub struct Access {
    /// GET covers HEAD.
    pub method: Method,
    /// The path template of the router, for example `/api/v1/entities/{id}`.
    pub path: String,
    /// The rule.
    pub rule: Rule,
    /// The operation id of the route in the OpenAPI document.
    pub operation: String,
}

/// The rules of all routes, in the order of their declarations.
#[must_use]
pub fn table() -> Vec<Access> {
    routes::all().finish().access.0
}

/// The rules of all routes as the Markdown page `docs/ACCESS.md`.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(PAGE_HEAD);
    for Access { method, path, rule, operation } in table() {
        let required = match rule {
            Rule::Open => "none".to_owned(),
            Rule::OpenIf(open, scope) => {
                format!("none if `EPR_OPEN_PATHS` has `{}`, else `{}`", open.word(), scope.word())
            }
            Rule::Requires(scope) => format!("`{}`", scope.word()),
            Rule::RequiresBoth(one, other) => format!("`{}` and `{}`", one.word(), other.word()),
        };
        // Writing into a string does not fail.
        let _ = writeln!(page, "| {method} | `{path}` | {required} | `{operation}` |");
    }
    page
}

const PAGE_HEAD: &str = "\
# Access

The scope that each route requires when callers are authenticated (`EPR_AUTH_MODE`). A request that matches no row is \
refused.
This page is generated from the declarations of the routes; a test compares it:
`EPR_TEST_REWRITE=1 cargo test -p epr-tests --test e2e the_access_page`.

| Method | Path | Scope | Operation |
|---|---|---|---|
";

/// The rules by which the guard decides.
#[derive(Debug, Default)]
pub(crate) struct AccessTable(Vec<Access>);

impl AccessTable {
    pub(crate) fn add(&mut self, access: Access) {
        self.0.push(access);
    }

    /// The rule for a method and a path template; `None` when no route has both.
    pub(crate) fn rule(&self, method: &Method, path: &str) -> Option<Rule> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.0.iter().find(|access| access.method == *method && access.path == path).map(|access| access.rule)
    }

    /// The path templates of the router.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &String> {
        self.0.iter().map(|access| &access.path)
    }

    /// The methods of a path, as an `Allow` header lists them.
    pub(crate) fn allowed_methods(&self, path: &str) -> String {
        let mut methods: Vec<&str> = Vec::new();
        for access in self.0.iter().filter(|access| access.path == path) {
            methods.push(access.method.as_str());
            if access.method == Method::GET {
                methods.push("HEAD");
            }
        }
        methods.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_matches_no_route_has_no_rule() {
        let access = routes::all().finish().access;
        assert_eq!(access.rule(&Method::HEAD, "/healthz"), Some(Rule::Open));
        for (method, path) in [
            (Method::POST, "/healthz"),
            (Method::GET, "/api/v1/nope"),
            (Method::GET, "/api/v1/entities/"),
            (Method::GET, ""),
        ] {
            assert_eq!(access.rule(&method, path), None, "{method} {path}");
        }
        assert_eq!(access.allowed_methods("/api/v1/entities"), "POST,GET,HEAD");
    }

    #[test]
    fn no_route_is_declared_twice() {
        let table = table();
        for (at, one) in table.iter().enumerate() {
            assert!(
                !table[..at].iter().any(|other| (&other.method, &other.path) == (&one.method, &one.path)),
                "{one:?}"
            );
        }
    }
}

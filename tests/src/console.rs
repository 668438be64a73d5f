//! The pages of the console, for tests and measurements that must leave none of them out.

use axum::http::Method;

/// The path templates of the pages that none of `addresses` is of. Left out are files, the pages of a login, which
/// a visitor with a session does not see, and the page for every other address.
pub fn missing_pages(addresses: &[&str]) -> Vec<&'static str> {
    let templates: Vec<&str> = epr_console::paths()
        .into_iter()
        .filter(|(method, path)| *method == Method::GET && !path.starts_with("/console/assets/"))
        .map(|(_, path)| path)
        .filter(|path| !path.starts_with("/console/login") && !path.contains("{*"))
        .collect();
    let template_of = |address: &str| {
        let path = address.split('?').next().unwrap_or_default();
        let exact = templates.iter().find(|template| **template == path);
        exact.or_else(|| templates.iter().find(|template| is_of(path, template))).copied()
    };
    let named: Vec<_> = addresses.iter().filter_map(|address| template_of(address)).collect();
    templates.iter().filter(|template| !named.contains(template)).copied().collect()
}

/// Whether a path is one of a template, in which `{…}` is any segment.
fn is_of(path: &str, template: &str) -> bool {
    let (path, template): (Vec<_>, Vec<_>) = (path.split('/').collect(), template.split('/').collect());
    path.len() == template.len() && path.iter().zip(template).all(|(one, of)| of.starts_with('{') || *one == of)
}

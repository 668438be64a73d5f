//! Who may see and do what in the console: each page and each form needs the scopes of the same call of the API.

use std::collections::BTreeSet;

use epr_testkit::browser::form_token;
use epr_testkit::database::DatabaseKind;

use crate::console_pages::{forms, pages};
use crate::console_world::World;

/// The scopes that a page or a form needs.
fn needed(path: &str) -> &'static [&'static str] {
    let of_changes: &[(&str, &'static [&'static str])] = &[
        ("/console/change/import", &["epr:read", "epr:write"]),
        ("/console/change/requeue", &["epr:events", "epr:write"]),
        ("/console/change", &["epr:write"]),
        ("/console/check", &["epr:explain"]),
        ("/console/access", &["epr:list"]),
        ("/console/ledger", &["epr:audit"]),
        ("/console/events", &["epr:events"]),
        ("/console/health", &["epr:operate"]),
    ];
    if path.contains("/difference") {
        return &["epr:read", "epr:audit"];
    }
    let found = of_changes.iter().find(|(start, _)| path.starts_with(start));
    found.map_or(if path == "/console" { &[] } else { &["epr:read"] }, |(_, scopes)| scopes)
}

#[tokio::test]
async fn a_page_or_a_form_is_refused_without_a_scope_that_it_needs_and_without_no_other() {
    let world = World::new(DatabaseKind::Sqlite).await;
    let mut addresses: Vec<String> = pages(&world).into_iter().map(|(path, _)| path).chain(forms(&world)).collect();
    // One address for each page.
    let mut seen = BTreeSet::new();
    addresses.retain(|address| seen.insert(address.split('?').next().unwrap_or_default().to_owned()));
    for (scope, token) in &world.lacking {
        let browser = world.browser(token).await;
        let home = browser.get("/console").await.expect(200);
        let form = [("form_token", form_token(&home)), ("id", "x".to_owned())];
        let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for address in &addresses {
            let is_refused = needed(address).contains(scope);
            let shown = browser.get(address).await;
            assert_eq!(shown.status == 403, is_refused, "{address} without {scope}: {}", shown.body);
            if is_refused {
                assert!(shown.body.contains(scope), "the page says what is lacking: {}", shown.body);
            }
            if address.starts_with("/console/change/") {
                let path = address.split('?').next().unwrap_or_default();
                let shown = browser.post(path, &form).await;
                assert_eq!(shown.status == 403, is_refused, "{path} sent without {scope}: {}", shown.body);
            }
        }
    }
}

#[tokio::test]
async fn a_page_shows_nothing_of_a_scope_that_the_visitor_lacks() {
    let world = World::new(DatabaseKind::Sqlite).await;
    let browser = world.browser(&world.reader).await;
    for (path, _) in pages(&world) {
        let shown = browser.get(&path).await;
        if shown.status != 403 {
            assert!([200, 303].contains(&shown.status), "{path}: {} {}", shown.status, shown.body);
            // The ledger is for epr:audit alone.
            assert!(!shown.body.contains("ticket 42") && !shown.body.contains("role_assignment.create"), "{path}");
        }
    }
    let home = browser.get("/console").await.expect(200);
    assert!(home.contains("/console/entities\"") && !home.contains("/console/ledger\""), "{home}");
}

//! The examples of docs/CONDITIONS.md: each condition compiles, and each line under it ends as the page says.

use std::fs;
use std::path::Path;

use super::{World, members, shown};
use crate::decision::condition::{Compiled, Described};
use crate::domain::input::value::Value as _;
use crate::domain::{Condition, Json, Timestamp};

/// The fenced blocks of a page with their language.
fn blocks(page: &str) -> Vec<(String, String)> {
    let parts = page.split("```").skip(1).step_by(2);
    parts.filter_map(|block| block.split_once('\n')).map(|(kind, text)| (kind.into(), text.into())).collect()
}

/// The inputs of a line such as `principal {"clearance": 3}; now 2026-03-01T12:00:00Z`.
fn world(given: &str) -> World {
    let mut world = World::new();
    world.principal = Described::new(world.principal.id.unwrap(), "user");
    world.resource = Described::new(world.resource.id.unwrap(), "spv");
    world.properties = Default::default();
    for part in given.split("; ") {
        let (name, value) = part.split_once(' ').unwrap_or_else(|| panic!("{part} is no input"));
        match name {
            "context" => world.context = members(value),
            "principal" => world.principal.attributes = members(value).into(),
            "resource" => world.resource.attributes = members(value).into(),
            "principal.external_id" => world.principal.external_id = Some(value.trim_matches('"').into()),
            "principal.id" => world.principal.id = Some(value.trim_matches('"').parse().unwrap()),
            "now" => world.now = Timestamp::parse(value).unwrap(),
            _ => panic!("{name} is no input"),
        }
    }
    world
}

#[test]
fn the_examples_of_the_page_end_as_it_says() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CONDITIONS.md");
    let page = fs::read_to_string(page).unwrap();
    let (mut conditions, mut lines) = (0, 0);
    let mut compiled = None;
    for (kind, text) in blocks(&page) {
        match kind.as_str() {
            "json" => {
                let condition = Condition::read(&Json::parse(text.as_bytes()).unwrap()).unwrap();
                compiled = Some(Compiled::new(&condition).unwrap_or_else(|error| panic!("{text}: {error}")));
                conditions += 1;
            }
            "text" => {
                for line in text.lines() {
                    let (given, expected) = line.split_once(" => ").unwrap_or_else(|| panic!("{line} has no outcome"));
                    let outcome = compiled.as_ref().unwrap().evaluate(&world(given).inputs()).outcome;
                    assert_eq!(shown(&outcome), expected, "{line}");
                    lines += 1;
                }
            }
            _ => {}
        }
    }
    assert!(conditions > 10 && lines > 30, "{conditions} conditions, {lines} lines");
}

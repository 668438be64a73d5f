//! The conformance file: expressions, inputs, and the outcome that other implementations of the language confirm.

use std::fs;
use std::path::Path;

use uuid::Uuid;

use super::{World, shown};
use crate::decision::condition::{Compiled, Described};
use crate::domain::input::value::Value as _;
use crate::domain::{Condition, Json, JsonObject, Timestamp};

fn text(members: &JsonObject, name: &str) -> String {
    members.get(name).and_then(Json::as_text).unwrap_or_else(|| panic!("no text `{name}`")).to_owned()
}

fn object(members: &JsonObject, name: &str) -> JsonObject {
    members.get(name).and_then(Json::as_object).unwrap_or_else(|| panic!("no object `{name}`")).clone()
}

fn described(world: &JsonObject, name: &str) -> Described {
    let side = object(world, name);
    let mut described = Described::new(Uuid::parse_str(&text(&side, "id")).unwrap(), text(&side, "type"));
    described.external_id = side.get("external_id").and_then(Json::as_text).map(str::to_owned);
    described.attributes = object(&side, "attributes").into();
    described
}

fn outcome(case: &JsonObject, world: &World) -> String {
    let body = ["expression", "parameters"].map(|name| (name.to_owned(), case.get(name).unwrap().clone()));
    let Ok(condition) = Condition::read(&Json::Object(body.into_iter().collect())) else { return "rejected".into() };
    let Ok(compiled) = Compiled::new(&condition) else { return "rejected".into() };
    let world = World { context: object(case, "context"), ..world.clone() };
    shown(&compiled.evaluate(&world.inputs()).outcome)
}

#[test]
fn every_case_of_the_conformance_file_ends_as_it_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/cel/epr-cel-1.json");
    let document = Json::parse(&fs::read(&file).unwrap()).unwrap();
    let document = document.as_object().unwrap();
    let given = object(document, "world");
    let world = World {
        context: JsonObject::new(),
        principal: described(&given, "principal"),
        resource: described(&given, "resource"),
        properties: [
            object(&object(&given, "principal"), "properties"),
            object(&object(&given, "resource"), "properties"),
            JsonObject::new(),
        ],
        now: Timestamp::parse(&text(&given, "now")).unwrap(),
    };
    assert_eq!(text(&given, "action"), world.inputs().action);
    let Some(Json::List(cases)) = document.get("cases") else { panic!("no cases") };
    assert!(cases.len() >= 400, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in cases.iter().filter_map(Json::as_object) {
        let (found, expected) = (outcome(case, &world), text(case, "expected"));
        if found != expected {
            wrong.push(format!("{}\n    expected {expected}, found {found}", text(case, "expression")));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

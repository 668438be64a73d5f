//! What an evaluation ends with: names and absence, logic, parts, reads, limits of values.

use super::{World, condition, members, outcome, shown};
use crate::decision::condition::{Compiled, Reads};
use crate::domain::{Condition, Json, ParameterType};

#[test]
fn names_read_the_inputs() {
    for expression in [
        "principal.id == '00000000-0000-0000-0000-00000000000a'",
        "resource.attributes.owner == principal.id",
        "principal.type == 'user' && resource.type == 'spv'",
        "principal.external_id == 'emp-7' && !has(resource.external_id)",
        "action.name == 'document:download'",
        "principal['type'] == 'user' && principal.attributes['office']['city'] == 'Berlin'",
        "principal.effective.clearance == 5 && principal.effective.name == 'Ada' \
         && principal.effective.device == 'phone'",
        "size(principal.effective) == 8 && 'device' in principal.effective && 'tags' in principal.effective",
        "principal.attributes.clearance >= resource.attributes.level",
        "now == timestamp('2026-03-01T12:00:00Z')",
        "principal.attributes.tags[1] == 'b' && principal.attributes.tags[1.0] == 'b'",
        "principal.attributes.none == null && has(principal.attributes.none)",
        "size(action.properties) == 0",
    ] {
        assert_eq!(outcome(expression), "true", "{expression}");
    }
}

#[test]
fn an_absent_name_is_missing_with_its_full_name() {
    for (expression, expected) in [
        ("principal.attributes.grade == 1", "missing principal.attributes.grade"),
        ("principal.attributes.office.floor == 1", "missing principal.attributes.office.floor"),
        ("principal.attributes.home.city == 'x'", "missing principal.attributes.home"),
        ("principal.attributes['a b'] == 1", "missing principal.attributes[\"a b\"]"),
        ("principal.attributes[principal.external_id] == 1", "missing principal.attributes[\"emp-7\"]"),
        (
            "principal.attributes[principal.attributes.name].x[principal.external_id] == 1",
            "missing principal.attributes.Ada",
        ),
        ("principal.attributes.office[principal.external_id].x == 1", "missing principal.attributes.office[\"emp-7\"]"),
        ("principal.attributes[resource.attributes.level] == 1", "missing principal.attributes[…]"),
        ("principal.attributes[principal.attributes.name] == 1", "missing principal.attributes.Ada"),
        ("resource.external_id == 'x'", "missing resource.external_id"),
        ("resource.effective.x == resource.properties.y", "missing resource.effective.x resource.properties.y"),
        ("action.properties.x == 1", "missing action.properties.x"),
        ("has(principal.attributes.home.city)", "missing principal.attributes.home"),
        ("has(principal.attributes.home)", "false"),
        ("has(principal.attributes.name.first)", "error no_such_overload"),
        ("has(principal.id) && has(action.name)", "true"),
        ("{'a': 1}.b == 1", "error no_such_key"),
        ("{'a': 1}['b'] == 1", "error no_such_key"),
        ("principal.attributes.tags[2] == 'c'", "error index_out_of_bounds"),
        ("principal.attributes.tags[-1] == 'c'", "error index_out_of_bounds"),
        ("resource.attributes.big > 1", "error overflow"),
    ] {
        assert_eq!(outcome(expression), expected, "{expression}");
    }
}

#[test]
fn what_decides_absorbs_what_fails_in_any_order() {
    let (missing, error) = ("principal.attributes.x", "1/0 == 1");
    for (expression, expected) in [
        (format!("{missing} && false"), "false"),
        (format!("false && {missing}"), "false"),
        (format!("{error} || true"), "true"),
        (format!("true || {error}"), "true"),
        (format!("{missing} && {error}"), "error division_by_zero"),
        (format!("{error} && {missing}"), "error division_by_zero"),
        (format!("{missing} || {error} || false"), "error division_by_zero"),
        (
            format!("{missing} && true && principal.attributes.y"),
            "missing principal.attributes.x principal.attributes.y",
        ),
        (format!("{missing} == principal.attributes.y"), "missing principal.attributes.x principal.attributes.y"),
        (format!("{missing} in [principal.attributes.y, 1/0]"), "error division_by_zero"),
        (format!("[{missing}, principal.attributes.y] == []"), "missing principal.attributes.x principal.attributes.y"),
        (format!("!({missing})"), "missing principal.attributes.x"),
        (format!("true ? false : {missing}"), "false"),
        (format!("{missing} ? true : true"), "missing principal.attributes.x"),
        ("principal.attributes.name && false".into(), "false"),
        ("principal.attributes.name && true".into(), "error no_such_overload"),
        ("principal.attributes.name".into(), "error no_such_overload"),
    ] {
        assert_eq!(outcome(&expression), expected, "{expression}");
    }
}

#[test]
fn a_parameter_has_its_declared_type_or_the_caller_is_wrong() {
    let of = |parameter_type: &str, context: &str, expression: &str| {
        let condition = condition(expression, &format!(r#"{{"x":"{parameter_type}"}}"#));
        shown(&World::new().with_context(context).evaluate(&condition).outcome)
    };
    for (parameter_type, value, expression) in [
        ("bool", "true", "context.x"),
        ("int", "-5", "context.x == -5"),
        ("double", "5", "context.x + 0.5 == 5.5"),
        ("double", "2.5", "context.x == 2.5"),
        ("double", "18446744073709551615", "context.x > 1e19"),
        ("string", "\"é\"", "size(context.x) == 1"),
        ("timestamp", "\"2026-03-01T13:00:00+01:00\"", "context.x == now"),
        ("duration", "\"-90m\"", "context.x == duration('-1h30m')"),
        ("ip", "\"::ffff:10.0.0.1\"", "context.x == ip('10.0.0.1') && inCidr(context.x, '10.0.0.0/8')"),
        ("list<string>", "[\"a\",\"b\"]", "'b' in context.x && size(context.x) == 2"),
    ] {
        assert_eq!(of(parameter_type, &format!(r#"{{"x":{value}}}"#), expression), "true", "{expression}");
        assert_eq!(of(parameter_type, "{}", "has(context.x)"), "false");
        assert_eq!(of(parameter_type, r#"{"x":null}"#, "has(context.x)"), "false");
        assert_eq!(of(parameter_type, "{}", "context.x == context.x"), "missing context.x");
    }
    for (parameter_type, value) in [
        ("bool", "\"true\""),
        ("int", "5.0"),
        ("int", "\"5\""),
        ("int", "9223372036854775808"),
        ("double", "\"5\""),
        ("string", "5"),
        ("timestamp", "\"2026-03-01\""),
        ("timestamp", "1772366400"),
        ("duration", "\"1d\""),
        ("ip", "\"10.0.0\""),
        ("list<string>", "\"a\""),
        ("list<string>", "[\"a\",1]"),
        ("bool", "{}"),
    ] {
        // Also when the expression does not need the parameter.
        let context = format!(r#"{{"x":{value}}}"#);
        assert_eq!(of(parameter_type, &context, "true"), format!("wrong_type x {parameter_type}"), "{value}");
    }
    assert_eq!(of("int", r#"{"y":"ignored"}"#, "!has(context.x)"), "true");
    let two = condition("context.a == context.b", r#"{"a":"int","b":"int","c":"bool"}"#);
    let world = World::new().with_context(r#"{"a":"1","b":2,"c":"true"}"#);
    assert_eq!(shown(&world.evaluate(&two).outcome), "wrong_type a int c bool");
}

#[test]
fn parts_are_the_operands_of_the_outermost_operator() {
    let parts = |expression: &str| {
        let compiled = Compiled::new(&condition(expression, "{}")).unwrap();
        let parts = compiled.parts(&World::new().inputs());
        parts.iter().map(|part| format!("{} -> {}", part.text, shown(&part.value))).collect::<Vec<_>>()
    };
    assert_eq!(
        parts(
            " (1 + 1) * 2 == 4 && ( false || 'é' == 'é' ) && principal.attributes.x /* no */"
                .trim_end_matches(" /* no */")
        ),
        [
            "(1 + 1) * 2 == 4 -> true",
            "( false || 'é' == 'é' ) -> true",
            "principal.attributes.x -> missing principal.attributes.x"
        ]
    );
    assert_eq!(parts("1 == 2 || 1/0 == 1"), ["1 == 2 -> false", "1/0 == 1 -> error division_by_zero"]);
    assert_eq!(parts("1 == 1"), ["1 == 1 -> true"]);
}

#[test]
fn reads_names_what_an_outcome_depends_on() {
    let reads = |expression: &str| {
        Compiled::new(&Condition::new(expression).parameter("x", ParameterType::Int)).unwrap().reads()
    };
    let none = Reads::default();
    assert_eq!(reads("principal.id == resource.id && action.name == 'a'"), Reads { resource_identity: true, ..none });
    assert_eq!(reads("context.x == 1"), Reads { context: true, ..none });
    assert_eq!(reads("has(context.x)"), Reads { context: true, ..none });
    assert_eq!(reads("now == now"), Reads { now: true, ..none });
    assert_eq!(reads("has(principal.external_id)"), Reads { principal_external_id: true, ..none });
    assert_eq!(reads("principal.attributes.a == 1"), Reads { principal_attributes: true, ..none });
    let both = Reads { resource_attributes: true, resource_properties: true, ..none };
    assert_eq!(reads("has(resource.effective.a)"), both);
    for of_identity in ["resource.id == 'a'", "resource.type == 'spv'"] {
        assert_eq!(reads(of_identity), Reads { resource_identity: true, ..none });
    }
    assert_eq!(reads("principal.type == action.name"), none);
    let of_resource = ["resource.id == 'a'", "has(resource.external_id)", "resource.effective.a == 1"];
    assert!(of_resource.into_iter().all(|text| reads(text).resource()));
    assert!(!reads("context.x == 1 && principal.effective.a == 1 && now == now").resource());
    assert_eq!(reads("has(action.properties.a)"), Reads { action_properties: true, ..none });
}

/// If a name evaluated its index again, each level would evaluate the one below it twice.
#[test]
fn nested_names_that_are_missing_cost_no_more_than_their_text() {
    let levels = 15;
    let expression = format!("{}true{} == 1", "action.properties[".repeat(levels), " || true]".repeat(levels));
    let begin = std::time::Instant::now();
    for _ in 0..100 {
        assert_eq!(outcome(&expression), "missing action.properties[…]");
    }
    assert!(begin.elapsed().as_secs() < 2, "{:?}", begin.elapsed());
}

#[test]
fn no_value_makes_an_operation_slow() {
    let list = |items: usize| Json::List(vec![Json::Int(1); items]);
    let with = |value: Json, expression: &str| {
        let mut world = World::new();
        std::sync::Arc::make_mut(&mut world.principal.attributes).insert("x".into(), value);
        shown(&world.evaluate(&condition(expression, "{}")).outcome)
    };
    assert_eq!(with(list(1_000), "2 in principal.attributes.x"), "false");
    assert_eq!(with(list(1_001), "2 in principal.attributes.x"), "error too_large");
    assert_eq!(with(list(1_001), "1 in principal.attributes.x"), "true");
    assert_eq!(with(list(1_001), "principal.attributes.x == principal.attributes.x"), "error too_large");
    assert_eq!(with(list(5_000), "size(principal.attributes.x) == 5000"), "true");
    let long = Json::Text("a".repeat(16 * 1024 + 1));
    assert_eq!(with(long.clone(), "principal.attributes.x.contains('b')"), "error too_large");
    assert_eq!(with(long.clone(), "size(principal.attributes.x) > 0"), "error too_large");
    assert_eq!(with(long, "principal.attributes.x.startsWith('a')"), "true");
}

#[test]
fn a_member_that_hides_an_attribute_counts_once() {
    let mut world = World::new();
    world.properties[1] = members(r#"{"level":2,"owner":null}"#);
    let expression = "resource.effective == {'level': 2, 'owner': null, 'big': resource.effective.level} || \
                      size(resource.effective) == 3";
    assert_eq!(shown(&world.evaluate(&condition(expression, "{}")).outcome), "true");
}

#[test]
fn a_null_that_is_sent_hides_no_attribute() {
    let mut world = World::new();
    world.properties[1] = members(r#"{"level":null,"floor":null}"#);
    for expression in [
        "resource.effective.level == 2 && resource.effective['level'] == 2",
        "resource.effective.floor == null && resource.properties.level == null",
        "size(resource.effective) == 4",
    ] {
        assert_eq!(shown(&world.evaluate(&condition(expression, "{}")).outcome), "true", "{expression}");
    }
}

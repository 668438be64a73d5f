//! The cost of a condition: `cargo test --release -p epr-core --lib condition::tests::cost -- --ignored --nocapture`.

use std::hint::black_box;
use std::time::Instant;

use super::{World, condition};
use crate::decision::condition::Compiled;
use crate::domain::Json;

const RUNS: u32 = 200_000;

/// Nanoseconds of one call, the best of several series: another program may use the machine.
fn nanos(mut work: impl FnMut()) -> u128 {
    let series = (0..7).map(|_| {
        let begin = Instant::now();
        for _ in 0..RUNS / 7 {
            work();
        }
        begin.elapsed().as_nanos() / u128::from(RUNS / 7)
    });
    series.min().unwrap()
}

#[test]
#[ignore = "a measurement"]
fn cost_of_compiling_and_evaluating() {
    let mut world =
        World::new().with_context(r#"{"n":9500,"from":"10.1.2.3","midnight":"2026-03-01T00:00:00Z","s":"DE"}"#);
    let many = Json::List(vec![Json::Int(1); 1_000]);
    std::sync::Arc::make_mut(&mut world.resource.attributes).insert("many".into(), many);
    let nested = format!("{}true{} == 1", "action.properties[".repeat(15), " || true]".repeat(15));
    let parameters = r#"{"n":"int","from":"ip","midnight":"timestamp","s":"string"}"#;
    for (what, parameters, expression) in [
        ("a constant", "{}", "true"),
        ("one parameter", r#"{"n":"int"}"#, "context.n <= 10000"),
        ("two attributes", "{}", "principal.attributes.clearance >= resource.attributes.level"),
        (
            "a network",
            r#"{"from":"ip"}"#,
            "inCidr(context.from, '10.0.0.0/8') || inCidr(context.from, '2001:db8::/32')",
        ),
        (
            "hours",
            r#"{"midnight":"timestamp"}"#,
            "now - context.midnight >= duration('9h') && now - context.midnight < duration('17h')",
        ),
        ("a list of 1000 items", "{}", "2 in resource.attributes.many"),
        ("a missing name", "{}", "resource.attributes.absent == 1"),
        ("15 nested names that are missing", "{}", nested.as_str()),
        (
            "all of it",
            parameters,
            "context.n <= 10000 && context.s in ['DE', 'AT'] && inCidr(context.from, '10.0.0.0/8') && \
            now - context.midnight < duration('17h') && principal.attributes.clearance >= resource.attributes.level",
        ),
    ] {
        let condition = condition(expression, parameters);
        let compile = nanos(|| drop(black_box(Compiled::new(black_box(&condition)))));
        let compiled = Compiled::new(&condition).unwrap();
        let inputs = world.inputs();
        let evaluate = nanos(|| drop(black_box(compiled.evaluate(black_box(&inputs)))));
        println!("{what}: compile {compile} ns, evaluate {evaluate} ns");
    }
}

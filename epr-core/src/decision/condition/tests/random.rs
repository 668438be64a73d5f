//! Random expressions of the dialect: mostly well-typed, often about times close to `now`.

use std::fmt::Write as _;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::{World, condition};
use crate::domain::Condition;

/// The parameters of every random expression.
const PARAMETERS: &str = r#"{"n":"int","at":"timestamp","span":"duration","tags":"list<string>","yes":"bool"}"#;

/// A source of random expressions and contexts.
pub(super) struct Source(pub(super) SmallRng);

/// The seed of this run: `EPR_TEST_SEED`, or a random one, which is printed.
pub(super) fn seed() -> u64 {
    let given = std::env::var("EPR_TEST_SEED").ok();
    let seed = given.map_or_else(rand::random, |given| given.parse().expect("EPR_TEST_SEED is a whole number"));
    println!("EPR_TEST_SEED={seed}");
    seed
}

impl Source {
    pub(super) fn new(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0.random_range(0..bound)
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// The usual world with a random context, in which parameters can be absent.
    pub(super) fn world(&mut self) -> World {
        let mut text = String::from("{");
        for (name, values) in [
            ("n", ["0", "1", "-7"]),
            ("at", ["\"2026-03-01T12:00:00.000002Z\"", "\"2026-03-01T11:59:59.9999985Z\"", "\"2026-03-01T12:00:00Z\""]),
            ("span", ["\"3us\"", "\"-2500ns\"", "\"0s\""]),
            ("tags", ["[]", "[\"a\"]", "[\"a\",\"b\"]"]),
            ("yes", ["true", "false", "null"]),
        ] {
            if self.below(4) > 0 {
                let comma = if text.len() > 1 { "," } else { "" };
                let _ = write!(text, "{comma}\"{name}\":{}", self.pick(&values));
            }
        }
        World::new().with_context(&format!("{text}}}"))
    }

    pub(super) fn condition(&mut self, levels: usize) -> Condition {
        loop {
            let expression = self.truth(levels);
            if expression.len() <= 1024 {
                return condition(&expression, PARAMETERS);
            }
        }
    }

    fn truth(&mut self, levels: usize) -> String {
        if levels == 0 {
            return self
                .pick(&[
                    "true",
                    "false",
                    "context.yes",
                    "has(context.n)",
                    "principal.attributes.zz",
                    "has(resource.attributes.level)",
                ])
                .into();
        }
        let next = levels - 1;
        let compare = ["<", "<=", ">", ">=", "==", "!="];
        match self.below(12) {
            0 => format!("({} && {})", self.truth(next), self.truth(next)),
            1 => format!("({} || {})", self.truth(next), self.truth(next)),
            2 => format!("!({})", self.truth(next)),
            3 => format!("({} ? {} : {})", self.truth(next), self.truth(next), self.truth(next)),
            4..=7 => format!("{} {} {}", self.time(next), self.pick(&compare), self.time(next)),
            8 => format!("{} {} {}", self.span(next), self.pick(&compare), self.span(next)),
            9 => format!("{} in [{}, {}]", self.time(next), self.time(next), self.time(next)),
            10 => format!("{} {} {}", self.number(next), self.pick(&compare), self.number(next)),
            _ => format!("{{'a': {}}} == {{'a': {}}}", self.time(next), self.time(next)),
        }
    }

    fn time(&mut self, levels: usize) -> String {
        if levels == 0 || self.below(3) == 0 {
            return self
                .pick(&[
                    "now",
                    "now",
                    "context.at",
                    "timestamp('2026-03-01T12:00:00Z')",
                    "timestamp('2026-03-01T12:00:00.000005Z')",
                    "timestamp('2026-03-01T12:00:00.0000034Z')",
                    "timestamp('9999-12-31T23:59:59.999999Z')",
                    "timestamp(principal.attributes.t)",
                ])
                .into();
        }
        let next = levels - 1;
        match self.below(4) {
            0 | 1 => format!("({} + {})", self.time(next), self.span(next)),
            2 => format!("({} - {})", self.time(next), self.span(next)),
            _ => format!("({} ? {} : {})", self.truth(next), self.time(next), self.time(next)),
        }
    }

    fn span(&mut self, levels: usize) -> String {
        if levels == 0 || self.below(3) == 0 {
            return self
                .pick(&[
                    "context.span",
                    "duration('0s')",
                    "duration('4us')",
                    "duration('-2us')",
                    "duration('1500ns')",
                    "duration('9223372036854774807ns')",
                    "duration('2562047h')",
                    "(timestamp('9999-12-31T23:59:59.999995Z') - timestamp('9999-12-31T23:59:59Z'))",
                ])
                .into();
        }
        let next = levels - 1;
        match self.below(4) {
            0 | 1 => format!("({} - {})", self.time(next), self.time(next)),
            2 => format!("({} + {})", self.span(next), self.span(next)),
            _ => format!("({} - {})", self.span(next), self.span(next)),
        }
    }

    fn number(&mut self, levels: usize) -> String {
        if levels == 0 {
            return self
                .pick(&[
                    "0",
                    "1",
                    "context.n",
                    "size(context.tags)",
                    "principal.attributes.clearance",
                    "9223372036854775807",
                ])
                .into();
        }
        let operator = self.pick(&["+", "-", "*", "/", "%"]);
        format!("({} {operator} {})", self.number(levels - 1), self.number(levels - 1))
    }
}

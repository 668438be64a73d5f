//! Seeded randomness: each test prints its seed, and `EPR_TEST_SEED` repeats a run.

use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// A random generator for `test`, whose seed is printed to standard output.
#[must_use]
pub fn rng(test: &str) -> StdRng {
    let seed = match std::env::var("EPR_TEST_SEED") {
        Ok(given) => given.parse().unwrap_or_else(|_| panic!("EPR_TEST_SEED is `{given}`; allowed: a whole number")),
        Err(_) => rand::random(),
    };
    println!("{test}: EPR_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

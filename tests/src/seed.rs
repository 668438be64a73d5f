//! Seeded randomness: the seed is printed, and can be given back by `EPR_TEST_SEED`.

use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// A generator whose seed is on standard output.
#[must_use]
pub fn rng(test: &str) -> StdRng {
    let seed = match std::env::var("EPR_TEST_SEED") {
        Ok(given) => given.parse().unwrap_or_else(|_| panic!("EPR_TEST_SEED is `{given}`; allowed: a whole number")),
        Err(_) => rand::random(),
    };
    println!("{test}: EPR_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

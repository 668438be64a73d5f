//! Reads values from the text of `/metrics`.

/// The sum of the samples in `text` whose line starts with `name`.
///
/// # Panics
/// When a value is not a whole number.
#[must_use]
pub fn sum(text: &str, name: &str) -> u64 {
    let values = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit_once(' '));
    values.map(|(_, value)| value.parse::<u64>().expect("a whole number")).sum()
}

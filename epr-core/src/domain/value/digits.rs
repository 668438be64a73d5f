//! Decimal digits with leading zeros, written without the formatter: times and revisions are in every answer and every
//! line of the log. Must never write a sign or a separator.

/// Fills `place` with the last digits of `number`.
pub(super) fn write_digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
}

//! Doubles in the canonical form, and the form in which an earlier version wrote some of them.
//!
//! Owns the choice of digits: the shortest that read back to the same double; of two shortest ones the nearer; on a tie
//! the even last digit. Pure. Must never change the form of a double: hashes depend on it.

use std::fmt::Write as _;

use crate::domain::json::{number_length, string_length};

/// Appends `number`: with a point from 1e-4 up to below 1e16, else with an exponent of at least two digits and its
/// sign.
pub(super) fn write(number: f64, out: &mut String) {
    let mut buffer = zmij::Buffer::new();
    let shortest = buffer.format_finite(number);
    let (sign, unsigned) = shortest.strip_prefix('-').map_or(("", shortest), |rest| ("-", rest));
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let written = format!("{whole}{fraction}");
    // The number is 0.DIGITS times ten to the power of `point`.
    let leading = written.len() - written.trim_start_matches('0').len();
    let digits = written.trim_matches('0');
    let offset = |length: usize| i32::try_from(length).unwrap_or(0);
    let point = offset(whole.len()) - offset(leading) + exponent.parse::<i32>().unwrap_or(0);
    out.push_str(sign);
    match digits.len() {
        0 => out.push_str("0.0"),
        length if (-3..=16).contains(&point) => plain(digits, length, point, out),
        _ => {
            let (first, rest) = digits.split_at(1);
            out.push_str(first);
            if !rest.is_empty() {
                out.push('.');
                out.push_str(rest);
            }
            let exponent = point - 1;
            let sign = if exponent < 0 { '-' } else { '+' };
            let _ = write!(out, "e{sign}{:02}", exponent.unsigned_abs());
        }
    }
}

/// Appends `digits` with the decimal point after the first `point` of them.
fn plain(digits: &str, length: usize, point: i32, out: &mut String) {
    let zeros = |count: usize| std::iter::repeat_n('0', count);
    match usize::try_from(point) {
        Ok(point) if point >= length => {
            out.push_str(digits);
            out.extend(zeros(point - length));
            out.push_str(".0");
        }
        Ok(point) if point > 0 => {
            let (whole, fraction) = digits.split_at(point);
            out.push_str(whole);
            out.push('.');
            out.push_str(fraction);
        }
        _ => {
            out.push_str("0.");
            out.extend(zeros(usize::try_from(-point).unwrap_or(0)));
            out.push_str(digits);
        }
    }
}

/// `details` as the earlier version wrote them, if that differs: that version rounded a tie between two shortest forms
/// up.
#[must_use]
pub fn former(details: &str) -> Option<String> {
    rewritten(details, Form::Canonical)
}

/// Whether `details` hold a number in the form of the earlier version that is not the canonical form.
#[must_use]
pub fn holds_former(details: &str) -> bool {
    rewritten(details, Form::Former).is_some()
}

/// The two forms of a tie: the canonical one ends in an even digit, the former one in the odd digit after it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Canonical,
    Former,
}

/// Returns `details` with every tie in this form rewritten in the other one; `None` without such a number.
fn rewritten(details: &str, from: Form) -> Option<String> {
    let bytes = details.as_bytes();
    if !may_hold_a_tie(bytes) {
        return None;
    }
    let mut out: Option<String> = None;
    let mut copied = 0;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let rest = bytes.get(at..).unwrap_or_default();
        match byte {
            b'"' => at += string_length(rest),
            b'-' | b'0'..=b'9' => {
                let end = at + number_length(rest);
                let other = details.get(at..end).and_then(|token| other_form(token, from));
                if let Some(other) = other {
                    let out = out.get_or_insert_with(|| String::with_capacity(details.len()));
                    out.push_str(details.get(copied..at).unwrap_or_default());
                    out.push_str(&other);
                    copied = end;
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    let mut out = out?;
    out.push_str(details.get(copied..).unwrap_or_default());
    Some(out)
}

/// The smallest number of digits of a tie: two decimal numbers of up to 15 digits never read back to the same double.
const MIN_TIE_DIGITS: usize = 16;

/// Whether a point in the text has enough digits around it for a tie. This check is quick and excludes nearly every
/// text; verification calls it for all details.
fn may_hold_a_tie(bytes: &[u8]) -> bool {
    let points = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at);
    let run = |bytes: &mut dyn Iterator<Item = &u8>| bytes.take_while(|byte| byte.is_ascii_digit()).count();
    points.into_iter().any(|at| {
        let before = run(&mut bytes.iter().take(at).rev());
        before > 0 && before + run(&mut bytes.iter().skip(at + 1)) >= MIN_TIE_DIGITS
    })
}

/// The other form of `token`, if it is the `from` form of a double in the middle between two shortest forms.
///
/// With N the digits of the token as an integer and q the power of ten of its last digit, the middle is (N + 1/2)·10^q.
/// A double is there only when q = -k is negative and 5^k divides 2N + 1; it is then ((2N + 1) / 5^k) / 2^(k + 1),
/// which takes k ≤ 24 for numbers of at most 17 digits.
fn other_form(token: &str, from: Form) -> Option<String> {
    let mantissa_end = token.find(['e', 'E']).unwrap_or(token.len());
    let (mantissa, exponent) = token.split_at(mantissa_end);
    let (_, decimals) = mantissa.split_once('.')?;
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let number: u64 = digits.parse().ok()?;
    let exponent: i64 = exponent.get(1..).filter(|exponent| !exponent.is_empty()).unwrap_or("0").parse().ok()?;
    let k = u32::try_from(i64::try_from(decimals.len()).ok()? - exponent).ok().filter(|k| (1..=24).contains(k))?;

    let (doubled_middle, other) = match (from, number % 10) {
        (Form::Canonical, 2 | 4 | 6 | 8) => (number.checked_mul(2)?.checked_add(1)?, number + 1),
        (Form::Former, 3 | 5 | 7 | 9) => (number.checked_mul(2)?.checked_sub(1)?, number - 1),
        _ => return None,
    };
    let fives = 5_u64.pow(k);
    let odd = (doubled_middle % fives == 0).then_some(doubled_middle / fives)?;
    // Exact: both are below 2^53.
    #[expect(clippy::cast_precision_loss, reason = "compared with the largest exact integer first")]
    let middle = (odd < 1 << f64::MANTISSA_DIGITS).then(|| odd as f64 / (1_u64 << (k + 1)) as f64)?;

    let last = mantissa_end - 1;
    let other = format!("{}{}{}", token.get(..last)?, other % 10, token.get(mantissa_end..)?);
    let middle = if token.starts_with('-') { -middle } else { middle };
    let reads_back = |form: &str| form.parse::<f64>().is_ok_and(|read| read.to_bits() == middle.to_bits());
    let mut canonical = String::new();
    write(middle, &mut canonical);
    let is_canonical = canonical == if from == Form::Canonical { token } else { &other };
    (reads_back(token) && reads_back(&other) && is_canonical).then_some(other)
}

#[cfg(test)]
#[expect(clippy::excessive_precision, reason = "the lint rounds these very ties up")]
mod tests {
    use super::*;

    fn written(number: f64) -> String {
        let mut out = String::new();
        write(number, &mut out);
        out
    }

    /// Returns the number in the form of the earlier version.
    fn written_before(number: f64) -> String {
        let scientific = format!("{number:e}");
        let (mantissa, exponent) = scientific.split_once('e').unwrap();
        let exponent: i32 = exponent.parse().unwrap();
        if number != 0.0 && !(-4..16).contains(&exponent) {
            let sign = if exponent < 0 { '-' } else { '+' };
            return format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs());
        }
        let plain = number.to_string();
        if plain.contains('.') { plain } else { plain + ".0" }
    }

    #[test]
    fn numbers_as_the_contract_writes_them() {
        for (number, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-10.5, "-10.5"),
            (0.1, "0.1"),
            (1e-4, "0.0001"),
            (9.999e-5, "9.999e-05"),
            (1e-5, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e15, "1000000000000000.0"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (1e16, "1e+16"),
            (1.25e100, "1.25e+100"),
            (-5e-324, "-5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (1.0 / 3.0, "0.3333333333333333"),
            (1_767_322_800_123_456.25, "1767322800123456.2"),
            (1_767_322_800_123_456.75, "1767322800123456.8"),
            (-1_125_899_906_842_624.25, "-1125899906842624.2"),
            (562_949_953_421_313.25, "562949953421313.2"),
            (140_737_488_355_329.125, "140737488355329.12"),
            (17.0 / 8_388_608.0, "2.0265579223632812e-06"),
        ] {
            assert_eq!(written(number), expected);
            assert_eq!(written(number).parse::<f64>().unwrap().to_bits(), number.to_bits());
        }
    }

    /// Doubles of several kinds, among them every kind of tie: an odd number over a power of two.
    fn doubles(random: &mut rand::rngs::StdRng, count: u32) -> Vec<f64> {
        use rand::Rng as _;
        (0..count)
            .map(|at| match at % 8 {
                0 => f64::from_bits(random.random()),
                1 => random.random_range(1e14..1e16),
                // time.time() * 1e6
                2 => random.random_range(1.5e9..2.0e9) * 1e6,
                3 => f64::from_bits(random.random_range(0..1 << f64::MANTISSA_DIGITS)),
                #[expect(clippy::cast_precision_loss, reason = "integers as doubles")]
                4 => random.random::<i64>().wrapping_shr(random.random_range(0..64)) as f64,
                5 => random.random_range(-1.0..1.0),
                6 => random.random_range(-2_251_799_813_685_248.0..-1_125_899_906_842_624.0),
                #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
                _ => {
                    let odd = (random.random_range(0..1_u64 << 53) >> random.random_range(0..53)) | 1;
                    odd as f64 / 2_f64.powi(random.random_range(1..70))
                }
            })
            .filter(|number| number.is_finite())
            .collect()
    }

    fn seeded() -> rand::rngs::StdRng {
        use rand::SeedableRng as _;
        let seed: u64 = rand::random();
        println!("seed {seed}");
        rand::rngs::StdRng::seed_from_u64(seed)
    }

    #[test]
    fn the_earlier_form_differs_for_exactly_the_ties() {
        let mut ties = 0;
        for number in doubles(&mut seeded(), 400_000) {
            let (now, before) = (written(number), written_before(number));
            assert_eq!(now.parse::<f64>().unwrap().to_bits(), number.to_bits());
            assert_eq!(former(&now).unwrap_or_else(|| now.clone()), before, "{number:?}");
            assert_eq!(holds_former(&before), now != before, "{number:?}");
            ties += u32::from(now != before);
        }
        assert!(ties > 10_000, "{ties} ties");
    }

    /// The oldest implementation wrote numbers by Python's `repr`, which is the contract's rule.
    #[test]
    fn a_million_doubles_are_written_as_python_writes_them() {
        use std::io::Write as _;
        use std::process::{Command, Stdio};
        const PROGRAM: &str = "import struct, sys\n\
            data = sys.stdin.buffer.read()\n\
            sys.stdout.write('\\n'.join(repr(number) for (number,) in struct.iter_unpack('<d', data)))";
        let numbers = doubles(&mut seeded(), 1_000_000);
        let mut python = Command::new("python3")
            .args(["-c", PROGRAM])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3, which this test compares with");
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        // The program reads everything before it writes.
        python.stdin.take().unwrap().write_all(&bytes).unwrap();
        let output = python.wait_with_output().unwrap();
        assert!(output.status.success());
        let expected = String::from_utf8(output.stdout).unwrap();
        let mut compared = 0;
        for (number, expected) in numbers.iter().zip(expected.lines()) {
            assert_eq!(written(*number), expected);
            compared += 1;
        }
        assert_eq!(compared, numbers.len());
    }

    #[test]
    fn numbers_are_found_between_other_members_and_never_in_text() {
        let details = concat!(
            r#"{"a\"1767322800123456.2":"1767322800123456.2","#,
            r#""b":[1767322800123456.2,-1767322800123456.2,1.2,1767322800123455.2]}"#
        );
        let before = concat!(
            r#"{"a\"1767322800123456.2":"1767322800123456.2","#,
            r#""b":[1767322800123456.3,-1767322800123456.3,1.2,1767322800123455.3]}"#
        );
        assert_eq!(former(details).as_deref(), Some(before));
        assert!(holds_former(before) && !holds_former(details));
        assert_eq!(former(r#"{"a":".2","b":1.2}"#), None);
    }
}

//! Amounts in Kubernetes' grammar (apimachinery `resource.Quantity`): `500m`, `0.5`, `2`, `64Mi`, `128M`, `1e3`.

/// Why a quantity was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// It does not follow the grammar.
    #[error("{0:?} is not a quantity: write cores as 500m, 0.5 or 2, bytes as 64Mi, 1Gi or 128M")]
    Syntax(String),
    /// It is negative or too large.
    #[error("{0:?} is out of range: it must be from 0 to {1}")]
    Range(String, i64),
}

/// Most cores that a quantity may name, in thousandths: a million cores.
const MAX_CPU_MILLIS: i64 = 1_000_000_000;
/// Most bytes that a quantity may name: a pebibyte.
const MAX_BYTES: i64 = 1 << 50;

/// Reads cores as thousandths of a core, rounded up.
///
/// # Errors
/// Says what is wrong and what would be right.
pub fn cpu_millis(text: &str) -> Result<i64, QuantityError> {
    scaled(text, 1000, MAX_CPU_MILLIS)
}

/// Reads bytes, rounded up.
///
/// # Errors
/// Says what is wrong and what would be right.
pub fn bytes(text: &str) -> Result<i64, QuantityError> {
    scaled(text, 1, MAX_BYTES)
}

/// Writes thousandths of a core in the shortest form.
#[must_use]
pub fn format_cpu(millis: i64) -> String {
    if millis % 1000 == 0 {
        format!("{}", millis / 1000)
    } else {
        format!("{millis}m")
    }
}

/// Writes bytes with the largest binary suffix that loses nothing.
#[must_use]
pub fn format_bytes(bytes: i64) -> String {
    let units = [
        (1i64 << 40, "Ti"),
        (1 << 30, "Gi"),
        (1 << 20, "Mi"),
        (1 << 10, "Ki"),
    ];
    units
        .iter()
        .find(|(size, _)| bytes != 0 && bytes % size == 0)
        .map_or_else(
            || bytes.to_string(),
            |(size, unit)| format!("{}{unit}", bytes / size),
        )
}

fn scaled(text: &str, unit: i128, max: i64) -> Result<i64, QuantityError> {
    let syntax = || QuantityError::Syntax(text.chars().take(40).collect());
    if text.len() > 40 {
        return Err(syntax());
    }
    let split = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || fraction.len() > 9 {
        return Err(if text.starts_with('-') {
            QuantityError::Range(text.to_owned(), max)
        } else {
            syntax()
        });
    }
    let (times, divide) = factor(suffix).ok_or_else(syntax)?;
    let digits: i128 = format!("0{whole}{fraction}")
        .parse()
        .map_err(|_| syntax())?;
    let divisor = 10i128.pow(u32::try_from(fraction.len()).unwrap_or(0)) * divide;
    let range = || QuantityError::Range(text.to_owned(), max);
    let scaled = digits
        .checked_mul(times)
        .and_then(|n| n.checked_mul(unit))
        .ok_or_else(range)?;
    let value = scaled.checked_add(divisor - 1).ok_or_else(range)? / divisor;
    i64::try_from(value)
        .ok()
        .filter(|value| *value <= max)
        .ok_or_else(range)
}

/// Multiplier and divisor of a suffix.
fn factor(suffix: &str) -> Option<(i128, i128)> {
    let power = |base: i128, n: u32| Some((base.pow(n), 1));
    match suffix {
        "" => Some((1, 1)),
        "m" => Some((1, 1000)),
        "k" => power(1000, 1),
        "M" => power(1000, 2),
        "G" => power(1000, 3),
        "T" => power(1000, 4),
        "P" => power(1000, 5),
        "Ki" => power(1024, 1),
        "Mi" => power(1024, 2),
        "Gi" => power(1024, 3),
        "Ti" => power(1024, 4),
        "Pi" => power(1024, 5),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let digits = exponent.strip_prefix('+').unwrap_or(exponent);
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            plain
                .then(|| digits.parse::<u32>().ok())
                .flatten()
                .filter(|n| *n <= 15)
                .and_then(|n| power(10, n))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_grammar() {
        for (text, millis) in [
            ("500m", 500),
            ("0.5", 500),
            ("2", 2000),
            ("1e1", 10_000),
            ("1.0005", 1001),
            (".5", 500),
            ("0", 0),
            ("1m", 1),
            ("1.", 1000),
        ] {
            assert_eq!(cpu_millis(text), Ok(millis), "{text}");
        }
        for (text, value) in [
            ("64Mi", 64 << 20),
            ("1Gi", 1 << 30),
            ("128M", 128_000_000),
            ("1.5Ki", 1536),
            ("1500m", 2),
            ("7", 7),
        ] {
            assert_eq!(bytes(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "", "m", "Mi", "1.2.3", "1 Gi", "1gi", "0x10", "1e", "1e99", "NaN", "1_000", "1e-3",
            "٣",
        ] {
            assert!(
                matches!(bytes(text), Err(QuantityError::Syntax(_))),
                "{text}"
            );
        }
        for text in ["-1", "9999999Pi", "99999999999999999999999999999"] {
            assert!(
                matches!(bytes(text), Err(QuantityError::Range(..))),
                "{text}"
            );
        }
    }

    #[test]
    fn formats_what_it_reads() {
        for millis in [0, 1, 500, 1000, 1500, 64_000] {
            assert_eq!(cpu_millis(&format_cpu(millis)), Ok(millis));
        }
        for value in [0, 1, 1023, 1024, 64 << 20, 3 << 30, 1_000_000] {
            assert_eq!(bytes(&format_bytes(value)), Ok(value));
        }
    }
}

//! Sizes and times as people write them.

use std::time::Duration;

use crate::time::CENTURY;

/// `64MiB`, `512k`, `1000`: bytes; k, M and G count in 1024 as KiB, MiB and GiB do.
///
/// # Errors
///
/// What is no size; the text says how one is written.
pub fn parse_bytes(text: &str) -> Result<usize, String> {
    let (number, unit) = split(text);
    let factor: usize = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return Err(format!("{text:?} is no size: write 65536, 64KiB, 64MiB or 1GiB")),
    };
    number
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| format!("{text:?} is no size: write 65536, 64KiB, 64MiB or 1GiB"))
}

/// `30s`, `500ms`, `2m`, `1h`, `2.5`: a time; without a unit, seconds.
///
/// # Errors
///
/// What is no time; the text says how one is written.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("{text:?} is no time: write 500ms, 30s, 2m or 1h")),
    };
    let time =
        number.parse::<f64>().ok().and_then(|number| Duration::try_from_secs_f64(number * seconds).ok());
    match time {
        None => Err(format!("{text:?} is no time: write 500ms, 30s, 2m or 1h")),
        Some(time) if time > CENTURY => Err(format!("{text:?} is more than a century")),
        Some(time) => Ok(time),
    }
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number.trim(), unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_bytes("64MiB"), Ok(64 << 20));
        assert_eq!(parse_bytes("512 k"), Ok(512 << 10));
        assert_eq!(parse_bytes("0"), Ok(0));
        for bad in ["", "x", "-1", "1.5M", "10TB", "99999999999999999999", "18446744073709551615k"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2.5"), Ok(Duration::from_millis(2500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("876600h"), Ok(CENTURY));
        for bad in ["", "s", "-1s", "1d", "NaN", "1e300h", "876601h", "10000000000000000000"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}

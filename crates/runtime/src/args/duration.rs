//! Durations as people write them in flags: `500ms`, `60s`, `1h30m`, `2d`.

use std::time::Duration;

/// Reads a duration made of whole numbers with units: `60s`, `5m`, `1h30m`, `500ms`, `2d`.
///
/// # Errors
/// A sentence that quotes the input: it is empty, lacks a unit, has an unknown one or is too large.
pub fn duration(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(format!("empty duration; {ACCEPTED}"));
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let unit_len = after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, after) = after.split_at(unit_len);
        if number.is_empty() {
            return Err(format!("{text:?} is not a duration; {ACCEPTED}"));
        }
        let number: u64 = number
            .parse()
            .map_err(|_overflow| format!("{text:?} is too long a duration; {ACCEPTED}"))?;
        let unit = match unit {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            "d" => Duration::from_secs(86_400),
            "" => return Err(format!("{text:?} has no unit; did you mean \"{text}s\"? {ACCEPTED}")),
            other => return Err(format!("{text:?} has the unknown unit {other:?}; {ACCEPTED}")),
        };
        total = u32::try_from(number)
            .ok()
            .and_then(|number| unit.checked_mul(number))
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| format!("{text:?} is too long a duration; {ACCEPTED}"))?;
        rest = after;
    }
    Ok(total)
}

const ACCEPTED: &str = "write whole numbers with the units ms, s, m, h or d, as in 500ms, 60s, 1h30m or 2d";

//! Durations as Go writes them (`1m30s`, `500ms`), which is how the reference's metadata spells them.

/// Seconds of a Go duration such as `3s`, `1m30s` or `0.5s`; `None` when it is none, or negative.
///
/// Grammar: Go's `time.ParseDuration`, without a sign.
pub fn parse_go(text: &str) -> Option<f64> {
    if text.is_empty() || text.len() > 64 {
        return None;
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, after) = tail.split_at(unit_end);
        let factor = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    Some(seconds)
}

#[cfg(test)]
mod tests {
    use super::parse_go;

    #[test]
    fn go_durations_become_seconds() {
        for (text, seconds) in [
            ("3s", Some(3.0)),
            ("1m30s", Some(90.0)),
            ("0.5s", Some(0.5)),
            ("1h", Some(3600.0)),
            ("3", None),
            ("", None),
            ("-3s", None),
            ("s", None),
            ("3 s", None),
            ("1..2s", None),
        ] {
            assert_eq!(parse_go(text), seconds, "{text:?}");
        }
        assert!((parse_go("100ms").unwrap() - 0.1).abs() < 1e-9);
    }
}

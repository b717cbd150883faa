//! Floats as Python's `prometheus_client` writes them (`30.0`, `1.79e+09`, `+Inf`). Formatting only.

use std::fmt::Write;

/// Appends `value` to `out` in the form of `prometheus_client.utils.floatToGoString`.
pub fn push_float(out: &mut String, value: f64) {
    let start = out.len();
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else if value != 0.0 && !(1e-4..1e16).contains(&value.abs()) {
        // Python writes at least two digits of exponent.
        let text = format!("{value:e}");
        match text.split_once('e') {
            Some((mantissa, exponent)) => {
                let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
                let written = write!(out, "{mantissa}e{sign}{digits:0>2}");
                debug_assert!(written.is_ok());
            }
            None => out.push_str(&text),
        }
    } else {
        let written = write!(out, "{value:?}");
        debug_assert!(written.is_ok());
        if value > 0.0 {
            shift_point(out, start);
        }
    }
}

/// Rewrites a plain number with more than six digits before its point as `d.ddde+0n`.
fn shift_point(out: &mut String, start: usize) {
    let Some(number) = out.get(start..) else {
        return;
    };
    let Some((whole, fraction)) = number.split_once('.') else {
        return;
    };
    if whole.len() <= 6 {
        return;
    }
    let exponent = whole.len() - 1;
    let (first, rest) = whole.split_at(1);
    let mantissa = format!("{first}.{rest}{fraction}");
    let mantissa = mantissa.trim_end_matches(['0', '.']);
    let shifted = format!("{mantissa}e+{exponent:02}");
    out.truncate(start);
    out.push_str(&shifted);
}

#[cfg(test)]
mod tests {
    use super::push_float;

    fn text(value: f64) -> String {
        let mut out = String::new();
        push_float(&mut out, value);
        out
    }

    #[test]
    fn numbers_look_like_the_python_client_writes_them() {
        let table = [
            (0.0, "0.0"),
            (30.0, "30.0"),
            (0.8497452486501857, "0.8497452486501857"),
            (999_999.0, "999999.0"),
            (1_000_000.0, "1e+06"),
            (17_370_775.0, "1.7370775e+07"),
            (1_790_000_000.25, "1.79000000025e+09"),
            (0.000_05, "5e-05"),
            (1.5e-10, "1.5e-10"),
            (2e16, "2e+16"),
            (-1_000_000.0, "-1000000.0"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ];
        for (value, expected) in table {
            assert_eq!(text(value), expected);
        }
    }

    #[test]
    fn every_number_of_the_recorded_exposition_is_written_back_unchanged() {
        let body = include_str!("../../fixtures/vllm/busy_single.prom");
        let mut seen = 0;
        for line in body.lines().filter(|line| !line.starts_with('#')) {
            let written = line.rsplit_once(' ').expect("a sample has a value").1;
            let value: f64 = written.parse().expect("a sample's value is a number");
            assert_eq!(text(value), written, "{line}");
            seen += 1;
        }
        assert_eq!(seen, 487);
    }
}

//! One line of the text format: what it is, and a sample's labels and value. Quotes and escapes are honoured, so
//! that nothing inside a label value passes for the end of the labels.

use memchr::memchr2;

use super::{DeclaredType, Problem};

const MAX_LABELS: usize = 64;
const MAX_LABEL_NAME: usize = 256;
const MAX_LABEL_VALUE: usize = 1024;

#[derive(Clone, Copy)]
pub(super) enum Line<'a> {
    Blank,
    Comment(&'a [u8]),
    /// Begins with what may be a metric name.
    Sample(&'a [u8]),
    Garbage,
}

pub(super) struct Sample<'a> {
    /// Raw, between the braces.
    pub(super) labels: &'a [u8],
    pub(super) value: f64,
}

pub(super) fn classify(line: &[u8]) -> Line<'_> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line.first() {
        Some(b' ' | b'\t') => classify_trimmed(line.trim_ascii_start()),
        _ => classify_trimmed(line),
    }
}

fn classify_trimmed(line: &[u8]) -> Line<'_> {
    match line.first() {
        None => Line::Blank,
        Some(b'#') => Line::Comment(line),
        Some(byte) if byte.is_ascii_alphabetic() || matches!(byte, b'_' | b':') => Line::Sample(line),
        Some(_) => Line::Garbage,
    }
}

/// Whether a metric name ends before this byte of a sample line, or with the line.
pub(super) fn ends_name(next: Option<&u8>) -> bool {
    next.is_none_or(|byte| matches!(byte, b'{' | b' ' | b'\t'))
}

/// Length of the metric name at the start of a sample line.
pub(super) fn name_length(line: &[u8]) -> usize {
    memchr::memchr3(b'{', b' ', b'\t', line).unwrap_or(line.len())
}

/// Name and type of a `# TYPE name type` line.
pub(super) fn type_line(comment: &[u8]) -> Option<(&[u8], DeclaredType)> {
    let mut words = comment
        .get(1..)?
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|word| !word.is_empty());
    if words.next()? != b"TYPE" {
        return None;
    }
    let name = words.next()?;
    let declared = match words.next()? {
        b"counter" => DeclaredType::Counter,
        b"gauge" => DeclaredType::Gauge,
        b"histogram" => DeclaredType::Histogram,
        b"summary" => DeclaredType::Summary,
        _ => DeclaredType::Other,
    };
    Some((name, declared))
}

/// Labels and value of a sample line.
pub(super) fn sample(line: &[u8]) -> Result<Sample<'_>, Problem> {
    let rest = line.get(name_length(line)..).unwrap_or_default().trim_ascii_start();
    let (labels, rest) = match rest.strip_prefix(b"{") {
        Some(inside) => labels(inside).ok_or(Problem::Malformed)?,
        None => (&[][..], rest),
    };
    Ok(Sample {
        labels,
        value: value(rest).ok_or(Problem::Malformed)?,
    })
}

/// The value; what may follow is a timestamp and an OpenMetrics exemplar.
fn value(rest: &[u8]) -> Option<f64> {
    let mut words = rest
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|word| !word.is_empty());
    let value = number(words.next()?)?;
    match words.next() {
        None => {}
        Some(word) if word.starts_with(b"#") => {}
        Some(timestamp) => {
            number(timestamp)?;
            if words.next().is_some_and(|word| !word.starts_with(b"#")) {
                return None;
            }
        }
    }
    Some(value)
}

fn number(word: &[u8]) -> Option<f64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// Splits after the closing brace.
fn labels(inside: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = inside.trim_ascii_start();
    for _ in 0..=MAX_LABELS {
        if let Some(after) = rest.strip_prefix(b"}") {
            let length = inside.len() - after.len() - 1;
            return Some((inside.get(..length)?, after));
        }
        rest = label(rest)?;
    }
    None
}

/// Skips `name="value"`, and the comma if there is one.
fn label(text: &[u8]) -> Option<&[u8]> {
    let rest = match text.strip_prefix(b"\"") {
        Some(quoted) => quoted_end(quoted, MAX_LABEL_NAME)?,
        None => {
            let length = text
                .iter()
                .position(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_'))
                .filter(|length| (1..=MAX_LABEL_NAME).contains(length))?;
            text.get(length..)?
        }
    };
    let rest = rest.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let rest = quoted_end(rest.strip_prefix(b"\"")?, MAX_LABEL_VALUE)?.trim_ascii_start();
    match rest.first()? {
        b',' => Some(rest.get(1..)?.trim_ascii_start()),
        b'}' => Some(rest),
        _ => None,
    }
}

/// What follows the closing quote, if that comes within `limit` bytes.
fn quoted_end(text: &[u8], limit: usize) -> Option<&[u8]> {
    let mut at = 0;
    loop {
        let found = at + memchr2(b'"', b'\\', text.get(at..)?)?;
        if found > limit {
            return None;
        }
        if text.get(found) == Some(&b'"') {
            return text.get(found + 1..);
        }
        at = found + 2;
    }
}

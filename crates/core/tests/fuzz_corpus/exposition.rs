//! What has to hold of any metrics page: limits are kept, every number is one that a slow and simple reader finds too, and
//! lines of other families change nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keda_kaito_core::exposition::{
    Exposition, Family, MAX_LINE, MAX_SAMPLES, MAX_SERIES, MAX_VALUE, ReadError, Selection, families_for, nearest_name, read,
    reading,
};
use keda_kaito_core::policy::MetricKind;
use keda_kaito_core::window::{Reading, Wanted};

/// `g` and `h` are the names of most seeds; one of the others has names that mean the same.
const WANTED: [(&str, MetricKind); 5] = [
    ("g", MetricKind::Gauge),
    ("h", MetricKind::Histogram),
    ("vllm:num_requests_waiting", MetricKind::Gauge),
    ("vllm:kv_cache_usage_perc", MetricKind::Gauge),
    ("vllm:request_queue_time_seconds", MetricKind::Histogram),
];

pub(crate) fn check(body: &[u8]) {
    let wanted = WANTED.map(|(metric, kind)| Wanted {
        metric: metric.to_owned(),
        kind,
        window: Duration::ZERO,
    });
    let selection = Selection::new(families_for(&wanted));
    let page = match read(body, &selection) {
        Ok(page) => page,
        Err(error) => return refused(body, &error),
    };
    within_limits(body, &page);
    let slow = slow_totals(body);
    for (index, name) in selection.families().iter().enumerate() {
        let family = page.family(index).unwrap();
        agrees_with_the_slow_reader(&slow, name, family);
        let alone = read(body, &Selection::new([name])).unwrap();
        assert_eq!(
            alone.family(0),
            Some(family),
            "{name} is read otherwise when nothing else is wanted"
        );
    }
    for one in &wanted {
        sane(&slow, one, &reading(&page, &selection, &one.metric, one.kind, || None));
    }
    hint(body, "vllm:request_queue_time_seconds");
    foreign_lines_change_nothing(body, &selection, &page);
}

fn refused(body: &[u8], error: &ReadError) {
    match error {
        ReadError::LineTooLong { number } => {
            let line = body.split(|byte| *byte == b'\n').nth(number - 1).unwrap();
            assert!(line.len() > MAX_LINE, "line {number} has {} bytes", line.len());
        }
        ReadError::TooManySamples => assert!(body.split(|byte| *byte == b'\n').count() > MAX_SAMPLES),
    }
}

fn within_limits(body: &[u8], page: &Exposition) {
    let lines = || body.split(|byte| *byte == b'\n');
    assert!(lines().all(|line| line.len() <= MAX_LINE));
    assert!(page.samples <= MAX_SAMPLES);
    assert!(page.samples <= lines().count());
    assert_eq!(page.terminated, body.is_empty() || body.ends_with(b"\n"));
}

/// What the samples of one name add up to.
#[derive(Default)]
struct Slow<'a> {
    labels: BTreeSet<&'a [u8]>,
    total: f64,
}

/// Adds up the samples of every name, without any of the reader's shortcuts. Lines are known to be well formed where the
/// reader gave a number, so this does not judge them.
fn slow_totals(body: &[u8]) -> BTreeMap<&[u8], Slow<'_>> {
    let mut totals: BTreeMap<&[u8], Slow<'_>> = BTreeMap::new();
    for line in body.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let blank = line.starts_with(b" ") || line.starts_with(b"\t");
        let line = if blank { line.trim_ascii_start() } else { line };
        let end = line.iter().position(|byte| matches!(byte, b'{' | b' ' | b'\t'));
        let (name, rest) = line.split_at(end.unwrap_or(line.len()));
        let rest = rest.trim_ascii_start();
        let (labels, rest) = rest.strip_prefix(b"{").map_or((&[][..], rest), split_labels);
        let slow = totals.entry(name).or_default();
        if slow.labels.insert(labels) {
            let text = String::from_utf8_lossy(rest);
            let value = text.split_whitespace().next().and_then(|word| word.parse().ok());
            slow.total += value.unwrap_or(f64::NAN);
        }
    }
    totals
}

/// Splits at the first closing brace outside quotes.
fn split_labels(inside: &[u8]) -> (&[u8], &[u8]) {
    let (mut quoted, mut escaped) = (false, false);
    let end = inside.iter().position(|byte| {
        let ends = !quoted && *byte == b'}';
        if !escaped && *byte == b'"' {
            quoted = !quoted;
        }
        escaped = quoted && !escaped && *byte == b'\\';
        ends
    });
    let end = end.unwrap_or(inside.len());
    (&inside[..end], inside.get(end + 1..).unwrap_or_default())
}

fn agrees_with_the_slow_reader(slow: &BTreeMap<&[u8], Slow<'_>>, name: &str, family: &Family) {
    let slow = |suffix: &str| {
        let slow = slow.get(format!("{name}{suffix}").as_bytes());
        slow.map(|slow| (slow.total, slow.labels.len()))
    };
    // Equal, not close: the same numbers are added in the same order.
    if let Ok(scalar) = family.scalar() {
        assert_eq!(scalar.map(|scalar| (scalar.total, scalar.series)), slow(""), "{name}");
    }
    if let Ok(histogram) = family.histogram() {
        let (sum, count) = (slow("_sum").map(|(sum, _)| sum), slow("_count").map(|(count, _)| count));
        assert_eq!(histogram.map(|total| total.sum), sum, "{name}_sum");
        assert_eq!(histogram.map(|total| total.count), count, "{name}_count");
    }
    let present = ["", "_sum", "_count"].into_iter().any(|suffix| slow(suffix).is_some());
    assert_eq!(family.is_present(), present, "{name}");
}

fn sane(slow: &BTreeMap<&[u8], Slow<'_>>, one: &Wanted, reading: &Reading) {
    const MOST: f64 = MAX_VALUE * MAX_SERIES as f64;
    let believable = |number: &f64| number.is_finite() && (0.0..=MOST).contains(number);
    match reading {
        Reading::Gauge(value) => assert!(one.kind == MetricKind::Gauge && believable(value), "{reading:?}"),
        Reading::Histogram { sum, count } => {
            assert!(
                one.kind == MetricKind::Histogram && believable(sum) && believable(count),
                "{reading:?}"
            );
        }
        Reading::Absent { .. } => {
            let there = |suffix| slow.contains_key(format!("{}{suffix}", one.metric).as_bytes());
            assert!(!["", "_sum", "_count"].into_iter().any(there), "{} is there", one.metric);
        }
        Reading::Mismatch { exposed } => {
            assert!(
                ["counter", "gauge", "histogram", "summary"].contains(&&**exposed),
                "{exposed}"
            );
        }
        Reading::Unusable { problem } => assert!(!problem.is_empty()),
    }
}

fn hint(body: &[u8], metric: &str) {
    if let Some(name) = nearest_name(body, metric) {
        assert!(!name.is_empty() && name.len() <= 100, "{name}");
        assert!(String::from_utf8_lossy(body).contains(&name), "{name} is not on the page");
    }
}

fn foreign_lines_change_nothing(body: &[u8], selection: &Selection, page: &Exposition) {
    let mut longer = b"# a note\n\nother{g=\"g 5\"} 7 1\n".to_vec();
    longer.extend_from_slice(body);
    longer.extend_from_slice(b"\n# TYPE others gauge\nothers 3\n");
    match read(&longer, selection) {
        Ok(longer) => {
            assert_eq!(longer.samples, page.samples + 2);
            for index in 0..selection.families().len() {
                assert_eq!(longer.family(index), page.family(index), "{}", selection.families()[index]);
            }
        }
        Err(error) => {
            assert_eq!(error, ReadError::TooManySamples);
            assert!(page.samples + 2 > MAX_SAMPLES);
        }
    }
}

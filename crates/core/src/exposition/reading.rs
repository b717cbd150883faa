//! From a page to what it says of one metric: its value under the name asked for or one that means the same, or why there
//! is none. A TYPE line that contradicts the wanted kind is reported and never overlooked.

use super::{DeclaredType, Exposition, Family, Problem, Selection};
use crate::families::{aliases, merge};
use crate::policy::MetricKind;
use crate::window::{Reading, Wanted};

/// The families to select so that [`reading`] finds every metric of `wanted`, whatever the server calls it.
pub fn families_for<'a>(wanted: impl IntoIterator<Item = &'a Wanted>) -> Vec<String> {
    let mut families: Vec<String> = Vec::new();
    for one in wanted {
        for name in std::iter::once(one.metric.as_str()).chain(aliases(&one.metric)) {
            if !families.iter().any(|known| known == name) {
                families.push(name.to_owned());
            }
        }
    }
    families
}

/// What a page says of `metric`. `nearest` is asked for a hint only when the page has no such metric.
pub fn reading(
    exposition: &Exposition,
    selection: &Selection,
    metric: &str,
    kind: MetricKind,
    nearest: impl FnOnce() -> Option<String>,
) -> Reading {
    let named = |name: &str| {
        exposition
            .family(selection.index_of(name)?)
            .filter(|family| family.is_present())
    };
    let found = std::iter::once(metric).chain(aliases(metric)).find_map(named);
    match found {
        None => Reading::Absent {
            nearest: nearest().map(Into::into),
        },
        Some(family) => of_family(family, metric, kind),
    }
}

fn of_family(family: &Family, metric: &str, kind: MetricKind) -> Reading {
    if let Some(exposed) = contradiction(family, kind) {
        return Reading::Mismatch { exposed: exposed.into() };
    }
    let unusable = |problem: Problem| Reading::Unusable {
        problem: problem.to_string().into(),
    };
    match kind {
        MetricKind::Gauge => match family.scalar() {
            Ok(Some(scalar)) => Reading::Gauge(scalar.merged(merge(metric))),
            Ok(None) => Reading::Mismatch {
                exposed: "histogram".into(),
            },
            Err(problem) => unusable(problem),
        },
        MetricKind::Histogram => match family.histogram() {
            Ok(Some(total)) => Reading::Histogram {
                sum: total.sum,
                count: total.count,
            },
            Ok(None) => Reading::Mismatch { exposed: "gauge".into() },
            Err(problem) => unusable(problem),
        },
    }
}

fn contradiction(family: &Family, kind: MetricKind) -> Option<&'static str> {
    match (family.declared?, kind) {
        (DeclaredType::Gauge, MetricKind::Gauge)
        | (DeclaredType::Histogram, MetricKind::Histogram)
        | (DeclaredType::Other, _) => None,
        (DeclaredType::Gauge, MetricKind::Histogram) => Some("gauge"),
        (DeclaredType::Histogram, MetricKind::Gauge) => Some("histogram"),
        // A total since the start of the process says nothing about now.
        (DeclaredType::Counter, _) => Some("counter"),
        (DeclaredType::Summary, _) => Some("summary"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::read;

    fn read_as(body: &str, metric: &str, kind: MetricKind) -> Reading {
        let wanted = Wanted {
            metric: metric.to_owned(),
            kind,
            window: std::time::Duration::ZERO,
        };
        let selection = Selection::new(families_for([&wanted]));
        let exposition = read(body.as_bytes(), &selection).unwrap();
        reading(&exposition, &selection, metric, kind, || Some("near".to_owned()))
    }

    fn mismatch(exposed: &str) -> Reading {
        Reading::Mismatch { exposed: exposed.into() }
    }

    #[test]
    fn value_is_read_or_the_reason_why_not() {
        use MetricKind::{Gauge, Histogram};
        let histogram = Reading::Histogram { sum: 3.0, count: 2.0 };
        let unusable = |problem: &str| Reading::Unusable { problem: problem.into() };
        for (body, kind, expected) in [
            ("# TYPE m gauge\nm 3\n", Gauge, Reading::Gauge(3.0)),
            ("# TYPE m untyped\nm 3\n", Gauge, Reading::Gauge(3.0)),
            ("m 3\n", Gauge, Reading::Gauge(3.0)),
            ("# TYPE m counter\nm 3\n", Gauge, mismatch("counter")),
            ("# TYPE m histogram\nm_sum 3\nm_count 2\n", Gauge, mismatch("histogram")),
            ("m_sum 3\nm_count 2\n", Gauge, mismatch("histogram")),
            ("# TYPE m histogram\nm_sum 3\nm_count 2\n", Histogram, histogram.clone()),
            ("m_sum 3\nm_count 2\n", Histogram, histogram),
            ("# TYPE m gauge\nm 3\n", Histogram, mismatch("gauge")),
            ("m 3\n", Histogram, mismatch("gauge")),
            ("# TYPE m summary\nm_sum 3\nm_count 2\n", Histogram, mismatch("summary")),
            ("m NaN\n", Gauge, unusable("a value is not finite")),
            ("m_sum 3\n", Histogram, unusable("the series of _sum and _count do not match")),
        ] {
            assert_eq!(read_as(body, "m", kind), expected, "{body:?} {kind:?}");
        }
    }

    #[test]
    fn metric_that_is_not_there_comes_with_a_hint() {
        let expected = Reading::Absent {
            nearest: Some("near".into()),
        };
        for body in ["", "other 1\n", "# TYPE m gauge\n", "m_bucket{le=\"1\"} 3\n"] {
            assert_eq!(read_as(body, "m", MetricKind::Gauge), expected, "{body:?}");
        }
    }

    #[test]
    fn other_names_of_the_same_quantity_count_and_the_asked_one_wins() {
        let cache = "vllm:kv_cache_usage_perc";
        for (body, expected) in [
            (
                "vllm:gpu_cache_usage_perc{engine=\"0\"} 0.5\nvllm:gpu_cache_usage_perc{engine=\"1\"} 0.1\n",
                0.3,
            ),
            ("sglang:token_usage 0.4\n", 0.4),
            ("vllm:gpu_cache_usage_perc 0.5\nvllm:kv_cache_usage_perc 0.2\n", 0.2),
        ] {
            let Reading::Gauge(value) = read_as(body, cache, MetricKind::Gauge) else {
                panic!("{body:?}");
            };
            assert!((value - expected).abs() < 1e-12, "{value}");
        }
    }
}

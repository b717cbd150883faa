use proptest::prelude::*;

use super::*;

const QUEUE: &str = "vllm:request_queue_time_seconds";
const WAITING: &str = crate::families::WAITING;

fn at(seconds: i64) -> Moment {
    Moment::from_secs(seconds)
}

fn wanted(metric: &str, kind: MetricKind, window: u64) -> Wanted {
    Wanted {
        metric: metric.to_owned(),
        kind,
        window: Duration::from_secs(window),
    }
}

fn pod(number: i64) -> Segment {
    Segment::of("uid", number, 0)
}

/// A replica sampled as given: (second, segment, sum, count).
fn sampled(window: u64, samples: &[(i64, i64, f64, f64)]) -> ReplicaSeries {
    let mut series = ReplicaSeries::new(&[wanted(QUEUE, MetricKind::Histogram, window)]);
    for (second, segment, sum, count) in samples.iter().copied() {
        series.push(at(second), pod(segment), |_, _| Reading::Histogram { sum, count });
    }
    series
}

fn delta(series: &ReplicaSeries, begin: i64, floor: i64) -> Option<(f64, f64)> {
    series
        .delta(QUEUE, at(begin), at(floor))
        .map(|delta| (delta.sum, delta.count))
}

#[test]
fn growth_is_taken_from_the_begin_of_the_window_to_the_newest_sample() {
    let series = sampled(
        300,
        &[
            (0, 0, 100.0, 10.0),
            (15, 0, 110.0, 11.0),
            (30, 0, 130.0, 13.0),
            (45, 0, 160.0, 16.0),
        ],
    );
    assert_eq!(delta(&series, 0, 0), Some((60.0, 6.0)));
    assert_eq!(
        delta(&series, 20, 0),
        Some((50.0, 5.0)),
        "from the last sample before the begin"
    );
    assert_eq!(delta(&series, 20, 16), Some((30.0, 3.0)), "but from none before the floor");
    assert_eq!(delta(&series, 45, 0), None, "one sample is no growth");
    assert_eq!(delta(&series, 0, 46), None);
}

#[test]
fn first_sample_of_a_lifetime_is_never_growth() {
    assert_eq!(delta(&sampled(300, &[(0, 0, 1e6, 1e4)]), -300, -300), None);
}

#[test]
fn restart_between_two_samples_contributes_nothing() {
    let series = sampled(
        300,
        &[
            (0, 0, 100.0, 10.0),
            (15, 0, 120.0, 12.0),
            (30, 1, 500.0, 50.0),
            (45, 1, 510.0, 51.0),
        ],
    );
    assert_eq!(delta(&series, 0, 0), Some((30.0, 3.0)));
}

#[test]
fn fall_of_a_counter_is_a_restart_even_within_a_segment() {
    let samples = [
        (0, 0, 100.0, 10.0),
        (15, 0, 120.0, 12.0),
        (30, 0, 5.0, 13.0),
        (45, 0, 15.0, 14.0),
    ];
    assert_eq!(delta(&sampled(300, &samples), 0, 0), Some((30.0, 3.0)));
}

#[test]
fn metric_that_was_gone_for_a_while_starts_anew() {
    let mut series = sampled(300, &[(0, 0, 100.0, 10.0)]);
    series.push(at(15), pod(0), |_, _| Reading::Absent { nearest: None });
    series.push(at(30), pod(0), |_, _| Reading::Histogram { sum: 300.0, count: 30.0 });
    assert_eq!(delta(&series, 0, 0), None);
    series.push(at(45), pod(0), |_, _| Reading::Histogram { sum: 310.0, count: 31.0 });
    assert_eq!(delta(&series, 0, 0), Some((10.0, 1.0)));
}

#[test]
fn sample_much_older_than_the_window_is_no_baseline() {
    let series = sampled(
        60,
        &[
            (0, 0, 0.0, 0.0),
            (15, 0, 10.0, 1.0),
            (600, 0, 900.0, 90.0),
            (615, 0, 910.0, 91.0),
        ],
    );
    assert_eq!(delta(&series, 555, 0), Some((10.0, 1.0)));
}

#[test]
fn sample_out_of_order_is_dropped() {
    let mut series = sampled(300, &[(30, 0, 100.0, 10.0)]);
    series.push(at(30), pod(0), |_, _| Reading::Histogram { sum: 1.0, count: 1.0 });
    series.push(at(15), pod(0), |_, _| Reading::Histogram { sum: 1.0, count: 1.0 });
    assert_eq!(series.answered(), Some(at(30)));
    assert_eq!(
        series.reading(QUEUE, MetricKind::Histogram),
        Some(&Reading::Histogram { sum: 100.0, count: 10.0 })
    );
}

#[test]
fn failure_is_remembered_until_the_next_answer_and_keeps_the_samples() {
    let mut series = sampled(300, &[(0, 0, 100.0, 10.0)]);
    series.push_failure(at(15), "timed out");
    assert_eq!(series.failure().map(|failure| &*failure.reason), Some("timed out"));
    assert_eq!(series.answered(), Some(at(0)));
    series.push(at(30), pod(0), |_, _| Reading::Histogram { sum: 110.0, count: 11.0 });
    assert_eq!(series.failure(), None);
    assert_eq!(delta(&series, 0, 0), Some((10.0, 1.0)), "the growth over the failure counts");
}

#[test]
fn reading_of_the_other_kind_contradicts_what_is_wanted() {
    let mut series = ReplicaSeries::new(&[wanted(WAITING, MetricKind::Gauge, 0)]);
    series.push(at(0), pod(0), |_, _| Reading::Histogram { sum: 1.0, count: 1.0 });
    assert_eq!(
        series.reading(WAITING, MetricKind::Gauge),
        Some(&Reading::Mismatch {
            exposed: "histogram".into()
        })
    );
    assert_eq!(series.served(), None);
}

#[test]
fn numbers_that_cannot_be_believed_are_unusable() {
    for bad in [f64::NAN, f64::NEG_INFINITY, -0.5] {
        let mut series = ReplicaSeries::new(&[wanted(WAITING, MetricKind::Gauge, 0)]);
        series.push(at(0), pod(0), |_, _| Reading::Gauge(bad));
        assert!(
            matches!(series.reading(WAITING, MetricKind::Gauge), Some(Reading::Unusable { .. })),
            "{bad}"
        );
        assert_eq!(series.gauge(WAITING), None);
    }
}

#[test]
fn change_of_what_is_wanted_keeps_what_is_still_wanted() {
    let mut series = sampled(300, &[(0, 0, 100.0, 10.0), (15, 0, 110.0, 11.0)]);
    series.want(&[
        wanted(WAITING, MetricKind::Gauge, 0),
        wanted(QUEUE, MetricKind::Histogram, 60),
    ]);
    assert_eq!(delta(&series, 0, 0), Some((10.0, 1.0)));
    assert_eq!(series.reading(WAITING, MetricKind::Gauge), None);
    series.want(&[wanted(WAITING, MetricKind::Gauge, 0)]);
    assert_eq!(delta(&series, 0, 0), None);
}

#[test]
fn longer_of_two_windows_of_one_metric_is_kept() {
    let twice = [
        wanted(QUEUE, MetricKind::Histogram, 600),
        wanted(QUEUE, MetricKind::Histogram, 60),
    ];
    let mut series = ReplicaSeries::new(&twice);
    for second in 0..40 {
        let count = f64::from(second);
        series.push(at(15 * i64::from(second)), pod(0), |_, _| Reading::Histogram {
            sum: count,
            count,
        });
    }
    assert_eq!(delta(&series, 0, 0), Some((39.0, 39.0)));
}

#[test]
fn three_windows_of_five_minutes_fit_into_four_kibibytes() {
    let names = [
        "vllm:request_queue_time_seconds",
        "vllm:time_to_first_token_seconds",
        "vllm:e2e_request_latency_seconds",
    ];
    let mut all: Vec<_> = names.iter().map(|name| wanted(name, MetricKind::Histogram, 300)).collect();
    all.push(wanted(WAITING, MetricKind::Gauge, 0));
    all.push(wanted(crate::families::RUNNING, MetricKind::Gauge, 0));
    let mut series = ReplicaSeries::new(&all);
    for round in 0..500_u32 {
        series.push(at(15 * i64::from(round)), pod(i64::from(round / 100)), |_, kind| match kind {
            MetricKind::Gauge => Reading::Gauge(1.0),
            MetricKind::Histogram => Reading::Histogram {
                sum: f64::from(round),
                count: f64::from(round),
            },
        });
    }
    let bytes = series.heap_bytes() + size_of::<ReplicaSeries>();
    assert!(bytes <= 4096, "{bytes}");
}

#[test]
fn series_survives_json() {
    let mut series = sampled(300, &[(0, 0, 100.0, 10.0), (15, 1, 110.0, 11.0), (30, 1, 120.5, 12.0)]);
    series.push_failure(at(45), "refused");
    let json = serde_json::to_string(&series).unwrap();
    assert_eq!(serde_json::from_str::<ReplicaSeries>(&json).unwrap(), series);
}

proptest! {
    #[test]
    fn points_stay_bounded_and_growth_is_never_negative(
        steps in proptest::collection::vec((1_i64..40, 0_i64..8, 0.0..100.0_f64, any::<bool>()), 1..600),
        window in 15_u64..3600,
    ) {
        let mut points = Points::default();
        let (mut now, mut sum, mut count) = (0, 0.0, 0.0);
        for (step, kind, growth, continues) in steps {
            now += step;
            (sum, count) = if kind == 0 { (growth, growth) } else { (sum + growth, count + growth) };
            points.push(at(now), sum, count, continues || kind > 1, Duration::from_secs(window));
            prop_assert!(points.len() <= MAX_POINTS);
            let delta = points.delta(at(now).minus(Duration::from_secs(window)), at(0)).unwrap_or_default();
            prop_assert!(delta.sum >= 0.0 && delta.count >= 0.0);
            prop_assert!(delta.count <= count.max(40.0 * 100.0 * 600.0));
        }
    }

    #[test]
    fn thinning_changes_no_growth(window in 60_u64..3600, step in 1_i64..30) {
        let mut points = Points::default();
        let end = i64::try_from(window).unwrap();
        let mut last = 0;
        for second in (0..=end).step_by(usize::try_from(step).unwrap()) {
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let total = second as f64;
            points.push(at(second), total, total, true, Duration::from_secs(window));
            last = second;
        }
        let delta = points.delta(at(0), at(0)).unwrap();
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let expected = last as f64;
        prop_assert!((delta.count - expected).abs() < 1e-9);
    }
}

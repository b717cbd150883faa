use super::*;
use crate::families::WAITING;
use crate::fixture::{Bed, NOW, QUEUE_TIME, ago, gauge, histogram, policy, sum as sum_trigger};
use crate::history::Lean;
use crate::policy::Combine;
use crate::window::Segment;

fn range(low: f64, high: impl Into<Option<f64>>) -> Range {
    Range { low, high: high.into() }
}

fn sum_of(bed: &Bed) -> Range {
    sum(&Situation::of(&bed.input), WAITING, 10.0)
}

fn mean_of(bed: &Bed) -> Range {
    mean(&Situation::of(&bed.input), WAITING)
}

fn windowed_of(bed: &Bed) -> Estimate {
    windowed(&Situation::of(&bed.input), QUEUE_TIME, Duration::from_secs(300))
}

fn ordered(spec: u32) -> Bed {
    Bed::new(sum_trigger(10.0), spec)
}

fn gauges(spec: u32) -> Bed {
    Bed::new(policy(vec![gauge(WAITING, 10.0, 1.0)], Combine::And), spec)
}

fn histograms(spec: u32) -> Bed {
    Bed::new(policy(vec![histogram(QUEUE_TIME, 300, 10.0, 1.0)], Combine::And), spec)
}

#[test]
fn sum_counts_each_class_as_the_table_says() {
    let lost = |mut bed: Bed| {
        bed.last().created = ago(5000);
        bed.input.timing.process_started = ago(5000);
        bed
    };
    for (name, bed, expected) in [
        ("all serve", ordered(2).serving(3.0).serving(4.0), range(7.0, 7.0)),
        ("silent", ordered(2).serving(3.0).silent(60), range(3.0, None)),
        (
            "pending is at most at target",
            ordered(2).serving(3.0).pending(60),
            range(3.0, 13.0),
        ),
        ("not made yet", ordered(3).serving(3.0), range(3.0, 23.0)),
        (
            "without the metric",
            ordered(2).serving(3.0).without_metrics(),
            range(3.0, 13.0),
        ),
        (
            "lost counts nowhere",
            lost(ordered(2).serving(3.0).pending(60)),
            range(3.0, 3.0),
        ),
        (
            "leaving keeps its demand",
            ordered(1).serving(3.0).serving(4.0).terminating(),
            range(3.0, 7.0),
        ),
        (
            "leaving without an answer has none",
            ordered(1).serving(3.0).pending(60).terminating(),
            range(3.0, 3.0),
        ),
        ("surge extra", ordered(1).serving(3.0).serving(4.0), range(3.0, 7.0)),
        ("nobody", ordered(1).silent(60), range(0.0, None)),
    ] {
        assert_eq!(sum_of(&bed), expected, "{name}");
    }
}

#[test]
fn mean_takes_unknown_replicas_as_nothing_or_anything() {
    for (name, bed, expected) in [
        ("all serve", gauges(2).serving(3.0).serving(5.0), range(4.0, 4.0)),
        ("silent", gauges(2).serving(3.0).silent(60), range(1.5, None)),
        ("pending", gauges(2).serving(3.0).pending(60), range(1.5, None)),
        ("not made yet", gauges(3).serving(3.0), range(1.0, None)),
        (
            "load of a leaving one falls on the others",
            gauges(1).serving(3.0).serving(4.0).terminating(),
            range(3.0, 7.0),
        ),
        ("nobody", gauges(1).pending(60), range(0.0, None)),
    ] {
        assert_eq!(mean_of(&bed), expected, "{name}");
    }
}

#[test]
fn window_weighs_replicas_by_their_observations() {
    let bed = histograms(2)
        .observing(2.0, 30.0, 0.0, 1.0)
        .observing(8.0, 10.0, 0.0, 1.0)
        .leaning(Lean::Hold, 400);
    assert_eq!(windowed_of(&bed), Estimate::Between(range(3.5, 3.5)));
}

#[test]
fn unknown_replica_weighs_as_much_as_a_known_one() {
    let known = histograms(3).observing(6.0, 10.0, 0.0, 1.0).observing(6.0, 30.0, 0.0, 1.0);
    for (name, bed) in [
        ("pending", known.clone().pending(60)),
        ("silent", known.clone().silent(60)),
        ("unborn", known),
    ] {
        let Estimate::Between(range) = windowed_of(&bed.leaning(Lean::Hold, 400)) else {
            panic!("{name}");
        };
        assert!((range.low - 4.0).abs() < 1e-9, "{name}: {range:?}");
        assert_eq!(range.high, None, "{name}");
    }
}

#[test]
fn observations_of_a_leaving_replica_can_only_raise_the_high_end() {
    let leaving = |mean| {
        let bed = histograms(1)
            .observing(2.0, 10.0, 0.0, 1.0)
            .observing(mean, 10.0, 0.0, 1.0)
            .terminating();
        windowed_of(&bed.leaning(Lean::Hold, 400))
    };
    assert_eq!(leaving(8.0), Estimate::Between(range(2.0, 5.0)));
    assert_eq!(leaving(1.0), Estimate::Between(range(2.0, 2.0)));
}

#[test]
fn window_abstains_for_a_minute_after_the_replicas_changed() {
    for (age, abstains) in [(45, true), (60, false)] {
        let bed = histograms(1).observing(2.0, 10.0, 0.0, 1.0).leaning(Lean::Hold, age);
        assert_eq!(matches!(windowed_of(&bed), Estimate::Abstains(_)), abstains, "{age}");
    }
    let unseen = histograms(2)
        .observing(2.0, 10.0, 0.0, 1.0)
        .leaning(Lean::Hold, 400)
        .observing(2.0, 10.0, 0.0, 1.0);
    assert!(
        matches!(windowed_of(&unseen), Estimate::Abstains(_)),
        "a change that no round has seen yet"
    );
}

#[test]
fn window_begins_no_earlier_than_the_last_change_of_the_replicas() {
    let mut bed = histograms(1).serving(0.0);
    let mut series = crate::window::ReplicaSeries::new(&crate::situation::wanted(&bed.input.trigger));
    // Slow before the change 100 s ago, fast since.
    let samples = [
        (200, 100.0, 5000.0),
        (150, 110.0, 5500.0),
        (90, 120.0, 6000.0),
        (40, 130.0, 6010.0),
        (5, 140.0, 6020.0),
    ];
    for (age, count, sum) in samples {
        series.push(ago(age), Segment::of("uid", 0, 0), |_, kind| match kind {
            MetricKind::Gauge => Reading::Gauge(0.0),
            MetricKind::Histogram => Reading::Histogram { sum, count },
        });
    }
    bed.last().series = std::borrow::Cow::Owned(series);
    assert_eq!(windowed_of(&bed.leaning(Lean::Hold, 100)), Estimate::Between(range(1.0, 1.0)));
}

#[test]
fn window_without_observations_is_zero_only_where_idleness_is_known() {
    let still = |waiting, running| histograms(1).observing(5.0, 0.0, waiting, running);
    let zero = Estimate::Between(range(0.0, 0.0));
    assert_eq!(windowed_of(&still(0.0, 0.0).seen(Lean::Hold, 400, true)), zero);
    assert!(matches!(
        windowed_of(&still(5.0, 8.0).seen(Lean::Hold, 400, false)),
        Estimate::Abstains(_)
    ));
    let newly_idle = still(0.0, 0.0).seen(Lean::Hold, 400, false).seen_idle_for(100);
    assert!(
        matches!(windowed_of(&newly_idle), Estimate::Abstains(_)),
        "idle for less than the window"
    );
}

#[test]
fn histogram_that_nobody_exposes_is_unknown_not_silent() {
    let bed = histograms(1).serving(0.0);
    let mut named = bed.leaning(Lean::Hold, 400);
    named
        .last()
        .series
        .to_mut()
        .push(NOW, Segment::of("uid", 0, 0), |_, _| Reading::Absent { nearest: None });
    assert_eq!(windowed_of(&named), Estimate::Between(range(0.0, None)));
}

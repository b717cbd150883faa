use std::time::Duration;

use crate::families::WAITING;
use crate::fixture::{Bed, QUEUE_TIME, ago, gauge, policy, sum};
use crate::history::Lean;
use crate::policy::Combine;
use crate::record::{Answer, MetricType};
use crate::trigger::Aggregation;
use crate::window::Reading;

fn modified(trigger: Aggregation, spec: u32) -> Bed {
    let mut bed = Bed::new(trigger, spec);
    bed.input.scale.scaling_modifiers = true;
    bed
}

fn average() -> Aggregation {
    Aggregation::ServiceAvg {
        metric: WAITING.to_owned(),
        threshold: None,
    }
}

fn windowed() -> Aggregation {
    Aggregation::WindowedAvg {
        metric: QUEUE_TIME.to_owned(),
        window: Duration::from_secs(300),
        threshold: None,
    }
}

fn unavailable(bed: &Bed) -> String {
    match bed.decide().answer {
        Answer::Unavailable(why) => why,
        Answer::Value(value) => panic!("{value}"),
    }
}

#[test]
fn shape_that_we_do_not_compute_gets_the_exact_value() {
    let mut by_value = Bed::new(sum(10.0), 2).serving(3.0).serving(4.0);
    by_value.input.scale.metric_type = MetricType::Value;
    let mut elsewhere = Bed::new(sum(10.0), 2).serving(3.0).serving(4.0);
    elsewhere.input.scale.other_target = true;
    for (name, bed, value) in [
        ("sum", modified(sum(10.0), 2).serving(3.0).serving(4.0), 7.0),
        ("sum as Value", by_value, 7.0),
        ("sum that scales something else", elsewhere, 7.0),
        ("mean", modified(average(), 2).serving(3.0).serving(4.0), 3.5),
        (
            "idle sum, without any window",
            modified(sum(10.0), 3).serving(0.0).serving(0.0).serving(0.0),
            0.0,
        ),
    ] {
        assert_eq!(bed.decide().answer, Answer::Value(value), "{name}");
        assert_eq!(bed.decide().desired, None, "{name}");
    }
}

#[test]
fn replica_that_loads_or_leaves_does_not_enter_the_mean() {
    let loading = modified(average(), 2).serving(8.0).pending(60).without_metrics();
    assert_eq!(loading.decide().answer, Answer::Value(8.0));
    let leaving = modified(average(), 1).serving(8.0).serving(0.0).terminating();
    assert_eq!(leaving.decide().answer, Answer::Value(8.0));
}

#[test]
fn one_silent_replica_makes_the_exact_value_unavailable() {
    for trigger in [
        sum(10.0),
        average(),
        windowed(),
        policy(vec![gauge(WAITING, 10.0, 1.0)], Combine::And),
    ] {
        let bed = modified(trigger, 2)
            .observing(3.0, 10.0, 1.0, 1.0)
            .silent(60)
            .leaning(Lean::Hold, 900);
        assert_eq!(unavailable(&bed), "1 Ready replicas have no fresh sample");
    }
    assert_eq!(unavailable(&modified(sum(10.0), 1).pending(60)), "no replica serves");
}

#[test]
fn window_combines_growth_by_count_and_leaves_lifetimes_out() {
    let bed = modified(windowed(), 3)
        .observing(2.0, 30.0, 0.0, 1.0)
        .observing(8.0, 10.0, 0.0, 1.0)
        .replica(|_, kind| match kind {
            crate::policy::MetricKind::Gauge => Reading::Gauge(1.0),
            crate::policy::MetricKind::Histogram => Reading::Histogram { sum: 1e9, count: 1e3 },
        });
    assert_eq!(bed.decide().answer, Answer::Value(3.5));
}

#[test]
fn window_that_this_process_has_not_seen_whole_is_unavailable() {
    let mut bed = modified(windowed(), 1).observing(2.0, 30.0, 0.0, 1.0);
    bed.input.timing.process_started = ago(299);
    assert_eq!(unavailable(&bed), "this process is younger than the window of 300 seconds");
}

#[test]
fn window_without_observations_is_zero_for_an_idle_fleet_alone() {
    let still = |waiting| modified(windowed(), 1).observing(5.0, 0.0, waiting, 0.0);
    assert_eq!(still(0.0).seen(Lean::Hold, 400, true).decide().answer, Answer::Value(0.0));
    let why = unavailable(&still(3.0).seen(Lean::Hold, 400, false));
    assert!(why.contains("not known to be idle"), "{why}");
}

#[test]
fn averages_as_average_value_are_bounded_like_sums() {
    // The HPA divides the mean by the target again: what users of the first versions wrote.
    let average = |spec| {
        Bed::new(
            Aggregation::ServiceAvg {
                metric: WAITING.to_owned(),
                threshold: Some(10.0),
            },
            spec,
        )
    };
    assert_eq!(average(1).serving(8.0).decide().answer, Answer::Value(8.0));
    assert_eq!(
        average(2).serving(8.0).silent(60).decide().answer,
        Answer::Value(20.0),
        "held"
    );
    let window = Aggregation::WindowedAvg {
        metric: QUEUE_TIME.to_owned(),
        window: Duration::from_secs(300),
        threshold: Some(10.0),
    };
    let known = Bed::new(window.clone(), 1)
        .observing(8.0, 10.0, 0.0, 1.0)
        .leaning(Lean::Hold, 400);
    assert_eq!(known.decide().answer, Answer::Value(8.0));
    let unknown = Bed::new(window, 1).observing(8.0, 10.0, 0.0, 1.0);
    assert_eq!(unknown.decide().answer, Answer::Value(10.0), "held");
}

#[test]
fn gate_is_open_when_nothing_is_pending() {
    let gate = |spec| {
        modified(
            Aggregation::Gate {
                metric: "readiness_gate".to_owned(),
            },
            spec,
        )
    };
    let mut given_up = gate(2).serving(0.0).pending(5000);
    given_up.input.timing.process_started = ago(5000);
    for (name, bed, open) in [
        ("all Ready", gate(2).serving(0.0).serving(0.0), 1.0),
        ("pending", gate(2).serving(0.0).pending(60), 0.0),
        ("unborn", gate(2).serving(0.0), 0.0),
        (
            "terminating ones do not count",
            gate(1).serving(0.0).pending(60).terminating(),
            1.0,
        ),
        ("given up", given_up, 1.0),
        ("no samples are needed", gate(1).silent(600), 1.0),
    ] {
        assert_eq!(bed.decide().answer, Answer::Value(open), "{name}");
    }
}

#[test]
fn decided_count_is_exact_where_a_formula_uses_it() {
    let bed = modified(policy(vec![gauge(WAITING, 10.0, 1.0)], Combine::And), 2)
        .serving(30.0)
        .serving(30.0);
    assert_eq!(bed.leaning(Lean::Up, 900).decide().answer, Answer::Value(3.0));
}

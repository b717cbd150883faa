use crate::families::WAITING;
use crate::fixture::{Bed, QUEUE_TIME, ago, gauge, histogram, policy};
use crate::history::Lean;
use crate::policy::{Combine, MetricRule};
use crate::record::{Answer, Clamp, DecisionRecord};
use crate::window::Reading;

const KV: &str = "vllm:kv_cache_usage_perc";

fn waiting(spec: u32) -> Bed {
    with(vec![gauge(WAITING, 10.0, 4.0)], spec)
}

fn with(metrics: Vec<MetricRule>, spec: u32) -> Bed {
    Bed::new(policy(metrics, Combine::And), spec)
}

/// What is wanted after long agreement of the samples.
fn settled(bed: Bed, lean: Lean) -> DecisionRecord {
    bed.leaning(lean, 900).decide()
}

fn desired(bed: Bed, lean: Lean) -> u32 {
    let record = settled(bed, lean);
    assert_eq!(record.lean, lean, "{record:#?}");
    record.desired.unwrap()
}

#[test]
fn one_step_is_taken_when_the_mean_is_beyond_a_threshold() {
    assert_eq!(desired(waiting(2).serving(15.0).serving(6.0), Lean::Up), 3);
    assert_eq!(desired(waiting(2).serving(10.0).serving(10.0), Lean::Hold), 2);
    assert_eq!(desired(waiting(2).serving(4.0).serving(4.0), Lean::Hold), 2);
    assert_eq!(desired(waiting(3).serving(3.0).serving(4.0).serving(4.0), Lean::Down), 2);
}

#[test]
fn wanted_count_is_published_where_the_hpa_rounds_up_to_it() {
    let up = settled(waiting(2).serving(15.0).serving(6.0), Lean::Up);
    assert_eq!(up.answer, Answer::Value(2.5));
    let hold = settled(waiting(2).serving(5.0).serving(6.0), Lean::Hold);
    assert_eq!(hold.answer, Answer::Value(1.5));
}

#[test]
fn down_threshold_of_zero_means_nothing_at_all() {
    let idle = |value| with(vec![gauge(WAITING, 10.0, 0.0)], 2).serving(value).serving(0.0);
    assert_eq!(desired(idle(0.0), Lean::Down), 1);
    assert_eq!(desired(idle(0.001), Lean::Hold), 2);
}

#[test]
fn load_must_fit_on_one_replica_fewer() {
    // 8 each on 2 would be 16 on 1: it would call the replica back.
    let close = |n: usize, value: f64| {
        (0..n).fold(with(vec![gauge(WAITING, 10.0, 9.0)], u32::try_from(n).unwrap()), |bed, _| {
            bed.serving(value)
        })
    };
    assert_eq!(desired(close(2, 8.0), Lean::Hold), 2);
    assert_eq!(desired(close(5, 8.0), Lean::Down), 4);
    assert_eq!(desired(close(5, 8.1), Lean::Hold), 5);
    let record = close(2, 8.0).decide();
    assert_eq!(
        record.metrics[0].note.as_deref(),
        Some("one replica fewer would have to go up again")
    );
}

#[test]
fn ratio_need_not_fit_on_one_replica_fewer() {
    let bed = with(vec![gauge(KV, 0.8, 0.6)], 2).serving(0.55).serving(0.55);
    assert_eq!(desired(bed, Lean::Down), 1);
}

#[test]
fn every_metric_has_to_agree_under_and_any_may_call_under_or() {
    let fleet = |combine, waiting: f64, kv: f64| {
        let metrics = vec![gauge(WAITING, 10.0, 4.0), gauge(KV, 0.8, 0.3)];
        Bed::new(policy(metrics, combine), 2)
            .replica(move |metric, _| crate::window::Reading::Gauge(if metric == KV { kv } else { waiting }))
            .replica(move |metric, _| crate::window::Reading::Gauge(if metric == KV { kv } else { waiting }))
    };
    use Combine::{And, Or};
    for (combine, waiting, kv, lean) in [
        (And, 11.0, 0.9, Lean::Up),
        (And, 11.0, 0.5, Lean::Hold),
        (And, 11.0, 0.1, Lean::Hold),
        (And, 1.0, 0.1, Lean::Down),
        (And, 1.0, 0.5, Lean::Hold),
        (Or, 11.0, 0.1, Lean::Up),
        (Or, 1.0, 0.9, Lean::Up),
        (Or, 1.0, 0.5, Lean::Hold),
        (Or, 1.0, 0.1, Lean::Down),
    ] {
        assert_eq!(fleet(combine, waiting, kv).decide().lean, lean, "{combine:?} {waiting} {kv}");
    }
}

#[test]
fn metric_without_observations_leaves_a_stalled_fleet_to_the_others() {
    let stalled = |combine, waiting: f64| {
        let metrics = vec![gauge(WAITING, 10.0, 4.0), histogram(QUEUE_TIME, 300, 30.0, 1.0)];
        Bed::new(policy(metrics, combine), 1)
            .observing(5.0, 0.0, waiting, 50.0)
            .leaning(Lean::Up, 900)
    };
    for combine in [Combine::And, Combine::Or] {
        let record = stalled(combine, 40.0).decide();
        assert_eq!((record.lean, record.desired), (Lean::Up, Some(2)), "{combine:?}");
        assert_eq!(
            stalled(combine, 2.0).decide().lean,
            Lean::Hold,
            "no move down without it: {combine:?}"
        );
    }
}

#[test]
fn histogram_alone_without_observations_holds() {
    let bed = with(vec![histogram(QUEUE_TIME, 300, 30.0, 1.0)], 2)
        .observing(5.0, 0.0, 9.0, 9.0)
        .observing(5.0, 0.0, 9.0, 9.0);
    assert_eq!(desired(bed, Lean::Hold), 2);
}

#[test]
fn idle_fleet_shrinks_although_nothing_was_observed() {
    let bed = with(vec![histogram(QUEUE_TIME, 300, 30.0, 1.0)], 2)
        .observing(5.0, 0.0, 0.0, 0.0)
        .observing(5.0, 0.0, 0.0, 1.0)
        .seen(Lean::Down, 900, true);
    assert_eq!(bed.decide().desired, Some(1));
}

#[test]
fn unknown_replica_blocks_down_and_does_not_push_up() {
    for (name, bed) in [
        ("silent", waiting(2).serving(0.0).silent(60)),
        ("pending", waiting(2).serving(0.0).pending(60)),
        ("unborn", waiting(2).serving(0.0)),
    ] {
        assert_eq!(desired(bed, Lean::Hold), 2, "{name}");
    }
    // 16 on one of two: as little as 8 in the mean.
    assert_eq!(desired(waiting(2).serving(16.0).silent(60), Lean::Hold), 2);
    assert_eq!(desired(waiting(2).serving(21.0).silent(60), Lean::Up), 3);
}

#[test]
fn what_is_not_known_is_said_to_hold_only_where_nothing_else_does() {
    let clamps = |first: f64, second: f64| {
        let metrics = vec![gauge(WAITING, 10.0, 4.0), gauge("vllm:num_requests_running", 10.0, 4.0)];
        let bed = with(metrics, 2)
            .replica(|metric, _| Reading::Gauge(if metric == WAITING { first } else { second }))
            .silent(60);
        settled(bed, Lean::Hold).clamps
    };
    assert_eq!(clamps(1.0, 1.0), [Clamp::Unknown]);
    assert_eq!(clamps(1.0, 9.0), [], "the second metric keeps the count");
}

#[test]
fn move_up_waits_for_capacity_that_has_never_served() {
    let record = settled(waiting(2).serving(30.0).pending(60), Lean::Up);
    assert_eq!(record.desired, Some(2));
    assert_eq!(record.clamps, [Clamp::NewCapacity]);
    let mut crashed = waiting(2).serving(30.0).serving(1.0);
    crashed.last().ready_since = None;
    assert_eq!(desired(crashed, Lean::Up), 3, "one that has served does not hold it");
    let mut given_up = waiting(2).serving(30.0).pending(5000);
    given_up.input.timing.process_started = ago(5000);
    assert_eq!(desired(given_up, Lean::Up), 3, "nor does one given up");
}

#[test]
fn scaler_that_has_just_restarted_waits_for_no_replica_that_was_lost_before() {
    let restarted = |lost_ready: Option<u64>, unready: u64| {
        let mut bed = waiting(2).serving(30.0).pending(9000);
        bed.input.timing.process_started = ago(61);
        (bed.last().lost_ready, bed.last().unready_since) = (lost_ready.map(ago), Some(ago(unready)));
        bed.leaning(Lean::Up, 60).decide()
    };
    assert_eq!(restarted(Some(120), 120).desired, Some(3), "it crashed a moment before");
    assert_eq!(restarted(None, 1801).desired, Some(3), "it never came up");
    let loading = restarted(None, 300);
    assert_eq!((loading.desired, loading.clamps), (Some(2), vec![Clamp::NewCapacity]));
}

#[test]
fn lost_replica_counts_neither_way() {
    let lost = |value| {
        let mut bed = waiting(3).serving(value).serving(value).pending(5000);
        bed.input.timing.process_started = ago(5000);
        bed
    };
    assert_eq!(desired(lost(11.0), Lean::Up), 4);
    assert_eq!(desired(lost(1.0), Lean::Down), 2);
}

#[test]
fn nobody_heard_holds() {
    let mut lost = waiting(1).pending(5000);
    lost.input.timing.process_started = ago(5000);
    for (name, bed) in [
        ("silent", waiting(3).silent(60).silent(60).silent(60)),
        ("pending", waiting(3).pending(60)),
        ("lost", lost),
    ] {
        let spec = bed.input.scale.spec_replicas;
        assert_eq!(desired(bed, Lean::Hold), spec, "{name}");
    }
}

#[test]
fn moves_wait_for_our_own_windows() {
    for (lean, window, fleet) in [
        (Lean::Up, 60, waiting(2).serving(30.0).serving(30.0)),
        (Lean::Down, 300, waiting(2).serving(0.0).serving(0.0)),
    ] {
        let early = fleet.clone().leaning(lean, window - 15).decide();
        assert_eq!((early.desired, early.clamps), (Some(2), vec![Clamp::Window]), "{lean:?}");
        assert_ne!(fleet.leaning(lean, window).decide().desired, Some(2), "{lean:?}");
    }
}

#[test]
fn fresh_process_holds_until_it_is_as_old_as_the_longest_window() {
    let young = |age| {
        let metrics = vec![histogram(QUEUE_TIME, 600, 10.0, 1.0)];
        let mut bed = with(metrics, 1).observing(40.0, 10.0, 0.0, 5.0).leaning(Lean::Up, 400);
        bed.input.timing.process_started = ago(age);
        bed.decide()
    };
    assert_eq!(young(599).clamps, [Clamp::FreshProcess]);
    assert_eq!(young(600).desired, Some(2));
    let mut gauges = waiting(1).serving(30.0).leaning(Lean::Up, 60);
    gauges.input.timing.process_started = ago(61);
    assert_eq!(
        gauges.decide().desired,
        Some(2),
        "gauges need their stabilization window alone"
    );
}

#[test]
fn bounds_are_never_left() {
    let at_max = settled(waiting(3).bounds(1, 3).serving(30.0).serving(30.0).serving(30.0), Lean::Up);
    assert_eq!((at_max.desired, at_max.clamps), (Some(3), vec![Clamp::MaxReplicas]));
    let at_min = settled(waiting(2).bounds(2, 5).serving(0.0).serving(0.0), Lean::Down);
    assert_eq!((at_min.desired, at_min.clamps), (Some(2), vec![Clamp::MinReplicas]));
    let above = settled(waiting(5).bounds(1, 3).serving(5.0).serving(5.0), Lean::Hold);
    assert_eq!(above.desired, Some(3));
}

#[test]
fn tolerance_of_an_older_cluster_is_stepped_over() {
    let ten = |lean, value: f64| {
        let bed = (0..10).fold(waiting(10).bounds(1, 20).tolerance(0.1, 0.1), |bed, _| bed.serving(value));
        settled(bed, lean)
    };
    let up = ten(Lean::Up, 30.0);
    assert_eq!((up.answer, up.desired), (Answer::Value(11.001), Some(11)));
    assert_eq!(up.clamps, [Clamp::Beyond]);
    assert_eq!(ten(Lean::Down, 0.0).answer, Answer::Value(8.5));
    assert_eq!(ten(Lean::Hold, 5.0).answer, Answer::Value(10.0));
}

#[test]
fn hold_that_no_value_expresses_is_unavailable() {
    let bed = (0..11).fold(waiting(11).bounds(1, 20).tolerance(0.1, 0.1).status(10), |bed, _| {
        bed.serving(5.0)
    });
    assert!(matches!(settled(bed, Lean::Hold).answer, Answer::Unavailable(_)));
}

#[test]
fn fleet_scaled_to_zero_stays_there() {
    let record = waiting(0).bounds(0, 5).decide();
    assert_eq!((record.answer, record.desired), (Answer::Value(0.0), Some(0)));
}

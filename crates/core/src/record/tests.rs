use super::*;
use crate::families::{RUNNING, WAITING};
use crate::fixture::{Bed, NOW, QUEUE_TIME, ago, gauge, histogram, policy, sum};
use crate::policy::{Combine, MetricKind};
use crate::window::{Reading, Segment};

fn reasons(record: &DecisionRecord) -> Vec<WarningReason> {
    record.warnings.iter().map(|warning| warning.reason).collect()
}

fn message(record: &DecisionRecord) -> &str {
    let [warning] = &record.warnings[..] else {
        panic!("{:?}", record.warnings);
    };
    &warning.message
}

fn contradicting() -> Bed {
    Bed::new(sum(10.0), 2).serving(3.0).replica(|_, _| Reading::Mismatch {
        exposed: "counter".into(),
    })
}

#[test]
fn exposed_type_that_contradicts_holds_and_is_named() {
    let record = contradicting().leaning(Lean::Down, 900).decide();
    assert_eq!((record.answer.clone(), record.lean), (Answer::Value(20.0), Lean::Hold));
    assert_eq!(reasons(&record), [WarningReason::MetricTypeMismatch]);
    assert_eq!(
        message(&record),
        r#"metric "vllm:num_requests_waiting" is declared a gauge, but replica "ws-1" exposes a counter"#
    );
    let mut modified = contradicting();
    modified.input.scale.scaling_modifiers = true;
    assert!(matches!(modified.decide().answer, Answer::Unavailable(_)));
}

#[test]
fn silent_replica_is_named_after_five_minutes_with_its_last_failure() {
    let mut bed = Bed::new(sum(10.0), 2).serving(3.0).silent(299);
    assert_eq!(bed.decide().warnings, []);
    bed = Bed::new(sum(10.0), 2).serving(3.0).silent(300);
    bed.last().series.to_mut().push_failure(ago(1), "connection refused");
    let record = bed.decide();
    assert_eq!(reasons(&record), [WarningReason::ReplicaSilent]);
    assert_eq!(
        message(&record),
        r#"replica "ws-1" is Ready but without metrics for 5 minutes or longer, which keeps replicas from being removed; the last scrape failed: connection refused"#
    );
}

#[test]
fn replicas_given_up_are_named() {
    let mut bed = Bed::new(sum(10.0), 3).serving(3.0).pending(5000);
    bed.input.timing.process_started = ago(5000);
    let record = bed.decide();
    assert_eq!(
        message(&record),
        r#"replica "ws-1" is not serving for more than 30 minutes: no longer waited for"#
    );
    bed.input.history.to_mut().see(
        ago(4000),
        crate::history::Sighting {
            missing: 1,
            ..Default::default()
        },
        &bed.input.timing.clone(),
    );
    let record = bed.decide();
    assert_eq!(reasons(&record), [WarningReason::ReplicaPending]);
    assert!(
        message(&record).contains(r#""ws-1" is and 1 more without a Workspace"#),
        "{}",
        message(&record)
    );
    assert_eq!((record.unborn_pending, record.unborn_lost), (0, 1));
}

#[test]
fn fleet_without_any_metrics_is_named_unless_the_process_has_just_begun() {
    let mut bed = Bed::new(sum(10.0), 1).silent(60);
    assert_eq!(reasons(&bed.decide()), [WarningReason::MetricsUnavailable]);
    bed.input.timing.process_started = ago(30);
    assert_eq!(bed.decide().warnings, []);
    assert_eq!(
        Bed::new(sum(10.0), 0).decide().warnings,
        [],
        "nothing is missing at 0 replicas"
    );
}

#[test]
fn first_replica_is_awaited_without_a_word_until_its_deadline() {
    let record = |age: u64| {
        let mut bed = Bed::new(sum(10.0), 1).pending(age);
        bed.input.timing.process_started = ago(5000);
        reasons(&bed.decide())
    };
    assert_eq!(record(1000), []);
    assert_eq!(
        record(5000),
        [WarningReason::ReplicaPending, WarningReason::MetricsUnavailable]
    );
}

#[test]
fn fleet_that_served_and_is_no_longer_ready_is_named_at_once() {
    let mut bed = Bed::new(sum(10.0), 1).serving(3.0);
    bed.input.timing.process_started = ago(5000);
    assert_eq!(reasons(&bed.decide()), []);
    bed.last().ready_since = None;
    assert_eq!(reasons(&bed.decide()), [WarningReason::MetricsUnavailable]);
}

#[test]
fn metric_that_nobody_exposes_is_named_with_the_nearest_name() {
    let bed = Bed::new(sum(10.0), 1).replica(|_, _| Reading::Absent {
        nearest: Some("vllm:num_requests_wait".into()),
    });
    let record = bed.decide();
    let found = record
        .warnings
        .iter()
        .find(|warning| warning.reason == WarningReason::MetricNotFound)
        .unwrap();
    assert_eq!(
        found.message,
        r#"no Ready replica exposes metric "vllm:num_requests_waiting"; the nearest name is "vllm:num_requests_wait""#
    );
    let one_has_it = bed.serving(1.0).decide();
    assert!(!reasons(&one_has_it).contains(&WarningReason::MetricNotFound));
}

#[test]
fn replica_that_has_long_lacked_one_metric_of_two_is_named() {
    let policy = || {
        policy(
            vec![gauge(WAITING, 10.0, 4.0), histogram(QUEUE_TIME, 300, 30.0, 1.0)],
            Combine::And,
        )
    };
    let lacking = |ready: u64| {
        let mut bed = Bed::new(policy(), 2).serving(5.0).replica(|metric, kind| match kind {
            MetricKind::Histogram => Reading::Absent { nearest: None },
            MetricKind::Gauge => Reading::Gauge(if metric == WAITING { 5.0 } else { 0.0 }),
        });
        bed.last().ready_since = Some(ago(ready));
        let warnings = bed.decide().warnings;
        warnings
            .into_iter()
            .filter(|warning| warning.reason == WarningReason::ReplicaSilent)
            .collect::<Vec<_>>()
    };
    let [warning] = &lacking(300)[..] else {
        panic!("{:?}", lacking(300))
    };
    assert_eq!(
        warning.message,
        format!(
            "replica \"ws-1\" is without metric {QUEUE_TIME:?} for 5 minutes or longer, which keeps replicas from being removed"
        )
    );
    assert_eq!(lacking(299), []);
}

#[test]
fn narrow_band_is_named_with_its_metric() {
    let trigger = policy(
        vec![gauge(WAITING, 10.0, 5.0), gauge("vllm:kv_cache_usage_perc", 0.8, 0.5)],
        Combine::And,
    );
    let record = Bed::new(trigger, 1).serving(7.0).decide();
    assert_eq!(reasons(&record), [WarningReason::NarrowBand]);
    assert!(message(&record).starts_with(r#"metric "vllm:kv_cache_usage_perc": down threshold 0.5"#));
}

#[test]
fn workload_is_active_unless_it_is_known_to_be_quiet() {
    let quiet = |bed: Bed| bed.bounds(0, 5).seen(Lean::Down, 400, true);
    let busy_now = quiet(Bed::new(sum(10.0), 1).observing(0.0, 0.0, 0.0, 1.0));
    for (name, bed, active) in [
        ("quiet for the window", quiet(Bed::new(sum(10.0), 1).serving(0.0)), false),
        ("at zero", Bed::new(sum(10.0), 0).bounds(0, 5), false),
        (
            "minimum of one",
            quiet(Bed::new(sum(10.0), 1).serving(0.0)).bounds(1, 5),
            true,
        ),
        ("minimum of one at zero", Bed::new(sum(10.0), 0), true),
        ("fresh process", Bed::new(sum(10.0), 1).bounds(0, 5).serving(0.0), true),
        (
            "quiet for less",
            Bed::new(sum(10.0), 1).bounds(0, 5).serving(0.0).seen(Lean::Down, 285, true),
            true,
        ),
        (
            "a replica is loading",
            quiet(Bed::new(sum(10.0), 2).serving(0.0).pending(60)),
            true,
        ),
        (
            "a replica is silent",
            quiet(Bed::new(sum(10.0), 2).serving(0.0).silent(60)),
            true,
        ),
        ("something runs", busy_now, true),
    ] {
        assert_eq!(is_active(&bed.input), active, "{name}");
        assert_eq!(bed.decide().active, active, "{name}");
    }
}

#[test]
fn rounds_feed_the_history_with_who_was_heard_and_which_way_it_leant() {
    let mut bed = Bed::new(sum(10.0), 3).serving(0.0).serving(0.0);
    bed.input
        .history
        .to_mut()
        .see(ago(15), crate::history::Sighting::default(), &bed.input.timing.clone());
    let history = next_history(&bed.input);
    assert_eq!(history.members_since(&["ws-0", "ws-1"]), Some(NOW));
    assert_eq!(history.missing_since(), [NOW]);
    assert_eq!(
        (history.idle_since(), history.quiet_since()),
        (Some(NOW), None),
        "one is still to come"
    );
    assert!(history.supports(Lean::Down, std::time::Duration::ZERO, NOW, &bed.input.timing));
    let busy = next_history(&Bed::new(sum(10.0), 2).observing(0.0, 0.0, 0.0, 2.0).serving(0.0).input);
    assert_eq!(busy.idle_since(), None, "as many requests run as replicas serve");
}

#[test]
fn replica_that_does_not_say_what_runs_makes_idleness_unknown() {
    let bed = Bed::new(sum(10.0), 1).replica(|metric, _| match metric {
        RUNNING => Reading::Absent { nearest: None },
        _ => Reading::Gauge(0.0),
    });
    assert_eq!(next_history(&bed.input).idle_since(), None);
}

#[test]
fn everything_a_trigger_needs_is_scraped_once() {
    let names = |trigger: &Aggregation| {
        wanted(trigger)
            .into_iter()
            .map(|one| (one.metric, one.kind))
            .collect::<Vec<_>>()
    };
    let both = [
        (WAITING.to_owned(), MetricKind::Gauge),
        (RUNNING.to_owned(), MetricKind::Gauge),
    ];
    assert_eq!(names(&sum(10.0)), both);
    let trigger = policy(
        vec![histogram(QUEUE_TIME, 120, 3.0, 1.0), gauge(WAITING, 10.0, 1.0)],
        Combine::And,
    );
    assert_eq!(names(&trigger).len(), 3);
    assert_eq!(wanted(&trigger)[0].window.as_secs(), 120);
}

#[test]
fn documented_input_is_read_and_answered() {
    let input: DecisionInput<'_> = serde_json::from_str(EXAMPLE_INPUT).unwrap();
    assert_eq!(input.timing, crate::fleet::Timing::default());
    let record = decide(&input);
    assert_eq!(record.answer, Answer::Value(42.0));
    assert_eq!(record.desired, Some(5));
    let line = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<DecisionRecord>(&line).unwrap(), record);
}

#[test]
fn input_survives_json_with_the_same_decision() {
    let trigger = policy(
        vec![gauge(WAITING, 10.0, 5.0), histogram(QUEUE_TIME, 300, 10.0, 1.0)],
        Combine::Or,
    );
    let bed = Bed::new(trigger, 4)
        .observing(2.0, 3.0, 1.0, 4.0)
        .silent(400)
        .pending(70)
        .without_metrics();
    let bed = bed.leaning(Lean::Up, 600);
    let line = serde_json::to_string(&bed.input).unwrap();
    let read: DecisionInput<'_> = serde_json::from_str(&line).unwrap();
    assert_eq!(read, bed.input);
    assert_eq!(decide(&read), bed.decide());
}

#[test]
fn misspelt_keys_are_refused_and_named() {
    let error = serde_json::from_str::<DecisionInput<'_>>(&EXAMPLE_INPUT.replace("specReplicas", "replicasWanted")).unwrap_err();
    assert!(error.to_string().contains("replicasWanted"), "{error}");
}

#[test]
fn new_segment_after_the_last_round_changes_no_answer_by_itself() {
    let mut bed = Bed::new(sum(10.0), 1).serving(12.0);
    let before = bed.decide();
    bed.last()
        .series
        .to_mut()
        .push(NOW, Segment::of("another", 0, 0), |_, _| Reading::Gauge(12.0));
    assert_eq!(bed.decide(), before);
}

#[test]
fn wish_that_follows_a_step_too_soon_waits_for_the_cooldown() {
    let clamps = |spec: u32, moved: (u64, u32, u32), up: u64| {
        let mut bed = Bed::new(sum(10.0), spec);
        for _ in 0..spec {
            bed = bed.serving(25.0);
        }
        bed.input.scale.cooldown.up = std::time::Duration::from_secs(up);
        bed.input.history.to_mut().moved(ago(moved.0), moved.1, moved.2);
        let record = bed.decide();
        assert_eq!(record.lean, Lean::Up);
        record.clamps
    };
    assert_eq!(clamps(2, (299, 1, 2), 300), [Clamp::Cooldown]);
    assert_eq!(clamps(2, (300, 1, 2), 300), []);
    assert_eq!(clamps(2, (10, 3, 2), 300), [], "a step down forbids none up");
    assert_eq!(clamps(2, (10, 1, 2), 0), [], "no policy, no cooldown");
}

#[test]
fn a_policy_brings_its_own_cooldown() {
    let mut bed = Bed::new(policy(vec![gauge(WAITING, 10.0, 2.0)], Combine::And), 2)
        .serving(25.0)
        .serving(25.0)
        .leaning(Lean::Up, 900);
    assert_eq!(bed.decide().desired, Some(3));
    assert_eq!(bed.decide().clamps, []);
    bed.input.history.to_mut().moved(ago(200), 1, 2);
    assert_eq!(bed.decide().clamps, [Clamp::Cooldown]);
}

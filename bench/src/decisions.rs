//! How long a decision takes: the policy dialect with a gauge and a histogram, for fleets whose windows are full.

use std::borrow::Cow;
use std::hint::black_box;
use std::time::Duration;

use keda_kaito_core::families::RUNNING;
use keda_kaito_core::fleet::{ReplicaView, Timing};
use keda_kaito_core::history::History;
use keda_kaito_core::hpa::Tolerance;
use keda_kaito_core::journal::{Herald, Journal, Limits, Occasion};
use keda_kaito_core::moment::Moment;
use keda_kaito_core::policy::{Combine, MetricKind, MetricRule, ScalingPolicy};
use keda_kaito_core::record::{Answer, Cooldown, DecisionId, DecisionInput, MetricType, Scale, decide, next_history, wanted};
use keda_kaito_core::trigger::{Aggregation, DesiredReplicas};
use keda_kaito_core::window::{Reading, ReplicaSeries, Segment};

use crate::figures::{Figures, Goal};
use crate::reader::{QUEUE_TIME, WAITING};
use crate::rounds::side_by_side;

const INTERVAL: Duration = Duration::from_secs(15);
const STEPS: u32 = 40;

pub(crate) fn measure() -> Figures {
    let (small, large) = (fleet(4), fleet(50));
    for input in [&small, &large] {
        // A decision that ends early would be fast as well.
        let answer = decide(input).answer;
        assert!(matches!(answer, Answer::Value(value) if value > 0.0), "{answer:?}");
    }
    let timings = side_by_side(&mut [&mut || drop(black_box(decide(black_box(&small)))), &mut || {
        drop(black_box(decide(black_box(&large))));
    }]);
    let recorded = [4, 50].map(|replicas| (replicas, recording(replicas)));
    let mut figures = Figures::of("decisions: a policy of a gauge and a histogram of 300 s, every replica serving");
    for (subject, replicas) in [(0, 4), (1, 50)] {
        let seconds = timings.seconds(subject);
        figures.add(format!("one decision, {replicas} replicas"), seconds * 1e6, "µs", Goal::None);
        figures.add(
            format!("decisions a second, {replicas} replicas"),
            1.0 / seconds,
            "/s",
            Goal::None,
        );
    }
    for (replicas, ratio) in recorded {
        figures.add(
            format!("a round that is recorded beside one that is not, {replicas} replicas"),
            ratio,
            "×",
            Goal::AtMost(1.1),
        );
    }
    figures
}

/// How many times longer the end of a round takes when its decision is remembered and looked through for news. The values
/// change from round to round, so that each leaves a point behind; the wish changes every tenth round.
fn recording(replicas: u32) -> f64 {
    let rounds: Vec<_> = [20.0, 21.0, 22.0, 23.0, 24.0, 25.0, 26.0, 27.0, 28.0, 0.5]
        .map(|value| fleet_with(replicas, value))
        .into();
    let limits = Limits {
        entries: 50,
        bytes: 8 * 1024,
    };
    let mut journal = DecisionId::new(1).map(Journal::new);
    let mut herald = Herald::default();
    let (mut bare, mut kept) = (rounds.iter().cycle(), rounds.iter().cycle());
    let timings = side_by_side(&mut [
        &mut || {
            if let Some(input) = bare.next() {
                drop(black_box(next_history(black_box(input))));
                drop(black_box(decide(black_box(input))));
            }
        },
        &mut || {
            if let (Some(input), Some(journal)) = (kept.next(), &mut journal) {
                drop(black_box(next_history(black_box(input))));
                let record = decide(black_box(input));
                let id = journal.note(input, &record, Occasion::Round, limits);
                drop(black_box(herald.hear(input, &record, id, true)));
                drop(black_box(record));
            }
        },
    ]);
    timings.ratio(1, 0)
}

fn policy() -> Aggregation {
    let rule = |name: &str, kind, up_threshold, window| MetricRule {
        name: name.to_owned(),
        kind,
        up_threshold,
        down_threshold: 1.0,
        window,
    };
    Aggregation::DesiredReplicas(Box::new(DesiredReplicas {
        policy: ScalingPolicy {
            metrics: vec![
                rule(WAITING, MetricKind::Gauge, 10.0, Duration::ZERO),
                rule(QUEUE_TIME, MetricKind::Histogram, 30.0, Duration::from_secs(300)),
            ],
            combine: Combine::And,
            evaluation_window: Duration::from_secs(60),
            scale_up_cooldown: Duration::from_secs(300),
            scale_down_cooldown: Duration::from_secs(300),
        },
        min_replicas: 1,
        max_replicas: 100,
        scale_up_tolerance: Some(0.0),
        scale_down_tolerance: Some(0.0),
    }))
}

/// Busy replicas, watched for ten minutes.
fn fleet(replicas: u32) -> DecisionInput<'static> {
    fleet_with(replicas, 20.0)
}

/// The same, with so many requests waiting at each.
fn fleet_with(replicas: u32, waiting: f64) -> DecisionInput<'static> {
    let trigger = policy();
    let mut input = DecisionInput {
        now: Moment::from_secs(0),
        scale: Scale {
            spec_replicas: replicas,
            status_replicas: replicas,
            min_replicas: 1,
            max_replicas: 100,
            tolerance: Tolerance { up: 0.0, down: 0.0 },
            metric_type: MetricType::AverageValue,
            scaling_modifiers: false,
            other_target: false,
            down_window: Duration::from_secs(300),
            cooldown: Cooldown::default(),
        },
        timing: Timing::default(),
        replicas: (0..replicas).map(|index| replica(index, &trigger)).collect(),
        history: Cow::Owned(History::default()),
        trigger: Cow::Owned(trigger),
    };
    for step in 0..STEPS {
        input.now = Moment::from_secs(0).plus(INTERVAL * step);
        for (index, replica) in (0_u32..).zip(&mut input.replicas) {
            let total = f64::from(1000 + 7 * step + index);
            replica
                .series
                .to_mut()
                .push(input.now, Segment::of("uid", 0, 0), |metric, kind| match (metric, kind) {
                    (_, MetricKind::Histogram) => Reading::Histogram {
                        sum: total * 40.0,
                        count: total,
                    },
                    (RUNNING, MetricKind::Gauge) => Reading::Gauge(16.0),
                    (_, MetricKind::Gauge) => Reading::Gauge(waiting),
                });
        }
        input.history = Cow::Owned(next_history(&input));
    }
    input
}

fn replica(index: u32, trigger: &Aggregation) -> ReplicaView<'static> {
    ReplicaView {
        workspace: Cow::Owned(format!("phi-4-mini-{index:05}")),
        created: Moment::from_secs(-3600),
        terminating: false,
        ready_since: Some(Moment::from_secs(-3000)),
        lost_ready: None,
        unready_since: None,
        series: Cow::Owned(ReplicaSeries::new(&wanted(trigger))),
    }
}

//! Fleets for tests, said in few words: at 1000 s, watched since 0 s, sampled just now.

use std::borrow::Cow;
use std::time::Duration;

use crate::families::{RUNNING, WAITING};
use crate::fleet::{ReplicaView, Timing};
use crate::history::{History, Lean, Sighting};
use crate::hpa::Tolerance;
use crate::moment::Moment;
use crate::policy::{Combine, MetricKind, MetricRule, ScalingPolicy};
use crate::record::{DecisionInput, DecisionRecord, decide};
use crate::situation::{Cooldown, MetricType, Scale, wanted};
use crate::trigger::{Aggregation, DesiredReplicas};
use crate::window::{Reading, ReplicaSeries, Segment};

pub(crate) const NOW: Moment = Moment::from_secs(1000);
pub(crate) const QUEUE_TIME: &str = "vllm:request_queue_time_seconds";

pub(crate) fn ago(seconds: u64) -> Moment {
    NOW.minus(Duration::from_secs(seconds))
}

/// A decision input under construction.
#[derive(Clone, Debug)]
pub(crate) struct Bed {
    pub(crate) input: DecisionInput<'static>,
}

pub(crate) fn sum(threshold: f64) -> Aggregation {
    Aggregation::Sum {
        metric: WAITING.to_owned(),
        threshold,
    }
}

pub(crate) fn policy(metrics: Vec<MetricRule>, combine: Combine) -> Aggregation {
    Aggregation::DesiredReplicas(Box::new(DesiredReplicas {
        policy: ScalingPolicy {
            metrics,
            combine,
            evaluation_window: Duration::from_secs(60),
            scale_up_cooldown: Duration::from_secs(300),
            scale_down_cooldown: Duration::from_secs(300),
        },
        min_replicas: 1,
        max_replicas: 10,
        scale_up_tolerance: None,
        scale_down_tolerance: None,
    }))
}

pub(crate) fn gauge(name: &str, up_threshold: f64, down_threshold: f64) -> MetricRule {
    MetricRule {
        name: name.to_owned(),
        kind: MetricKind::Gauge,
        up_threshold,
        down_threshold,
        window: Duration::ZERO,
    }
}

pub(crate) fn histogram(name: &str, window: u64, up_threshold: f64, down_threshold: f64) -> MetricRule {
    MetricRule {
        kind: MetricKind::Histogram,
        window: Duration::from_secs(window),
        ..gauge(name, up_threshold, down_threshold)
    }
}

impl Bed {
    /// `spec` replicas ordered and reported, none added yet; min 1, max 10, tolerance 0.1 up and 0.5 down (policy: none).
    pub(crate) fn new(trigger: Aggregation, spec: u32) -> Self {
        let tolerance = if matches!(trigger, Aggregation::DesiredReplicas(_)) {
            Tolerance { up: 0.0, down: 0.0 }
        } else {
            Tolerance { up: 0.1, down: 0.5 }
        };
        let input = DecisionInput {
            now: NOW,
            trigger: Cow::Owned(trigger),
            scale: Scale {
                spec_replicas: spec,
                status_replicas: spec,
                min_replicas: 1,
                max_replicas: 10,
                tolerance,
                metric_type: MetricType::AverageValue,
                scaling_modifiers: false,
                other_target: false,
                down_window: Duration::from_secs(300),
                cooldown: Cooldown::default(),
            },
            timing: Timing::default(),
            replicas: Vec::new(),
            history: Cow::Owned(History::default()),
        };
        Self { input }
    }

    /// Adds a warm replica whose metrics, at every sample, are what `read` says.
    pub(crate) fn replica(mut self, read: impl Fn(&str, MetricKind) -> Reading) -> Self {
        let mut series = ReplicaSeries::new(&wanted(&self.input.trigger));
        series.push(ago(5), Segment::of("uid", 0, 0), read);
        let index = self.input.replicas.len();
        self.input.replicas.push(ReplicaView {
            workspace: Cow::Owned(format!("ws-{index}")),
            created: ago(5000 - u64::try_from(index).unwrap()),
            terminating: false,
            ready_since: Some(ago(4000)),
            lost_ready: None,
            unready_since: None,
            series: Cow::Owned(series),
        });
        self
    }

    /// Adds a serving replica whose gauges are all `value`, except that nothing runs.
    pub(crate) fn serving(self, value: f64) -> Self {
        self.replica(|metric, kind| match (kind, metric) {
            (MetricKind::Gauge, RUNNING) => Reading::Gauge(0.0),
            (MetricKind::Gauge, _) => Reading::Gauge(value),
            (MetricKind::Histogram, _) => Reading::Histogram { sum: 0.0, count: 0.0 },
        })
    }

    /// Adds a replica sampled every 15 s for 600 s until 10 s ago, whose histogram grew by `count` observations of `mean` in
    /// each step; `waiting` and `running` are its gauges.
    pub(crate) fn observing(self, mean: f64, count: f64, waiting: f64, running: f64) -> Self {
        let mut bed = self.serving(0.0);
        let mut series = ReplicaSeries::new(&wanted(&bed.input.trigger));
        for step in 0..40_u32 {
            let total = 1000.0 + count * f64::from(step);
            let at = ago(595).plus(15 * step * Duration::from_secs(1));
            series.push(at, Segment::of("uid", 0, 0), |metric, kind| match (kind, metric) {
                (MetricKind::Histogram, _) => Reading::Histogram {
                    sum: total * mean,
                    count: total,
                },
                (MetricKind::Gauge, RUNNING) => Reading::Gauge(running),
                (MetricKind::Gauge, _) => Reading::Gauge(waiting),
            });
        }
        bed.last().series = Cow::Owned(series);
        bed
    }

    /// Adds a replica that answers, without any metric.
    pub(crate) fn without_metrics(self) -> Self {
        self.replica(|_, _| Reading::Absent { nearest: None })
    }

    /// Adds a Ready replica that has not answered for `seconds`.
    pub(crate) fn silent(self, seconds: u64) -> Self {
        let mut bed = self.serving(0.0);
        let mut series = ReplicaSeries::new(&wanted(&bed.input.trigger));
        series.push(ago(seconds), Segment::of("uid", 0, 0), |_, _| Reading::Gauge(0.0));
        bed.last().series = Cow::Owned(series);
        bed
    }

    /// Adds a replica made `seconds` ago that is not Ready yet.
    pub(crate) fn pending(self, seconds: u64) -> Self {
        let mut bed = self.serving(0.0);
        *bed.last() = ReplicaView {
            workspace: bed.last().workspace.clone(),
            created: ago(seconds),
            terminating: false,
            ready_since: None,
            lost_ready: None,
            unready_since: None,
            series: Cow::default(),
        };
        bed
    }

    /// The newest replica is being deleted.
    pub(crate) fn terminating(mut self) -> Self {
        self.last().terminating = true;
        self
    }

    /// Samples have leant `lean` for `seconds`, from the same replicas, round after round.
    pub(crate) fn leaning(self, lean: Lean, seconds: u64) -> Self {
        self.seen(lean, seconds, false)
    }

    /// Rounds every 15 s for `seconds` until 5 s ago.
    pub(crate) fn seen(mut self, lean: Lean, seconds: u64, idle: bool) -> Self {
        let situation = crate::situation::Situation::of(&self.input);
        let members: Vec<_> = situation.sampled().into_iter().map(str::to_owned).collect();
        let missing = situation.fleet.unborn.pending + situation.fleet.unborn.lost;
        let mut history = History::default();
        let mut at = ago(seconds);
        while at <= NOW {
            let members = members.clone();
            let sighting = Sighting {
                heard: !members.is_empty(),
                members,
                idle,
                quiet: idle,
                missing,
            };
            history.see(at, sighting, &self.input.timing);
            history.lean(at, lean);
            at = at.plus(Duration::from_secs(15));
        }
        self.input.history = Cow::Owned(history);
        self
    }

    /// After other rounds the fleet has been idle in the last `seconds`.
    pub(crate) fn seen_idle_for(mut self, seconds: u64) -> Self {
        let history = self.input.history.to_mut();
        let idle = |idle, at: Moment, history: &mut History| {
            let members = vec!["ws-0".to_owned()];
            let sighting = Sighting {
                heard: true,
                members,
                idle,
                ..Sighting::default()
            };
            history.see(at, sighting, &Timing::default());
        };
        idle(false, ago(seconds + 1), history);
        for age in (0..=seconds).rev().step_by(15) {
            idle(true, ago(age), history);
        }
        self
    }

    pub(crate) fn status(mut self, status: u32) -> Self {
        self.input.scale.status_replicas = status;
        self
    }

    pub(crate) fn bounds(mut self, min: u32, max: u32) -> Self {
        (self.input.scale.min_replicas, self.input.scale.max_replicas) = (min, max);
        self
    }

    pub(crate) fn tolerance(mut self, up: f64, down: f64) -> Self {
        self.input.scale.tolerance = Tolerance { up, down };
        self
    }

    /// The newest replica.
    pub(crate) fn last(&mut self) -> &mut ReplicaView<'static> {
        self.input.replicas.last_mut().unwrap()
    }

    pub(crate) fn decide(&self) -> DecisionRecord {
        decide(&self.input)
    }
}

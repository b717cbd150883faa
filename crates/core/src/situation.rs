//! What one decision is made from: the input as it is sent or recorded, and the same seen through the fleet's classes.
//! Nothing here decides.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::families::{RUNNING, WAITING};
use crate::fleet::{Fleet, ReplicaView, Timing, classify};
use crate::history::{History, Lean};
use crate::hpa::{Arithmetic, Tolerance};
use crate::moment::Moment;
use crate::policy::{MetricKind, MetricRule};
use crate::trigger::Aggregation;
use crate::window::Wanted;

/// Everything one decision is made from. JSON: camelCase, times in seconds on one clock of the sender's choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DecisionInput<'a> {
    pub now: Moment,
    pub trigger: Cow<'a, Aggregation>,
    pub scale: Scale,
    #[serde(default)]
    pub timing: Timing,
    #[serde(default)]
    pub replicas: Vec<ReplicaView<'a>>,
    #[serde(default)]
    pub history: Cow<'a, History>,
}

/// What the ScaledObject and the scale subresource say.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scale {
    pub spec_replicas: u32,
    pub status_replicas: u32,
    pub min_replicas: u32,
    pub max_replicas: u32,
    /// As the cluster really applies them.
    #[serde(default)]
    pub tolerance: Tolerance,
    #[serde(default)]
    pub metric_type: MetricType,
    /// Whether the ScaledObject has scalingModifiers: then what the HPA does with our number is not known.
    #[serde(default)]
    pub scaling_modifiers: bool,
    /// Whether the ScaledObject scales something else than the InferenceSet: then these counts are not the HPA's.
    #[serde(default)]
    pub other_target: bool,
    /// The HPA's scale-down stabilization. A policy brings its own.
    #[serde(with = "crate::moment::seconds", default = "default_down_window")]
    pub down_window: Duration,
    /// For how long after one step up, and down, the HPA's policies allow no other. A policy brings its own.
    #[serde(default)]
    pub cooldown: Cooldown,
}

/// Durations in seconds; none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cooldown {
    #[serde(with = "crate::moment::seconds")]
    pub up: Duration,
    #[serde(with = "crate::moment::seconds")]
    pub down: Duration,
}

/// The trigger's metricType.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetricType {
    #[default]
    AverageValue,
    Value,
}

/// The HPA's default scale-down stabilization.
fn default_down_window() -> Duration {
    Duration::from_secs(300)
}

/// An input with its replicas classified.
#[derive(Debug)]
pub(crate) struct Situation<'v, 'a> {
    pub(crate) now: Moment,
    pub(crate) trigger: &'v Aggregation,
    pub(crate) scale: &'v Scale,
    pub(crate) timing: &'v Timing,
    pub(crate) history: &'v History,
    pub(crate) replicas: &'v [ReplicaView<'a>],
    pub(crate) fleet: Fleet<'v, 'a>,
}

impl Scale {
    /// The count to stay at: spec.replicas within the bounds, or 0, which only KEDA leaves.
    pub(crate) fn current(&self) -> u32 {
        match self.spec_replicas {
            0 => 0,
            ordered => self.clamp(ordered),
        }
    }

    /// `count` within what the HPA allows; it never goes below 1 (KEDA goes to 0 by activity alone).
    pub(crate) fn clamp(&self, count: u32) -> u32 {
        count.min(self.max_replicas).max(self.min_replicas.max(1))
    }

    /// Whether the HPA computes with our number as it is.
    pub(crate) fn is_understood(&self) -> bool {
        self.metric_type == MetricType::AverageValue && !self.scaling_modifiers && !self.other_target
    }
}

impl<'v, 'a> Situation<'v, 'a> {
    pub(crate) fn of(input: &'v DecisionInput<'a>) -> Self {
        Self::with_history(input, &input.history)
    }

    /// The input as it would be with another history.
    pub(crate) fn with_history(input: &'v DecisionInput<'a>, history: &'v History) -> Self {
        let (scale, timing) = (&input.scale, &input.timing);
        let metrics = metrics_of(&input.trigger);
        Self {
            now: input.now,
            trigger: &input.trigger,
            scale,
            timing,
            history,
            replicas: &input.replicas,
            fleet: classify(
                &input.replicas,
                &metrics,
                scale.spec_replicas,
                history.missing_since(),
                timing,
                input.now,
            ),
        }
    }

    /// The HPA's arithmetic as it stands, with status.replicas as last seen.
    pub(crate) fn arithmetic(&self) -> Arithmetic {
        Arithmetic::new(self.trigger.target(), self.scale.status_replicas, self.scale.tolerance)
    }

    /// Whether every set of samples of the last `window` leant that way; see [`History::supports`].
    pub(crate) fn supports(&self, direction: Lean, window: Duration) -> bool {
        self.history.supports(direction, window, self.now, self.timing)
    }

    /// Whether a step in that direction was seen so recently that the HPA makes no other yet.
    pub(crate) fn cools_down(&self, direction: Lean) -> bool {
        let cooldown = match self.trigger {
            Aggregation::DesiredReplicas(request) => Cooldown {
                up: request.policy.scale_up_cooldown,
                down: request.policy.scale_down_cooldown,
            },
            Aggregation::Sum { .. }
            | Aggregation::ServiceAvg { .. }
            | Aggregation::WindowedAvg { .. }
            | Aggregation::Gate { .. } => self.scale.cooldown,
        };
        let lasts = match direction {
            Lean::Up => cooldown.up,
            Lean::Down => cooldown.down,
            Lean::Hold => return false,
        };
        let last = self.history.last_move(direction);
        last.is_some_and(|last| self.now.since(last) < lasts)
    }

    /// Names of the replicas whose samples count, sorted.
    pub(crate) fn sampled(&self) -> Vec<&str> {
        let views = self.fleet.serving().chain(self.fleet.leaving_answering());
        let mut names: Vec<_> = views.map(|view| view.workspace.as_ref()).collect();
        names.sort_unstable();
        names
    }
}

/// The metrics a trigger is about.
pub(crate) fn metrics_of(trigger: &Aggregation) -> Vec<(&str, MetricKind)> {
    match trigger {
        Aggregation::Sum { metric, .. } | Aggregation::ServiceAvg { metric, .. } => vec![(metric, MetricKind::Gauge)],
        Aggregation::WindowedAvg { metric, .. } => vec![(metric, MetricKind::Histogram)],
        Aggregation::Gate { .. } => Vec::new(),
        Aggregation::DesiredReplicas(request) => {
            let rules = request.policy.metrics.iter();
            rules.map(|rule| (rule.name.as_str(), rule.kind)).collect()
        }
    }
}

/// The same with the window each is taken over, zero for gauges; of a metric named twice the first one's.
pub(crate) fn asked(trigger: &Aggregation) -> impl Iterator<Item = (&str, MetricKind, Duration)> {
    let window_of = move |metric: &str, kind| match trigger {
        Aggregation::WindowedAvg { window, .. } => *window,
        Aggregation::DesiredReplicas(request) => {
            let is_it = |rule: &&MetricRule| rule.name == metric && rule.kind == kind;
            let rule = request.policy.metrics.iter().find(is_it);
            rule.map_or(Duration::ZERO, |rule| rule.window)
        }
        Aggregation::Sum { .. } | Aggregation::ServiceAvg { .. } | Aggregation::Gate { .. } => Duration::ZERO,
    };
    let metrics = metrics_of(trigger).into_iter();
    metrics.map(move |(metric, kind)| (metric, kind, window_of(metric, kind)))
}

/// What has to be scraped of every replica so that `trigger` can be answered.
pub fn wanted(trigger: &Aggregation) -> Vec<Wanted> {
    let mut wanted: Vec<_> = asked(trigger)
        .map(|(metric, kind, window)| Wanted {
            metric: metric.to_owned(),
            kind,
            window,
        })
        .collect();
    // Idleness is known by these two, whatever the metrics are.
    for always in [WAITING, RUNNING] {
        if !wanted
            .iter()
            .any(|known| known.metric == always && known.kind == MetricKind::Gauge)
        {
            wanted.push(Wanted {
                metric: always.to_owned(),
                kind: MetricKind::Gauge,
                window: Duration::ZERO,
            });
        }
    }
    wanted
}

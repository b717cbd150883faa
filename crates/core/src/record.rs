//! The one decision call: everything known goes in, the answer and why comes out. The live scaler, `scaler decide` and
//! replays all make this call; it is pure and keeps nothing.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::families::{RUNNING, WAITING};
use crate::fleet::{Class, ReplicaView, Timing};
use crate::history::{History, Lean};
use crate::hpa::Tolerance;
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
    /// The HPA's scale-down stabilization. A policy brings its own.
    #[serde(with = "crate::moment::seconds", default = "default_down_window")]
    pub down_window: Duration,
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

/// One decision and what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DecisionRecord {
    pub answer: Answer,
    /// What `IsActive` answers.
    pub active: bool,
    /// The replica count aimed at, within min and max; absent where the value alone is the answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub desired: Option<u32>,
    /// Which way these samples point, before windows and bounds: what [`History::lean`] is fed.
    pub lean: Lean,
    /// One sentence.
    pub reason: String,
    pub metrics: Vec<MetricRecord>,
    pub replicas: Vec<ReplicaRecord>,
    /// Replicas ordered that have no Workspace: still awaited, and given up.
    pub unborn_pending: u32,
    pub unborn_lost: u32,
    /// What kept a wanted move from being made, in order.
    pub clamps: Vec<Clamp>,
    pub warnings: Vec<Warning>,
}

/// What is told to KEDA.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Finite, 0 or more.
    Value(f64),
    /// Nothing safe can be said; one sentence.
    Unavailable(String),
}

/// One metric's part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MetricRecord {
    pub name: String,
    /// The least it can be; absent when nothing is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub low: Option<f64>,
    /// The most it can be; absent when there is no bound.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub high: Option<f64>,
    pub lean: Lean,
    /// Why it says nothing, or why not down.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
}

/// One replica's part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaRecord {
    pub workspace: String,
    #[serde(flatten)]
    pub class: Class,
}

/// What held a move back, or bent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Clamp {
    MinReplicas,
    MaxReplicas,
    /// Our own samples do not cover the window yet.
    Window,
    /// A replica that has never served is on its way.
    NewCapacity,
    /// A silent or pending replica.
    Unknown,
    /// The HPA would move another way once status.replicas has caught up.
    StatusLags,
    /// No value makes the HPA return the wanted count; the next one beyond is published.
    Beyond,
}

/// Something a user should know; the reason is an Event's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Warning {
    pub reason: WarningReason,
    /// One sentence.
    pub message: String,
}

/// Event reasons a decision can give rise to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum WarningReason {
    ReplicaSilent,
    ReplicaPending,
    MetricsUnavailable,
    MetricNotFound,
    MetricTypeMismatch,
    NarrowBand,
}

/// Decides. Costs a few microseconds for a fleet of ordinary size.
pub fn decide(input: &DecisionInput<'_>) -> DecisionRecord {
    DecisionRecord {
        answer: Answer::Unavailable("no decision is made yet".to_owned()),
        active: true,
        desired: Some(input.scale.spec_replicas),
        lean: Lean::Hold,
        reason: "no decision is made yet".to_owned(),
        metrics: Vec::new(),
        replicas: Vec::new(),
        unborn_pending: 0,
        unborn_lost: 0,
        clamps: Vec::new(),
        warnings: Vec::new(),
    }
}

/// The history after this round of samples; call it once per scrape round, whoever asks how often in between.
pub fn next_history(input: &DecisionInput<'_>) -> History {
    input.history.clone().into_owned()
}

/// What has to be scraped of every replica so that `trigger` can be answered.
pub fn wanted(trigger: &Aggregation) -> Vec<Wanted> {
    let gauge = |metric: &str| Wanted {
        metric: metric.to_owned(),
        kind: MetricKind::Gauge,
        window: Duration::ZERO,
    };
    let mut wanted = match trigger {
        Aggregation::Sum { metric, .. } | Aggregation::ServiceAvg { metric, .. } => vec![gauge(metric)],
        Aggregation::WindowedAvg { metric, window, .. } => vec![Wanted {
            metric: metric.clone(),
            kind: MetricKind::Histogram,
            window: *window,
        }],
        Aggregation::Gate { .. } => Vec::new(),
        Aggregation::DesiredReplicas(request) => {
            let of = |rule: &MetricRule| Wanted {
                metric: rule.name.clone(),
                kind: rule.kind,
                window: rule.window,
            };
            request.policy.metrics.iter().map(of).collect()
        }
    };
    // Idleness is known by these two, whatever the metrics are.
    for always in [WAITING, RUNNING] {
        let always = gauge(always);
        if !wanted.contains(&always) {
            wanted.push(always);
        }
    }
    wanted
}

//! Why an InferenceSet did (not) scale, as it is told to people and programs: the JSON of `GET /explain`, and the same as text
//! and as a picture. It is made from journals; nothing is decided here.

mod chart;
pub mod svg;
#[cfg(test)]
mod tests;
pub mod text;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::history::Lean;
use crate::journal::{Entry, Point};
use crate::policy::MetricKind;
use crate::record::{Answer, DecisionId};
use crate::trigger::Aggregation;

/// Everything known of one InferenceSet's decisions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    pub namespace: String,
    pub name: String,
    /// When this was said.
    pub at: Timestamp,
    /// The scaler replica that says it; each one knows its own decisions only.
    pub told_by: String,
    /// Absent while there is no such InferenceSet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub spec_replicas: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status_replicas: Option<u32>,
    pub triggers: Vec<TriggerStory>,
}

/// One trigger's decisions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TriggerStory {
    pub scaled_object: String,
    /// The aggregation's word, such as `sum` or `desired-replicas`.
    pub aggregation: String,
    /// The metric's name as KEDA is told it.
    pub metric: String,
    /// The average per replica that KEDA is told to aim at.
    pub target: f64,
    pub thresholds: Vec<Threshold>,
    pub min_replicas: u32,
    pub max_replicas: u32,
    /// The HPA's stabilization windows, in seconds.
    pub up_window_seconds: u64,
    pub down_window_seconds: u64,
    /// KEDA's last call; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_call: Option<Call>,
    /// The decision as it would be now, with every replica; absent where none can be made. Its id is the latest one's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub current: Option<Entry<Timestamp>>,
    /// Newest first.
    pub decisions: Vec<Entry<Timestamp>>,
    /// Oldest first.
    pub timeline: Vec<Point<Timestamp>>,
}

/// What one metric is compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Threshold {
    pub metric: String,
    pub kind: MetricKind,
    /// More is asked for above it.
    pub up: f64,
    /// Fewer are enough below it; absent where `up` is a target on both sides.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub down: Option<f64>,
    /// The value is the whole fleet's, to be divided by the replicas before it is compared.
    pub shared: bool,
}

/// A call of KEDA's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    pub at: Timestamp,
    /// What it was told.
    pub answer: Answer,
    /// The decision told; absent where none could be made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<DecisionId>,
    /// Calls since this process began.
    pub calls: u64,
}

/// All InferenceSets, a line each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    pub at: Timestamp,
    pub told_by: String,
    /// By namespace and name.
    pub inference_sets: Vec<Line>,
    /// InferenceSets left out, which come after the last of these.
    pub more: usize,
}

/// One InferenceSet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    pub namespace: String,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub spec_replicas: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status_replicas: Option<u32>,
    /// The highest count that its triggers wish for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub desired: Option<u32>,
    /// Which way the samples point.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lean: Option<Lean>,
    /// Of the latest decision.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<DecisionId>,
    /// When spec.replicas was last seen to change, as far as that is kept.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub moved: Option<Timestamp>,
}

impl Threshold {
    /// Of every metric of a trigger, in the order of a decision's metrics.
    pub fn of(trigger: &Aggregation) -> Vec<Self> {
        let target = |metric: &String, kind| Self {
            metric: metric.clone(),
            kind,
            up: trigger.target(),
            down: None,
            shared: true,
        };
        match trigger {
            Aggregation::Sum { metric, .. } | Aggregation::ServiceAvg { metric, .. } => vec![target(metric, MetricKind::Gauge)],
            Aggregation::WindowedAvg { metric, .. } => vec![target(metric, MetricKind::Histogram)],
            Aggregation::Gate { .. } => Vec::new(),
            Aggregation::DesiredReplicas(request) => {
                let rules = request.policy.metrics.iter();
                let rule = |rule: &crate::policy::MetricRule| Self {
                    metric: rule.name.clone(),
                    kind: rule.kind,
                    up: rule.up_threshold,
                    down: Some(rule.down_threshold),
                    shared: false,
                };
                rules.map(rule).collect()
            }
        }
    }

    /// A value of the fleet's as it is compared with the thresholds.
    pub fn compared(&self, value: f64, replicas: u32) -> f64 {
        if self.shared {
            value / f64::from(replicas.max(1))
        } else {
            value
        }
    }
}

impl TriggerStory {
    /// The latest decision kept, else the present one.
    pub fn latest(&self) -> Option<&Entry<Timestamp>> {
        self.decisions.first().or(self.current.as_ref())
    }
}

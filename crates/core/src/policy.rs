//! What a user asks for, validated: the types shared by rendering and deciding.
//! How annotations become these is in `policy::annotations`; nothing here reads an object.

pub mod annotations;
pub mod complaint;
pub(crate) mod feasibility;
mod metrics_list;
pub mod replicas;

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How one InferenceSet is to be scaled.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// One metric with a target average per replica; the HPA does the arithmetic.
    Simple(SimpleRule),
    /// Thresholds on several metrics; the scaler decides one step at a time.
    Policy(ScalingPolicy),
}

/// The simple dialect.
#[derive(Clone, Debug, PartialEq)]
pub struct SimpleRule {
    /// Metric family, for example `vllm:num_requests_waiting`.
    pub metric_name: String,
    /// Target average per replica, finite and above 0.
    pub threshold: f64,
}

/// The policy dialect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScalingPolicy {
    pub metrics: Vec<MetricRule>,
    pub combine: Combine,
    /// Scale-up stabilization, whole seconds, 0 to 3600.
    #[serde(rename = "evaluationWindowSeconds", with = "whole_seconds")]
    pub evaluation_window: Duration,
    /// Time between two steps up, whole seconds, 1 to 1800.
    #[serde(rename = "scaleUpCooldownSeconds", with = "whole_seconds")]
    pub scale_up_cooldown: Duration,
    /// Time between two steps down and scale-down stabilization, whole seconds, 1 to 1800.
    #[serde(rename = "scaleDownCooldownSeconds", with = "whole_seconds")]
    pub scale_down_cooldown: Duration,
}

/// How the up votes of several metrics combine; going down always needs all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Combine {
    /// Up when every metric is above its up threshold.
    #[default]
    #[serde(rename = "AND")]
    And,
    /// Up when any metric is above its up threshold.
    #[serde(rename = "OR")]
    Or,
}

/// Thresholds for one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MetricRule {
    /// Metric family, for example `vllm:request_queue_time_seconds`.
    pub name: String,
    #[serde(rename = "type")]
    pub kind: MetricKind,
    /// Above this a metric votes up. Finite, and not below `down_threshold`.
    pub up_threshold: f64,
    /// Below this a metric votes down. Finite, 0 or more.
    pub down_threshold: f64,
    /// Histograms only: length of the window, whole seconds, 15 to 3600. Zero for gauges.
    #[serde(
        rename = "windowSeconds",
        with = "whole_seconds",
        default,
        skip_serializing_if = "Duration::is_zero"
    )]
    pub window: Duration,
}

/// How a metric's samples become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricKind {
    /// The mean over replicas of the current value.
    Gauge,
    /// Δsum/Δcount over the window, replicas weighted by their counts.
    Histogram,
}

/// Whether `name` is a metric name of the Prometheus data model (`[a-zA-Z_:][a-zA-Z0-9_:]*`), at most 200 bytes.
pub fn is_metric_name(name: &str) -> bool {
    let start = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte == b':';
    name.len() <= 200 && name.bytes().next().is_some_and(start) && name.bytes().all(|byte| start(byte) || byte.is_ascii_digit())
}

mod whole_seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(duration.as_secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_secs)
    }
}

//! The one codec between a KEDA trigger's metadata and what it asks of the scaler.
//! The provisioner encodes, the scaler decodes; nothing here looks at a cluster.

mod check;
mod decode;
mod encode;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::policy::ScalingPolicy;

pub(crate) use check::check;
pub use decode::{DecodeError, PORTS_ALLOWED_BY_DEFAULT, decode, is_ours};
pub use encode::encode;

/// Metadata keys of a trigger, as every version of the reference and KEDA itself spell them.
pub mod keys {
    pub const INFERENCE_SET_NAME: &str = "inferenceSetName";
    pub const INFERENCE_SET_NAMESPACE: &str = "inferenceSetNamespace";
    pub const SCALER_ADDRESS: &str = "scalerAddress";
    pub const METRIC_NAME: &str = "metricName";
    pub const THRESHOLD: &str = "threshold";
    pub const METRIC_PROTOCOL: &str = "metricProtocol";
    pub const METRIC_PORT: &str = "metricPort";
    pub const METRIC_PATH: &str = "metricPath";
    pub const SCRAPE_TIMEOUT: &str = "scrapeTimeout";
    pub const METRIC_SOURCE: &str = "metricSource";
    pub const AGGREGATION: &str = "aggregation";
    pub const METRIC_CACHE_WINDOW: &str = "metricCacheWindow";
    pub const CREDENTIAL_EPOCH: &str = "credentialEpoch";
    pub const ENABLE_TLS: &str = "enableTLS";
    /// Ours: the whole policy as canonical JSON, at most 8 KiB.
    pub const POLICY: &str = "policy";
    /// Ours, beside [`POLICY`].
    pub const MIN_REPLICAS: &str = "minReplicas";
    /// Ours, beside [`POLICY`].
    pub const MAX_REPLICAS: &str = "maxReplicas";
    /// Ours: the tolerance the HPA really applies upwards (clusters before 1.35 drop the field), a decimal fraction.
    pub const SCALE_UP_TOLERANCE: &str = "scaleUpTolerance";
    /// Ours: the tolerance the HPA really applies downwards, a decimal fraction.
    pub const SCALE_DOWN_TOLERANCE: &str = "scaleDownTolerance";
}

/// What one trigger asks of the scaler.
#[derive(Clone, Debug, PartialEq)]
pub struct TriggerRequest {
    pub inference_set_name: String,
    pub inference_set_namespace: String,
    /// `host:port` KEDA dials; absent when a caller did not send it.
    pub scaler_address: Option<String>,
    /// The credentials KEDA held when the trigger was written; absent in triggers written by hand.
    pub credential_epoch: Option<u64>,
    pub endpoint: Endpoint,
    pub aggregation: Aggregation,
}

/// Where and how a replica is scraped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    pub protocol: Protocol,
    /// 80 means the port of the Workspace's Service, which is 5000 on the pod: see [`Endpoint::pod_port`].
    pub port: u16,
    /// Starts with `/`.
    pub path: String,
    /// 0.1 s to 10 s.
    pub timeout: Duration,
}

/// The scheme of a scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    #[default]
    Http,
    Https,
}

/// What number a trigger wants. (JSON is for recorded decisions; triggers are encoded by [`encode`].)
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "aggregation",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Aggregation {
    /// Sum over replicas, compared with a target average per replica.
    Sum { metric: String, threshold: f64 },
    /// Mean over replicas.
    ServiceAvg { metric: String, threshold: Option<f64> },
    /// Δsum/Δcount over the window, replicas combined by count.
    WindowedAvg {
        metric: String,
        #[serde(rename = "windowSeconds", with = "crate::moment::seconds")]
        window: Duration,
        threshold: Option<f64>,
    },
    /// 1 when no replica is pending, else 0.
    Gate { metric: String },
    /// The replica count the scaler decides on.
    DesiredReplicas(Box<DesiredReplicas>),
}

/// Everything the policy dialect's decision needs beside the fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DesiredReplicas {
    pub policy: ScalingPolicy,
    pub min_replicas: u32,
    pub max_replicas: u32,
    /// Fractions the HPA applies; `None` when the trigger does not say.
    pub scale_up_tolerance: Option<f64>,
    pub scale_down_tolerance: Option<f64>,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            protocol: Protocol::Http,
            port: 80,
            path: "/metrics".to_owned(),
            timeout: Duration::from_secs(3),
        }
    }
}

impl Endpoint {
    /// The port to dial on the pod: KAITO's Service maps 80 to 5000.
    pub fn pod_port(&self) -> u16 {
        if self.port == 80 { 5000 } else { self.port }
    }
}

impl Aggregation {
    /// The name KEDA knows the metric by (it adds `s<index>-`).
    pub fn metric_name(&self) -> &str {
        match self {
            Self::Sum { metric, .. }
            | Self::ServiceAvg { metric, .. }
            | Self::WindowedAvg { metric, .. }
            | Self::Gate { metric } => metric,
            Self::DesiredReplicas(_) => crate::names::DESIRED_REPLICAS_METRIC,
        }
    }

    /// The target KEDA is told: quantised to KEDA's three decimals, at least 0.001.
    pub fn target(&self) -> f64 {
        let target = match self {
            Self::Sum { threshold, .. } => *threshold,
            Self::ServiceAvg { threshold, .. } | Self::WindowedAvg { threshold, .. } => threshold.unwrap_or(1.0),
            Self::Gate { .. } | Self::DesiredReplicas(_) => 1.0,
        };
        ((target * 1000.0).round() / 1000.0).max(0.001)
    }
}

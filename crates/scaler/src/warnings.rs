//! A decision's warnings and news as Events on the InferenceSet. What is said is decided in `core`; how often a warning is
//! repeated is the recorder's budget.

use k8s_openapi::api::core::v1::ObjectReference;
use keda_kaito_core::journal::{About, News};
use keda_kaito_core::names;
use keda_kaito_core::record::{Warning, WarningReason};
use keda_kaito_runtime::events::{Notice, Severity};

use crate::registry::SetKey;

/// The Event for a warning. `api_version` is the one spoken for InferenceSets.
pub fn notice(key: &SetKey, uid: &str, api_version: &str, warning: &Warning) -> Notice {
    Notice {
        severity: Severity::Warning,
        reason: reason(warning.reason),
        action: "Scaling",
        note: warning.message.clone(),
        regarding: regarding(key, uid, api_version),
    }
}

/// The Event for a wish, or for what holds one back.
pub fn news_notice(key: &SetKey, uid: &str, api_version: &str, news: &News) -> Notice {
    let (severity, reason) = match news.about {
        About::Up => (Severity::Normal, "ScaleUpWanted"),
        About::Down => (Severity::Normal, "ScaleDownWanted"),
        About::Held(_) => (Severity::Warning, "ScalingHeld"),
    };
    Notice {
        severity,
        reason,
        action: "Scaling",
        note: news.message.clone(),
        regarding: regarding(key, uid, api_version),
    }
}

fn regarding(key: &SetKey, uid: &str, api_version: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some(api_version.to_owned()),
        kind: Some(names::INFERENCE_SET_KIND.to_owned()),
        name: Some(key.name.to_string()),
        namespace: Some(key.namespace.to_string()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}

fn reason(reason: WarningReason) -> &'static str {
    match reason {
        WarningReason::ReplicaSilent => "ReplicaSilent",
        WarningReason::ReplicaPending => "ReplicaPending",
        WarningReason::MetricsUnavailable => "MetricsUnavailable",
        WarningReason::MetricNotFound => "MetricNotFound",
        WarningReason::MetricTypeMismatch => "MetricTypeMismatch",
        WarningReason::NarrowBand => "NarrowBand",
    }
}

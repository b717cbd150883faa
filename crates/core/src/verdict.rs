//! How a decision turns into a number for KEDA: the parts that both dialects share. Deciding is in `simple` and `decide`.

use serde::{Deserialize, Serialize};

use crate::estimate::Range;
use crate::history::Lean;
use crate::hpa::Arithmetic;
use crate::situation::Situation;

/// What held a move back, or bent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Clamp {
    MinReplicas,
    MaxReplicas,
    /// Our own samples do not cover the window yet.
    Window,
    /// This process is younger than the longest window.
    FreshProcess,
    /// A replica that has never served is on its way.
    NewCapacity,
    /// A silent or pending replica forbids a move down.
    Unknown,
    /// The HPA would move another way once status.replicas has caught up with spec.replicas.
    StatusLags,
    /// The HPA made a step this way so recently that its policies allow no other yet.
    Cooldown,
    /// The value calls for another count, but lies so near the target that the HPA lets it be.
    Tolerance,
    /// No value makes the HPA return the wanted count; the next one beyond is published.
    Beyond,
}

/// One metric's part in a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MetricRecord {
    pub name: String,
    /// The least it can be; absent when it says nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub low: Option<f64>,
    /// The most it can be; absent when there is no bound.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub high: Option<f64>,
    /// Which way it alone points.
    pub lean: Lean,
    /// Why it says nothing, or does not point down.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
}

/// A decision before it is recorded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// Thousandths to publish, or why nothing can be.
    pub(crate) value: Result<i64, String>,
    /// The count aimed at, where there is one.
    pub(crate) desired: Option<u32>,
    pub(crate) lean: Lean,
    pub(crate) reason: String,
    pub(crate) metrics: Vec<MetricRecord>,
    pub(crate) clamps: Vec<Clamp>,
}

impl Verdict {
    /// A number whose effect is not known here.
    pub(crate) fn plain(value: Result<i64, String>, reason: impl Into<String>) -> Self {
        Self {
            value,
            desired: None,
            lean: Lean::Hold,
            reason: reason.into(),
            metrics: Vec::new(),
            clamps: Vec::new(),
        }
    }
}

impl MetricRecord {
    pub(crate) fn of(name: &str, range: Range, lean: Lean) -> Self {
        Self {
            name: name.to_owned(),
            low: Some(range.low),
            high: range.high,
            lean,
            note: None,
        }
    }

    pub(crate) fn silent(name: &str, note: &str) -> Self {
        Self {
            name: name.to_owned(),
            low: None,
            high: None,
            lean: Lean::Hold,
            note: Some(note.to_owned()),
        }
    }
}

/// Which way `count` is from `current`.
pub(crate) fn direction(count: u32, current: u32) -> Lean {
    match count.cmp(&current) {
        std::cmp::Ordering::Greater => Lean::Up,
        std::cmp::Ordering::Less => Lean::Down,
        std::cmp::Ordering::Equal => Lean::Hold,
    }
}

/// The value on which the HPA keeps `count`: everyone exactly at target where that works, else the safest one.
pub(crate) fn holding(arithmetic: &Arithmetic, count: u32) -> Option<i64> {
    let at_target = arithmetic.at_target(count);
    if arithmetic.recommends(at_target) == count {
        Some(at_target)
    } else {
        arithmetic.middle_for(count)
    }
}

/// Why no value holds.
pub(crate) fn cannot_hold(situation: &Situation<'_, '_>) -> String {
    format!(
        "spec.replicas is {} and status.replicas {}: no value makes the HPA keep the replicas until they agree",
        situation.scale.spec_replicas, situation.scale.status_replicas
    )
}

//! The bounds that every trigger keeps, whoever wrote it: a provisioner, a hand, or a recorded decision.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Aggregation;
use crate::policy::{MetricKind, ScalingPolicy, is_metric_name};

const MAX_POLICY_METRICS: usize = 16;
const MAX_THRESHOLD: f64 = 1e12;
/// What a histogram may be taken over.
pub(super) const WINDOW_SECONDS: RangeInclusive<u64> = 15..=3600;

pub(super) fn is_threshold(number: f64) -> bool {
    number > 0.0 && number <= MAX_THRESHOLD
}

/// # Errors
/// One sentence about the first bound that is not kept.
pub(crate) fn check(asked: &Aggregation) -> Result<(), String> {
    let (threshold, window) = match asked {
        Aggregation::Sum { threshold, .. } => (Some(*threshold), None),
        Aggregation::ServiceAvg { threshold, .. } => (*threshold, None),
        Aggregation::WindowedAvg { threshold, window, .. } => (*threshold, Some(*window)),
        Aggregation::Gate { .. } => (None, None),
        Aggregation::DesiredReplicas(request) => return check_policy(&request.policy),
    };
    if let Some(threshold) = threshold.filter(|threshold| !is_threshold(*threshold)) {
        return Err(format!("threshold {threshold:e} is not above 0 and at most 1e12"));
    }
    if window.is_some_and(|window| !is_window(window)) {
        return Err("windowSeconds must be 15 to 3600".to_owned());
    }
    Ok(())
}

/// # Errors
/// As above.
pub(super) fn check_policy(policy: &ScalingPolicy) -> Result<(), String> {
    if policy.metrics.is_empty() || policy.metrics.len() > MAX_POLICY_METRICS {
        return Err(format!(
            "{} metrics; 1 to {MAX_POLICY_METRICS} are accepted",
            policy.metrics.len()
        ));
    }
    if policy.evaluation_window > Duration::from_secs(3600) {
        return Err("evaluationWindowSeconds must be at most 3600".to_owned());
    }
    let cooldown = Duration::from_secs(1)..=Duration::from_secs(1800);
    if !cooldown.contains(&policy.scale_up_cooldown) || !cooldown.contains(&policy.scale_down_cooldown) {
        return Err("cooldowns must be 1 to 1800 seconds".to_owned());
    }
    for metric in &policy.metrics {
        let (up, down) = (metric.up_threshold, metric.down_threshold);
        if !is_metric_name(&metric.name) {
            return Err(format!("{:?} is not a Prometheus metric name", metric.name));
        }
        if !up.is_finite() || !down.is_finite() || down < 0.0 || down > up || up > MAX_THRESHOLD {
            return Err(format!("{}: thresholds need 0 <= down <= up <= 1e12", metric.name));
        }
        if metric.kind == MetricKind::Histogram && !is_window(metric.window) {
            return Err(format!("{}: windowSeconds must be 15 to 3600", metric.name));
        }
    }
    Ok(())
}

fn is_window(window: Duration) -> bool {
    let (least, most) = (*WINDOW_SECONDS.start(), *WINDOW_SECONDS.end());
    (Duration::from_secs(least)..=Duration::from_secs(most)).contains(&window)
}

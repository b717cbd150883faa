//! Whether an input could have come of a cluster. The live scaler reads none that does not; who brings one from elsewhere asks
//! first.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::exposition::MAX_VALUE;
use crate::situation::DecisionInput;
use crate::trigger::{Aggregation, check_policy};

/// Seconds that a histogram may be taken over.
const WINDOW: RangeInclusive<Duration> = Duration::from_secs(15)..=Duration::from_secs(3600);

impl DecisionInput<'_> {
    /// # Errors
    /// One sentence: bounds, thresholds or windows that no trigger may have, samples from the future or out of order.
    pub fn check(&self) -> Result<(), String> {
        let scale = &self.scale;
        if scale.max_replicas == 0 || scale.min_replicas > scale.max_replicas {
            let (min, max) = (scale.min_replicas, scale.max_replicas);
            return Err(format!(
                "scale: {min} to {max} replicas: the most must be 1 or more, and not below the fewest"
            ));
        }
        for side in [scale.tolerance.up, scale.tolerance.down] {
            if !side.is_finite() || side < 0.0 {
                return Err(format!("scale.tolerance: {side} is no fraction of 0 or more"));
            }
        }
        trigger(&self.trigger).map_err(|problem| format!("trigger: {problem}"))?;
        for replica in &self.replicas {
            let named = |problem: &str| format!("replica {:?}: {problem}", replica.workspace);
            replica.series.check(self.now).map_err(named)?;
        }
        Ok(())
    }
}

fn trigger(asked: &Aggregation) -> Result<(), String> {
    let (threshold, window) = match asked {
        Aggregation::Sum { threshold, .. } => (Some(*threshold), None),
        Aggregation::ServiceAvg { threshold, .. } => (*threshold, None),
        Aggregation::WindowedAvg { threshold, window, .. } => (*threshold, Some(*window)),
        Aggregation::Gate { .. } => (None, None),
        Aggregation::DesiredReplicas(request) => return check_policy(&request.policy),
    };
    if let Some(threshold) = threshold.filter(|threshold| !(*threshold > 0.0 && *threshold <= MAX_VALUE)) {
        return Err(format!("threshold {threshold:e} is not above 0 and at most 1e12"));
    }
    if window.is_some_and(|window| !WINDOW.contains(&window)) {
        return Err("windowSeconds must be 15 to 3600".to_owned());
    }
    Ok(())
}

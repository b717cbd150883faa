//! Whether an input could have come of a cluster. The live scaler reads none that does not; who brings one from elsewhere asks
//! first.

use crate::situation::DecisionInput;
use crate::trigger;

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
        trigger::check(&self.trigger).map_err(|problem| format!("trigger: {problem}"))?;
        for replica in &self.replicas {
            let named = |problem: &str| format!("replica {:?}: {problem}", replica.workspace);
            replica.series.check(self.now).map_err(named)?;
        }
        Ok(())
    }
}

//! Stabilization and scaling policies of the HPA (Kubernetes 1.35, horizontal.go), as far as rendered ScaledObjects use
//! them: Pods policies, select Max. The live scaler does not need it; simulations and comparisons with the real HPA do.

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::moment::Moment;

/// One direction's rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    pub stabilization: Duration,
    /// The one that allows most wins.
    pub policies: Vec<PodsPolicy>,
}

/// At most `pods` per `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodsPolicy {
    pub pods: u32,
    pub period: Duration,
}

/// One HPA and what it remembers.
#[derive(Clone, Debug, PartialEq)]
pub struct Autoscaler {
    pub up: Rules,
    pub down: Rules,
    /// At least 1, as KEDA sets it.
    pub min: u32,
    pub max: u32,
    recommendations: Vec<(Moment, u32)>,
    ups: Vec<(Moment, u32)>,
    downs: Vec<(Moment, u32)>,
}

impl Rules {
    /// One policy of `pods` per `period`.
    pub fn one_policy(stabilization: Duration, pods: u32, period: Duration) -> Self {
        Self {
            stabilization,
            policies: vec![PodsPolicy { pods, period }],
        }
    }

    fn longest_period(&self) -> Duration {
        self.policies.iter().map(|policy| policy.period).max().unwrap_or_default()
    }
}

impl Autoscaler {
    /// An HPA that has seen nothing yet.
    pub fn new(up: Rules, down: Rules, min: u32, max: u32) -> Self {
        Self {
            up,
            down,
            min: min.max(1),
            max,
            recommendations: Vec::new(),
            ups: Vec::new(),
            downs: Vec::new(),
        }
    }

    /// One sync: `current` is spec.replicas, `recommended` what the metrics say, `None` when none could be read.
    /// Returns the new spec.replicas.
    pub fn sync(&mut self, now: Moment, current: u32, recommended: Option<u32>) -> u32 {
        if self.recommendations.is_empty() {
            self.recommendations.push((now, current));
        }
        let wanted = if current == 0 {
            0
        } else if current > self.max {
            self.max
        } else if current < self.min {
            self.min
        } else {
            match recommended {
                None => return current,
                Some(recommended) => {
                    let stabilized = self.stabilize(now, current, recommended);
                    self.limit(now, current, stabilized)
                }
            }
        };
        self.remember_scaling(now, current, wanted);
        wanted
    }

    /// The process forgets: a restart of the controller manager.
    pub fn forget(&mut self) {
        self.recommendations.clear();
        self.ups.clear();
        self.downs.clear();
    }

    fn stabilize(&mut self, now: Moment, current: u32, recommended: u32) -> u32 {
        let recent = |window: Duration| {
            let cutoff = now.minus(window);
            self.recommendations
                .iter()
                .filter(move |(at, _)| *at > cutoff)
                .map(|(_, count)| *count)
        };
        let lowest = recent(self.up.stabilization).fold(recommended, u32::min);
        let highest = recent(self.down.stabilization).fold(recommended, u32::max);
        let stabilized = current.max(lowest).min(highest);
        let oldest = now.minus(self.up.stabilization.max(self.down.stabilization));
        self.recommendations.retain(|(at, _)| *at >= oldest);
        self.recommendations.push((now, recommended));
        stabilized
    }

    fn limit(&self, now: Moment, current: u32, wanted: u32) -> u32 {
        // Signed, because a period may start at fewer than zero replicas on paper.
        let start = |period: Duration| i64::from(current) - within(&self.ups, now, period) + within(&self.downs, now, period);
        let current = i64::from(current);
        let wanted = i64::from(wanted);
        let allowed = if wanted > current {
            let most = self
                .up
                .policies
                .iter()
                .map(|policy| start(policy.period) + i64::from(policy.pods))
                .max();
            wanted.min(i64::from(self.max).min(most.unwrap_or(current).max(current)))
        } else if wanted < current {
            let least = self
                .down
                .policies
                .iter()
                .map(|policy| start(policy.period) - i64::from(policy.pods))
                .min();
            wanted.max(i64::from(self.min).max(least.unwrap_or(current).min(current)))
        } else {
            wanted
        };
        u32::try_from(allowed).unwrap_or(0)
    }

    fn remember_scaling(&mut self, now: Moment, current: u32, wanted: u32) {
        if wanted == current {
            return;
        }
        let (events, period) = if wanted > current {
            (&mut self.ups, self.up.longest_period())
        } else {
            (&mut self.downs, self.down.longest_period())
        };
        let event = (now, wanted.abs_diff(current));
        // Outdated events stay until a new one of their direction takes their place, one for one, as in the original:
        // a longer period of the other direction can still see them.
        let cutoff = now.minus(period);
        match events.iter_mut().rev().find(|(at, _)| *at < cutoff) {
            Some(slot) => *slot = event,
            None => events.push(event),
        }
    }
}

fn within(events: &[(Moment, u32)], now: Moment, period: Duration) -> i64 {
    let cutoff = now.minus(period);
    events
        .iter()
        .filter(|(at, _)| *at > cutoff)
        .map(|(_, change)| i64::from(*change))
        .sum()
}

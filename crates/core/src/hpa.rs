//! What the HorizontalPodAutoscaler of Kubernetes 1.35 makes of one external metric of type AverageValue, in KEDA's milli
//! integers, and the way back: which value makes it return a wanted count. Stabilization and policies are in
//! `hpa::behavior`. Sources: `GetExternalPerPodMetricReplicas` (replica_calculator.go), `quantityFromFloat64` (KEDA's scaler.go).

pub mod behavior;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// Largest value considered, in thousandths: below it, a float prints back the same three decimals.
pub const MAX_MILLI: i64 = 4_000_000_000_000_000;

/// How far the ratio of value to target may be from 1 without effect, as fractions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tolerance {
    pub up: f64,
    pub down: f64,
}

impl Default for Tolerance {
    /// kube-controller-manager's `--horizontal-pod-autoscaler-tolerance`.
    fn default() -> Self {
        Self { up: 0.1, down: 0.1 }
    }
}

/// The HPA's view while it evaluates one metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arithmetic {
    target: i64,
    status: u32,
    tolerance: Tolerance,
}

/// A value as KEDA hands it to the HPA: thousandths, halves to even as Go's `%.3f`; NaN, infinite and negative values are 0.
pub fn milli(value: f64) -> i64 {
    if !value.is_finite() || value <= 0.0 {
        return 0;
    }
    let scaled = value * 1000.0;
    #[expect(clippy::cast_precision_loss, reason = "MAX_MILLI is exact in a float")]
    if scaled >= MAX_MILLI as f64 {
        return MAX_MILLI;
    }
    let near_half = (scaled.fract() - 0.5).abs() < 1e-3;
    // The product is rounded itself: only the decimal expansion decides close to a half.
    if near_half && let Ok(exact) = format!("{value:.3}").replace('.', "").parse() {
        return exact;
    }
    #[expect(clippy::cast_possible_truncation, reason = "below MAX_MILLI")]
    {
        scaled.round() as i64
    }
}

/// Thousandths as the value to publish.
pub fn value(milli: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "exact up to MAX_MILLI")]
    {
        milli as f64 / 1000.0
    }
}

impl Arithmetic {
    /// `target` is the average value per replica that KEDA was told; `status` is the scale's status.replicas.
    pub fn new(target: f64, status: u32, tolerance: Tolerance) -> Self {
        let sane = |fraction: f64| {
            if fraction.is_finite() {
                fraction.max(0.0)
            } else {
                Tolerance::default().up
            }
        };
        Self {
            target: milli(target).max(1),
            status,
            tolerance: Tolerance {
                up: sane(tolerance.up),
                down: sane(tolerance.down),
            },
        }
    }

    /// The same with another status.replicas.
    #[must_use]
    pub fn with_status(self, status: u32) -> Self {
        Self { status, ..self }
    }

    /// Target times `replicas`, in thousandths: the sum at which each of them is exactly at target.
    pub fn at_target(&self, replicas: u32) -> i64 {
        self.target.saturating_mul(i64::from(replicas)).min(MAX_MILLI)
    }

    /// The count the HPA recommends on `value` (thousandths), before stabilization, policies, min and max.
    pub fn recommends(&self, value: i64) -> u32 {
        #[expect(clippy::cast_precision_loss, reason = "as the HPA computes")]
        let (usage, target) = (value as f64, self.target as f64);
        let ratio = usage / (target * f64::from(self.status));
        let within = 1.0 - self.tolerance.down <= ratio && ratio <= 1.0 + self.tolerance.up;
        if within { self.status } else { self.calls_for(value) }
    }

    /// The count that `value` (thousandths) calls for, were there no tolerance.
    pub fn calls_for(&self, value: i64) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "as the HPA computes: capped at i32::MAX, never negative"
        )]
        {
            (value as f64 / self.target as f64).ceil().min(f64::from(i32::MAX)) as u32
        }
    }

    /// Every value (thousandths) on which the HPA recommends exactly `count`; `None` when no value does.
    pub fn values_for(&self, count: u32) -> Option<RangeInclusive<i64>> {
        let low = self.first_at_least(count)?;
        let high = self
            .first_at_least(count.saturating_add(1))
            .map_or(MAX_MILLI, |next| next - 1);
        (low <= high && self.recommends(low) == count).then_some(low..=high)
    }

    /// The value in the middle of [`Self::values_for`], the furthest from a wrong answer.
    pub fn middle_for(&self, count: u32) -> Option<i64> {
        self.values_for(count)
            .map(|values| values.start() + (values.end() - values.start()) / 2)
    }

    /// The smallest value on which the HPA recommends more than `count`.
    pub fn just_above(&self, count: u32) -> Option<i64> {
        self.first_at_least(count.saturating_add(1))
    }

    /// The largest value on which the HPA recommends fewer than `count`.
    pub fn just_below(&self, count: u32) -> Option<i64> {
        self.first_at_least(count).and_then(|first| (first > 0).then(|| first - 1))
    }

    /// The recommendation never falls as the value grows (floats round monotonically), so bisection is exact.
    fn first_at_least(&self, count: u32) -> Option<i64> {
        if self.recommends(MAX_MILLI) < count {
            return None;
        }
        let (mut low, mut high) = (0, MAX_MILLI);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.recommends(middle) >= count {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Some(low)
    }
}

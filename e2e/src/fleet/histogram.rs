//! A cumulative histogram over a fixed ladder of upper bounds, as Prometheus clients keep it.

use std::sync::Arc;

/// Counts per bucket, their sum and their number.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    ladder: Arc<[f64]>,
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// An empty histogram; `ladder` holds the upper bounds in ascending order, `+Inf` last.
    #[must_use]
    pub fn new(ladder: Arc<[f64]>) -> Self {
        Self {
            counts: vec![0; ladder.len()],
            ladder,
            sum: 0.0,
        }
    }

    /// Adds `count` observations of `value`.
    pub fn observe(&mut self, value: f64, count: u64) {
        let bucket = self.ladder.iter().position(|bound| value <= *bound);
        if let Some(counted) = bucket.and_then(|i| self.counts.get_mut(i)) {
            *counted = counted.saturating_add(count);
            self.sum += value * count as f64;
        }
    }

    /// Observations at most as large as the bound at `index`.
    #[must_use]
    pub fn cumulative(&self, index: usize) -> u64 {
        self.counts.iter().take(index.saturating_add(1)).sum()
    }

    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    #[must_use]
    pub const fn sum(&self) -> f64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_counts_in_its_bucket_and_in_all_above() {
        let mut histogram = Histogram::new(Arc::from([0.5, 1.0, f64::INFINITY]));
        histogram.observe(0.5, 2);
        histogram.observe(0.7, 1);
        histogram.observe(90.0, 3);
        let cumulative: Vec<u64> = (0..3).map(|i| histogram.cumulative(i)).collect();
        assert_eq!(cumulative, [2, 3, 6]);
        assert_eq!(histogram.count(), 6);
        assert!((histogram.sum() - 271.7).abs() < 1e-9);
    }
}

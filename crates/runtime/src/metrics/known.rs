//! A gauge of something that has to be measured first: it is on no page before. Where 0 is true from the start a plain gauge
//! does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

/// See the module. Clones share the value.
#[derive(Clone, Debug)]
pub struct Known {
    /// The bits of a number; of none while nothing is known.
    bits: Arc<AtomicU64>,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            bits: Arc::new(AtomicU64::new(f64::NAN.to_bits())),
        }
    }
}

impl Known {
    /// Shows `value`, in the family's unit; `None` takes it off the page again.
    pub fn set(&self, value: Option<f64>) {
        self.bits.store(value.unwrap_or(f64::NAN).to_bits(), Ordering::Relaxed);
    }

    /// As [`Self::set`], of a number of things.
    pub fn count(&self, things: usize) {
        #[expect(clippy::cast_precision_loss, reason = "nothing that is counted here comes near 2^52")]
        self.set(Some(things as f64));
    }

    fn value(&self) -> Option<f64> {
        Some(f64::from_bits(self.bits.load(Ordering::Relaxed))).filter(|value| !value.is_nan())
    }
}

impl EncodeMetric for Known {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        // Between the question and the answer it may have become unknown.
        let Some(value) = self.value() else { return Ok(()) };
        match whole(value) {
            Some(number) => ConstGauge::new(number).encode(encoder),
            None => ConstGauge::new(value).encode(encoder),
        }
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }

    fn is_empty(&self) -> bool {
        self.value().is_none()
    }
}

/// Whole numbers are written as such.
fn whole(value: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "only what is small and whole")]
    (value.fract() == 0.0 && value.abs() < 1e15).then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::Known;
    use crate::metrics::SharedRegistry;

    #[test]
    fn gauge_is_on_the_page_only_while_its_value_is_known() {
        let registry = SharedRegistry::with_prefix("shop");
        let stock = Known::default();
        registry.register(|registry| registry.register("stock", "Things in stock", stock.clone()));
        let page = || registry.encode().unwrap();
        assert_eq!(page(), "# EOF\n");
        assert_eq!(registry.describe().unwrap().len(), 1, "it is documented all the same");
        stock.count(0);
        assert!(page().contains("\nshop_stock 0\n"), "{}", page());
        stock.set(Some(1.8e9));
        assert!(page().contains("\nshop_stock 1800000000\n"), "{}", page());
        stock.set(Some(-0.5));
        assert!(page().contains("\nshop_stock -0.5\n"), "{}", page());
        stock.set(None);
        assert_eq!(page(), "# EOF\n");
    }
}

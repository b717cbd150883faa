//! The registry of a process's own metrics: shared registration, build info, start time, encoding.
//! It does not serve them; `admin` does.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// The content type of [`SharedRegistry::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A registry that several parts of a process add to and the admin server reads. Clones share it.
#[derive(Clone)]
pub struct SharedRegistry {
    registry: Arc<Mutex<Registry>>,
}

impl SharedRegistry {
    /// A registry whose metric names all start with `prefix` and an underscore.
    #[must_use]
    pub fn with_prefix(prefix: &str) -> Self {
        Self {
            registry: Arc::new(Mutex::new(Registry::with_prefix(prefix))),
        }
    }

    /// Lets `add` register metrics and hands back what it returns, usually a struct of handles.
    pub fn register<T>(&self, add: impl FnOnce(&mut Registry) -> T) -> T {
        add(&mut self.lock())
    }

    /// Everything in the OpenMetrics text format.
    ///
    /// # Errors
    /// A collector failed to write itself.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.lock())?;
        Ok(text)
    }

    pub(crate) fn register_process(&self, program: &str, version: &str) {
        let build = Family::<[(&'static str, String); 2], Gauge>::default();
        build
            .get_or_create(&[("program", program.to_owned()), ("version", version.to_owned())])
            .set(1);
        let start = Gauge::<f64, AtomicU64>::default();
        start.set(jiff::Timestamp::now().as_duration().as_secs_f64());
        let mut registry = self.lock();
        registry.register("build_info", "Program and version of this process; always 1", build);
        registry.register_with_unit(
            "process_start_time",
            "When this process started, as a Unix time",
            Unit::Seconds,
            start,
        );
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SharedRegistry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SharedRegistry").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::SharedRegistry;

    #[test]
    fn names_carry_the_prefix_and_the_build_its_version() {
        let registry = SharedRegistry::with_prefix("shop");
        registry.register_process("till", "1.2.3");
        let sales = Counter::<u64>::default();
        registry.register(|registry| registry.register("sales", "Sales", sales.clone()));
        sales.inc();

        let text = registry.encode().unwrap();

        assert!(
            text.contains("shop_build_info{program=\"till\",version=\"1.2.3\"} 1\n"),
            "{text}"
        );
        assert!(text.contains("shop_sales_total 1\n"), "{text}");
        let start = text
            .lines()
            .find_map(|line| line.strip_prefix("shop_process_start_time_seconds "))
            .and_then(|value| value.parse::<f64>().ok())
            .unwrap();
        assert!(start > 1.7e9, "{start}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}

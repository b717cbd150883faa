//! The registry of a process's own metrics: shared registration, build info, start time, encoding, and what is registered
//! as a table. It does not serve them; `admin` does.

mod known;
mod table;

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{self, Metric, Unit};

pub use known::Known;
pub use table::{Described, differences};

/// The content type of [`SharedRegistry::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A registry that several parts of a process add to and the admin server reads. Clones share it.
#[derive(Clone)]
pub struct SharedRegistry {
    prefix: Arc<str>,
    registry: Arc<Mutex<Registry>>,
}

/// What metrics are added to. It also remembers what they are called: a family without samples is on no page.
#[derive(Debug)]
pub struct Registry {
    inner: registry::Registry,
    described: Vec<Described>,
}

impl Registry {
    /// Adds a metric. `name` goes without prefix and `_total`, `help` without a final period.
    pub fn register(&mut self, name: &str, help: &str, metric: impl Metric) {
        self.described.push(Described::new(name, help, None, metric.metric_type()));
        self.inner.register(name, help, metric);
    }

    /// Adds a metric whose name gets the unit behind it.
    pub fn register_with_unit(&mut self, name: &str, help: &str, unit: Unit, metric: impl Metric) {
        self.described
            .push(Described::new(name, help, Some(&unit), metric.metric_type()));
        self.inner.register_with_unit(name, help, unit, metric);
    }

    /// Adds what writes its families itself, each time with or without samples.
    pub fn register_collector(&mut self, collector: Box<dyn Collector>) {
        self.inner.register_collector(collector);
    }
}

impl SharedRegistry {
    /// A registry whose metric names all start with `prefix` and an underscore.
    #[must_use]
    pub fn with_prefix(prefix: &str) -> Self {
        Self {
            prefix: prefix.into(),
            registry: Arc::new(Mutex::new(Registry {
                inner: registry::Registry::with_prefix(prefix),
                described: Vec::new(),
            })),
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
        encode(&mut text, &self.lock().inner)?;
        Ok(text)
    }

    /// Every family, with and without samples, by the name of its series; in the order of the names.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn describe(&self) -> Result<Vec<Described>, fmt::Error> {
        let page = self.encode()?;
        let mut all = Described::on_page(&page);
        for known in &self.lock().described {
            all.push(known.prefixed(&self.prefix));
        }
        all.sort();
        all.dedup();
        Ok(all)
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
    use prometheus_client::metrics::family::Family;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::registry::Unit;

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

    #[test]
    fn families_are_described_with_and_without_samples() {
        let registry = SharedRegistry::with_prefix("shop");
        let sales = Counter::<u64>::default();
        let returns = Family::<[(&'static str, &'static str); 1], Counter>::default();
        registry.register(|registry| {
            registry.register("sales", "Sales", sales);
            registry.register("returns", "Returns by reason", returns);
            registry.register_with_unit("queue", "Time in the queue", Unit::Seconds, Histogram::new([1.0]));
        });
        let table: Vec<String> = registry.describe().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(
            table,
            [
                "`shop_queue_seconds` | histogram | Time in the queue",
                "`shop_returns_total` | counter | Returns by reason",
                "`shop_sales_total` | counter | Sales",
            ]
        );
    }
}

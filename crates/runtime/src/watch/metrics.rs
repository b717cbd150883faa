//! What supervised watches report about themselves, by kind.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use tokio::time::Instant;

use super::Freshness;
use crate::metrics::SharedRegistry;

type Restarts = Family<[(&'static str, String); 2], Counter>;
type Undecodable = Family<[(&'static str, String); 1], Counter>;

/// Metrics of all watches of a process. Clones share them.
#[derive(Clone, Debug)]
pub struct WatchMetrics {
    restarts: Restarts,
    undecodable: Undecodable,
    views: Views,
}

/// The counters of one watch.
#[derive(Debug)]
pub(super) struct Meters {
    pub(super) kind: String,
    restarts: Restarts,
    undecodable: Undecodable,
}

#[derive(Clone, Debug, Default)]
struct Views {
    views: Arc<Mutex<Vec<(String, Freshness)>>>,
}

impl WatchMetrics {
    /// Registers the families; one per process.
    #[must_use]
    pub fn register(registry: &SharedRegistry) -> Self {
        let metrics = Self {
            restarts: Restarts::default(),
            undecodable: Undecodable::default(),
            views: Views::default(),
        };
        registry.register(|registry| {
            registry.register(
                "watch_restarts",
                "Watches that did not end as the server was asked to end them, and lists, by reason",
                metrics.restarts.clone(),
            );
            registry.register(
                "watch_undecodable_objects",
                "Objects skipped because they could not be read as their kind",
                metrics.undecodable.clone(),
            );
            registry.register_collector(Box::new(metrics.views.clone()));
        });
        metrics
    }

    pub(super) fn add(&self, kind: &str, freshness: Freshness) -> Meters {
        let mut views = self.views.views.lock().unwrap_or_else(PoisonError::into_inner);
        // A kind watched again, in another version, replaces its predecessor.
        views.retain(|(known, view)| known != kind || view.is_watched());
        views.push((kind.to_owned(), freshness));
        Meters {
            kind: kind.to_owned(),
            restarts: self.restarts.clone(),
            undecodable: self.undecodable.clone(),
        }
    }
}

impl Meters {
    pub(super) fn restarted(&self, reason: &'static str) {
        self.restarts
            .get_or_create(&[("kind", self.kind.clone()), ("reason", reason.to_owned())])
            .inc();
    }

    pub(super) fn skipped(&self) {
        self.undecodable.get_or_create(&[("kind", self.kind.clone())]).inc();
    }
}

impl Collector for Views {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let now = Instant::now();
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        let mut family = encoder.encode_descriptor(
            "watch_unconfirmed",
            "Time since the view of a kind was last known to be current, the longest of its watches; absent before the first complete list",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        let mut oldest = BTreeMap::new();
        for (kind, freshness) in views.iter() {
            if let Some(age) = freshness.confirmed_age(now) {
                let known = oldest.entry(kind.as_str()).or_insert(age);
                *known = age.max(*known);
            }
        }
        for (kind, age) in oldest {
            let labels = [("kind", kind)];
            ConstGauge::new(age.as_secs_f64()).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

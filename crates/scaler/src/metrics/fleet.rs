//! What is reported per InferenceSet, read from the registry when it is asked for: it ends with the InferenceSet.

use std::collections::BTreeMap;
use std::fmt;

use keda_kaito_core::fleet::Class;
use keda_kaito_runtime::metrics::SharedRegistry;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use tokio::time::Instant;

use crate::registry::decided::Decided;
use crate::registry::{AnswerError, Registry, SetKey, lock};

const CLASSES: [&str; 5] = ["serving", "silent", "pending", "lost", "leaving"];

/// What the last round showed of one InferenceSet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// In the order of [`CLASSES`]; absent where nothing was decided.
    replicas: Option<[u32; 5]>,
    desired: Option<u32>,
}

#[derive(Debug)]
struct Row {
    key: SetKey,
    summary: Summary,
    targets: usize,
    fresh: usize,
    oldest_sample: Option<f64>,
}

/// Registers the families; one per process.
pub fn register(metrics: &SharedRegistry, registry: Registry) {
    metrics.register(|metrics| metrics.register_collector(Box::new(Fleets(registry))));
}

impl Summary {
    /// Of the decisions about one InferenceSet; where several triggers wish for a count, the highest is what the HPA follows.
    #[must_use]
    pub fn of(decisions: &[Decided]) -> Self {
        let records = || decisions.iter().map(|decided| &decided.record);
        let replicas = records().next().map(|record| {
            let mut replicas = [0; 5];
            for replica in &record.replicas {
                let class = match replica.class {
                    Class::Serving => 0,
                    Class::Silent { .. } => 1,
                    Class::Pending { .. } => 2,
                    Class::Lost { .. } => 3,
                    Class::Leaving { .. } => 4,
                };
                if let Some(count) = replicas.get_mut(class) {
                    *count += 1;
                }
            }
            let [_, _, pending, lost, _] = &mut replicas;
            *pending += record.unborn_pending;
            *lost += record.unborn_lost;
            replicas
        });
        Self {
            replicas,
            desired: records().filter_map(|record| record.desired).max(),
        }
    }
}

struct Fleets(Registry);

impl fmt::Debug for Fleets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Fleets").finish_non_exhaustive()
    }
}

impl Fleets {
    fn rows(&self) -> BTreeMap<SetKey, Row> {
        let now = self.0.clock().at(Instant::now());
        let row = |(key, state): (SetKey, std::sync::Arc<std::sync::Mutex<_>>)| {
            let state = lock(&state);
            let row = Row {
                key: key.clone(),
                summary: state.summary,
                targets: state.scrapeable().count(),
                fresh: state.fresh(self.0.timing(), now),
                oldest_sample: state.oldest_sample(now).map(|age| age.as_secs_f64()),
            };
            (key, row)
        };
        self.0.all().into_iter().map(row).collect()
    }
}

/// Labels and value.
type Labelled = (Vec<(&'static str, String)>, f64);

impl Collector for Fleets {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let rows = self.rows();
        let rows = || rows.values();
        let labels = |row: &Row| -> Vec<(&'static str, String)> {
            vec![
                ("namespace", row.key.namespace.to_string()),
                ("name", row.key.name.to_string()),
            ]
        };
        let known = !matches!(self.0.unconfirmed(Instant::now()), Err(AnswerError::Starting));
        let mut total = |name: &str, help: &str, of: fn(&Row) -> usize| {
            let total = i64::try_from(rows().map(of).sum::<usize>()).unwrap_or(i64::MAX);
            let sample = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            if known {
                ConstGauge::new(total).encode(sample)
            } else {
                Ok(())
            }
        };
        total(
            "targets",
            "Replicas that may be scraped; absent before the first complete lists",
            |row| row.targets,
        )?;
        let help = "Replicas whose newest sample is fresh; absent before the first complete lists";
        total("fresh_targets", help, |row| row.fresh)?;
        let mut family = |name: &str, help: &str, unit: Option<&Unit>, samples: Vec<Labelled>| {
            let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
            for (labels, value) in samples {
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
            Ok::<_, fmt::Error>(())
        };
        let decided = rows().filter_map(|row| Some((row, row.summary.replicas?)));
        let by_class = decided.flat_map(|(row, replicas)| {
            CLASSES.into_iter().zip(replicas).map(move |(class, count)| {
                let class = vec![("class", class.to_owned())];
                ([labels(row), class].concat(), f64::from(count))
            })
        });
        let help = "Replicas of an InferenceSet by what they counted as in the last round; absent before the first";
        family("replicas", help, None, by_class.collect())?;
        let desired = rows().filter_map(|row| Some((labels(row), f64::from(row.summary.desired?))));
        let help = "Replica count the last round aimed at; absent where only a value is published";
        family("desired_replicas", help, None, desired.collect())?;
        let ages = rows().filter_map(|row| Some((labels(row), row.oldest_sample?)));
        let help = "Age of the oldest of the newest samples of Ready replicas; absent before the first";
        family("oldest_sample_age", help, Some(&Unit::Seconds), ages.collect())
    }
}

//! What a test can choose about an InferenceSet's pods or about one pod, and how the two combine. Data only.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::queue::Service;

/// What a pod without any choice does.
pub const DEFAULT_TERMINATION: Duration = Duration::from_millis(300);

/// Observations that keep coming: `per_second` of them, each `seconds` of queue time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    pub seconds: f64,
    pub per_second: f64,
}

/// Observations added once.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observations {
    pub seconds: f64,
    pub count: u64,
}

/// KAITO's start-up benchmark: whether the server loads itself before it is Ready and its log has a result line.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Benchmark {
    pub enabled: bool,
    /// Tokens per minute in the result line; KAITO takes 0 or less as a failure.
    pub tpm: f64,
}

impl Default for Benchmark {
    fn default() -> Self {
        Self {
            enabled: true,
            tpm: 61_234.56,
        }
    }
}

/// How a server that does not support the filter answers `/metrics/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unfiltered {
    NotFound,
    Empty,
    /// The whole body, as older client libraries do.
    Full,
}

/// What goes wrong at a server; `None` undoes an InferenceSet's fault for one pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    None,
    /// The right answer, late.
    Slow {
        ms: u64,
    },
    /// Nobody listens.
    Refuse,
    /// Connections are accepted and never answered.
    Hang,
    /// The right answer, `bytes` at a time.
    Drip {
        bytes: usize,
        every_ms: u64,
    },
    /// 200 with bytes that are no text.
    Garbage,
    Status {
        code: u16,
    },
    /// These families or samples are left out.
    Missing {
        names: Vec<String>,
    },
    FilterUnsupported {
        answer: Unfiltered,
    },
    Redirect {
        location: String,
    },
    /// The right answer followed by this many bytes of other series.
    Huge {
        bytes: u64,
    },
    /// Ends after `bytes`, though the head promises more.
    Truncate {
        bytes: usize,
    },
    /// This text instead of the exposition.
    Body {
        text: String,
    },
}

impl Fault {
    /// Families and samples that are left out.
    #[must_use]
    pub fn missing(&self) -> &[String] {
        if let Self::Missing { names } = self { names } else { &[] }
    }
}

/// Choices for a scope; what is absent is left to the next wider one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_usage: Option<f64>,
    /// Any other sample by its exact name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<BTreeMap<String, f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_time_rate: Option<Stream>,
    /// Requests per second for the whole InferenceSet, shared by its Ready pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// How each pod serves them; InferenceSets only, like `rate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// From the container's start to Ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold_start_ms: Option<u64>,
    /// The first part of it, spent downloading the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub download_ms: Option<u64>,
    /// From the deletion timestamp to the pod's end; it still answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub termination_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub benchmark: Option<Benchmark>,
    /// `false` fails the readiness probe, `true` skips what is left of the cold start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// `false` leaves new pods without a node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crash_loop: Option<bool>,
}

impl Settings {
    /// These settings with the keys of `patch` replaced; `null` takes one away. Not deeper than the first level, so that
    /// one fault never inherits another's parameters.
    ///
    /// # Errors
    /// The key or value that is not understood, or a value beyond its limit.
    pub fn patched(&self, patch: &Map<String, Value>) -> Result<Self, String> {
        let mut merged = match serde_json::to_value(self) {
            Ok(Value::Object(merged)) => merged,
            Ok(_) | Err(_) => Map::new(),
        };
        for (key, value) in patch {
            if value.is_null() {
                // A misspelt key must not pass as one that is already absent.
                let probe = Map::from_iter([(key.clone(), Value::Null)]);
                serde_json::from_value::<Self>(Value::Object(probe)).map_err(|error| error.to_string())?;
                merged.remove(key);
            } else {
                merged.insert(key.clone(), value.clone());
            }
        }
        let settings: Self = serde_json::from_value(Value::Object(merged)).map_err(|error| error.to_string())?;
        settings.check()?;
        Ok(settings)
    }

    /// These settings, completed by `wider`.
    #[must_use]
    pub fn or(&self, wider: &Self) -> Self {
        Self {
            waiting: self.waiting.or(wider.waiting),
            running: self.running.or(wider.running),
            kv_usage: self.kv_usage.or(wider.kv_usage),
            samples: self.samples.clone().or_else(|| wider.samples.clone()),
            queue_time_rate: self.queue_time_rate.or(wider.queue_time_rate),
            rate: self.rate.or(wider.rate),
            service: self.service.or(wider.service),
            fault: self.fault.clone().or_else(|| wider.fault.clone()),
            cold_start_ms: self.cold_start_ms.or(wider.cold_start_ms),
            download_ms: self.download_ms.or(wider.download_ms),
            termination_ms: self.termination_ms.or(wider.termination_ms),
            benchmark: self.benchmark.or(wider.benchmark),
            ready: self.ready.or(wider.ready),
            schedule: self.schedule.or(wider.schedule),
            crash_loop: self.crash_loop.or(wider.crash_loop),
        }
    }

    fn check(&self) -> Result<(), String> {
        let within = |what: &str, value: f64, limit: f64| {
            (value.is_finite() && (0.0..=limit).contains(&value))
                .then_some(())
                .ok_or_else(|| format!("{what} {value} is not between 0 and {limit}"))
        };
        if let Some(rate) = self.rate {
            within("rate", rate, 10_000.0)?;
        }
        if let Some(service) = self.service {
            within("service.seconds", service.seconds, 3600.0)?;
            within("service.concurrency", f64::from(service.concurrency), 10_000.0)?;
        }
        if let Some(stream) = self.queue_time_rate {
            within("queue_time_rate.seconds", stream.seconds, 1e6)?;
            within("queue_time_rate.per_second", stream.per_second, 1e5)?;
        }
        for (what, ms) in [
            ("cold_start_ms", self.cold_start_ms),
            ("download_ms", self.download_ms),
            ("termination_ms", self.termination_ms),
        ] {
            if ms.is_some_and(|ms| ms > 86_400_000) {
                return Err(format!("{what} is longer than a day"));
            }
        }
        match &self.fault {
            Some(Fault::Huge { bytes }) if *bytes > 1 << 30 => Err(format!("huge: {bytes} bytes is more than 1 GiB")),
            Some(Fault::Drip { bytes: 0, .. }) => Err("drip: bytes must be at least 1".to_owned()),
            Some(Fault::Status { code }) if !(200..=599).contains(code) => {
                Err(format!("status: {code} is not between 200 and 599"))
            }
            _ => Ok(()),
        }
    }

    #[must_use]
    pub fn benchmark(&self) -> Benchmark {
        self.benchmark.unwrap_or_default()
    }

    #[must_use]
    pub fn service(&self) -> Service {
        self.service.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(settings: &Settings, patch: &Value) -> Result<Settings, String> {
        settings.patched(patch.as_object().expect("the patch is an object"))
    }

    #[test]
    fn a_patch_changes_what_it_names_and_null_takes_away() {
        let first = patch(&Settings::default(), &serde_json::json!({"waiting": 5, "ready": false})).unwrap();
        let second = patch(&first, &serde_json::json!({"waiting": null, "kv_usage": 0.5})).unwrap();
        assert_eq!(second.waiting, None);
        assert_eq!(second.kv_usage, Some(0.5));
        assert_eq!(second.ready, Some(false));
    }

    #[test]
    fn a_fault_replaces_the_previous_one_whole() {
        let drip = serde_json::json!({"fault": {"kind": "drip", "bytes": 3, "every_ms": 10}});
        let slow = serde_json::json!({"fault": {"kind": "slow", "ms": 20}});
        let settings = patch(&patch(&Settings::default(), &drip).unwrap(), &slow).unwrap();
        assert_eq!(settings.fault, Some(Fault::Slow { ms: 20 }));
    }

    #[test]
    fn unknown_keys_and_values_out_of_bounds_are_refused() {
        for bad in [
            serde_json::json!({"wating": 1}),
            serde_json::json!({"wating": null}),
            serde_json::json!({"fault": {"kind": "sloww"}}),
            serde_json::json!({"fault": {"kind": "drip", "bytes": 0, "every_ms": 1}}),
            serde_json::json!({"fault": {"kind": "status", "code": 42}}),
            serde_json::json!({"rate": -1}),
            serde_json::json!({"rate": 1e9}),
            serde_json::json!({"service": {"concurrency": 1, "seconds": -2}}),
            serde_json::json!({"cold_start_ms": 999_999_999_u64}),
        ] {
            assert!(patch(&Settings::default(), &bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pods_choice_wins_over_its_inferencesets() {
        let set = patch(
            &Settings::default(),
            &serde_json::json!({"waiting": 5, "fault": {"kind": "hang"}}),
        )
        .unwrap();
        let pod = patch(&Settings::default(), &serde_json::json!({"fault": {"kind": "none"}})).unwrap();
        let effective = pod.or(&set);
        assert_eq!(effective.waiting, Some(5.0));
        assert_eq!(effective.fault, Some(Fault::None));
    }
}

//! Metadata → request, under limits: everything here may come from any tenant who can write a ScaledObject.

use std::time::Duration;

use thiserror::Error;

use super::check::{WINDOW_SECONDS, check_policy, is_threshold};
use super::{Aggregation, DesiredReplicas, Endpoint, Protocol, TriggerRequest, keys};
use crate::legible::legible;
use crate::policy::ScalingPolicy;

/// Ports a scrape may use unless the operator says otherwise.
pub const PORTS_ALLOWED_BY_DEFAULT: [u16; 4] = [80, 443, 5000, 8000];

const MAX_KEYS: usize = 32;
const MAX_VALUE_BYTES: usize = 256;
const MAX_POLICY_BYTES: usize = 8 * 1024;
const MAX_PATH_BYTES: usize = 128;

/// Why metadata was refused; each names the key its author has to change.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    #[error("trigger metadata has {count} keys; at most {MAX_KEYS} are accepted")]
    TooManyKeys { count: usize },
    #[error("{key}: missing")]
    Missing { key: &'static str },
    #[error("{key}: value is {bytes} bytes long; at most {limit} are accepted")]
    TooLong { key: String, bytes: usize, limit: usize },
    #[error("{key}: {value:?} is not {expected}")]
    Invalid {
        key: &'static str,
        value: String,
        expected: String,
    },
    #[error("{key}: {problem}")]
    Policy { key: &'static str, problem: String },
}

/// Whether a trigger of this type and metadata is answered by this scaler.
pub fn is_ours<'a>(trigger_type: &str, get: impl Fn(&str) -> Option<&'a str>) -> bool {
    matches!(trigger_type, "external" | "external-push")
        && get(keys::INFERENCE_SET_NAME).is_some()
        && get(keys::INFERENCE_SET_NAMESPACE).is_some()
}

/// Decodes a trigger's metadata; unknown keys are ignored.
///
/// `ports` is the allow-list for `metricPort`.
///
/// # Errors
/// The first key that is missing, too long or outside what its documentation accepts.
pub fn decode<'a>(metadata: impl IntoIterator<Item = (&'a str, &'a str)>, ports: &[u16]) -> Result<TriggerRequest, DecodeError> {
    let fields = Fields::collect(metadata)?;
    Ok(TriggerRequest {
        inference_set_name: fields.object_name(keys::INFERENCE_SET_NAME)?,
        inference_set_namespace: fields.object_name(keys::INFERENCE_SET_NAMESPACE)?,
        scaler_address: fields.get(keys::SCALER_ADDRESS).map(str::to_owned),
        credential_epoch: fields.parse(keys::CREDENTIAL_EPOCH, "a whole number")?,
        endpoint: endpoint(&fields, ports)?,
        aggregation: aggregation(&fields)?,
    })
}

struct Fields<'a>(std::collections::BTreeMap<&'a str, &'a str>);

impl<'a> Fields<'a> {
    fn collect(metadata: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, DecodeError> {
        let fields: std::collections::BTreeMap<_, _> = metadata.into_iter().collect();
        if fields.len() > MAX_KEYS {
            return Err(DecodeError::TooManyKeys { count: fields.len() });
        }
        for (key, value) in &fields {
            let limit = if *key == keys::POLICY {
                MAX_POLICY_BYTES
            } else {
                MAX_VALUE_BYTES
            };
            if value.len() > limit {
                return Err(DecodeError::TooLong {
                    key: legible(key, 64),
                    bytes: value.len(),
                    limit,
                });
            }
        }
        Ok(Self(fields))
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.0.get(key).copied()
    }

    fn required(&self, key: &'static str) -> Result<&'a str, DecodeError> {
        self.get(key)
            .filter(|value| !value.is_empty())
            .ok_or(DecodeError::Missing { key })
    }

    fn object_name(&self, key: &'static str) -> Result<String, DecodeError> {
        let value = self.required(key)?;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let valid = value.len() <= 63
            && value.bytes().all(|byte| plain(byte) || byte == b'-')
            && value.bytes().next().is_some_and(plain)
            && value.bytes().last().is_some_and(plain);
        if !valid {
            return Err(invalid(key, value, "a Kubernetes name of at most 63 characters"));
        }
        Ok(value.to_owned())
    }

    fn metric(&self) -> Result<String, DecodeError> {
        let value = self.required(keys::METRIC_NAME)?;
        if !crate::policy::is_metric_name(value) {
            return Err(invalid(keys::METRIC_NAME, value, "a Prometheus metric name"));
        }
        Ok(value.to_owned())
    }

    fn parse<T: std::str::FromStr>(&self, key: &'static str, expected: &str) -> Result<Option<T>, DecodeError> {
        self.get(key)
            .map(|value| value.parse().ok().ok_or_else(|| invalid(key, value, expected)))
            .transpose()
    }

    fn number(&self, key: &'static str, expected: &str, accept: impl Fn(f64) -> bool) -> Result<Option<f64>, DecodeError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number: f64 = value.parse().ok().ok_or_else(|| invalid(key, value, expected))?;
        if !number.is_finite() || !accept(number) {
            return Err(invalid(key, value, expected));
        }
        Ok(Some(number))
    }

    fn threshold(&self) -> Result<Option<f64>, DecodeError> {
        self.number(keys::THRESHOLD, "a finite number above 0 and at most 1e12", is_threshold)
    }

    fn tolerance(&self, key: &'static str) -> Result<Option<f64>, DecodeError> {
        self.number(key, "a fraction from 0 to 1", |number| (0.0..=1.0).contains(&number))
    }
}

fn invalid(key: &'static str, value: &str, expected: &str) -> DecodeError {
    DecodeError::Invalid {
        key,
        value: value.to_owned(),
        expected: expected.to_owned(),
    }
}

fn endpoint(fields: &Fields<'_>, ports: &[u16]) -> Result<Endpoint, DecodeError> {
    let usual = Endpoint::default();
    let protocol = match fields.get(keys::METRIC_PROTOCOL) {
        None | Some("http") => Protocol::Http,
        Some("https") => Protocol::Https,
        Some(other) => return Err(invalid(keys::METRIC_PROTOCOL, other, "http or https")),
    };
    let port = match fields.get(keys::METRIC_PORT) {
        None => usual.port,
        Some(text) => allowed_port(text, ports)?,
    };
    let path = match fields.get(keys::METRIC_PATH) {
        None => usual.path,
        Some(text) if is_path(text) => text.to_owned(),
        Some(text) => {
            let expected = "an absolute path of letters, digits and . _ ~ / - without ..";
            return Err(invalid(keys::METRIC_PATH, text, expected));
        }
    };
    let timeout = match fields.get(keys::SCRAPE_TIMEOUT) {
        None => usual.timeout,
        Some(text) => scrape_timeout(text)?,
    };
    Ok(Endpoint {
        protocol,
        port,
        path,
        timeout,
    })
}

fn allowed_port(text: &str, ports: &[u16]) -> Result<u16, DecodeError> {
    // Digits only: `u16::from_str` would take `+80`, and a leading zero is a spelling nobody means.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let port = text.parse::<u16>().ok().filter(|port| digits && ports.contains(port));
    port.ok_or_else(|| {
        let list: Vec<String> = ports.iter().map(u16::to_string).collect();
        invalid(
            keys::METRIC_PORT,
            text,
            &format!("one of the allowed ports {}", list.join(", ")),
        )
    })
}

fn is_path(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._~/-".contains(&byte);
    text.starts_with('/')
        && text.len() <= MAX_PATH_BYTES
        && text.bytes().all(plain)
        && !text.contains("..")
        && !text.contains("//")
}

fn scrape_timeout(text: &str) -> Result<Duration, DecodeError> {
    let seconds = crate::duration::parse_go(text).or_else(|| text.parse().ok().filter(|number: &f64| number.is_finite()));
    // Whole milliseconds, which is what is written.
    seconds
        .filter(|seconds| (0.1..=10.0).contains(seconds))
        .map(|seconds| Duration::from_secs_f64((seconds * 1000.0).round() / 1000.0))
        .ok_or_else(|| {
            invalid(
                keys::SCRAPE_TIMEOUT,
                text,
                "a duration such as 3s or 500ms, or seconds, from 0.1s to 10s",
            )
        })
}

fn window(fields: &Fields<'_>) -> Result<Duration, DecodeError> {
    let Some(text) = fields.get(keys::METRIC_CACHE_WINDOW) else {
        return Ok(Duration::from_secs(300));
    };
    text.parse()
        .ok()
        .filter(|seconds| WINDOW_SECONDS.contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| invalid(keys::METRIC_CACHE_WINDOW, text, "whole seconds from 15 to 3600"))
}

fn aggregation(fields: &Fields<'_>) -> Result<Aggregation, DecodeError> {
    if let Some(source) = fields.get(keys::METRIC_SOURCE)
        && source != "modelpod"
    {
        return Err(invalid(keys::METRIC_SOURCE, source, "modelpod"));
    }
    match fields.get(keys::AGGREGATION) {
        None | Some("sum") => Ok(Aggregation::Sum {
            threshold: fields.threshold()?.ok_or(DecodeError::Missing { key: keys::THRESHOLD })?,
            metric: match fields.get(keys::METRIC_NAME) {
                None => crate::names::DEFAULT_METRIC.to_owned(),
                Some(_) => fields.metric()?,
            },
        }),
        Some("service-avg") => Ok(Aggregation::ServiceAvg {
            metric: fields.metric()?,
            threshold: fields.threshold()?,
        }),
        Some("windowed-avg") => Ok(Aggregation::WindowedAvg {
            metric: fields.metric()?,
            window: window(fields)?,
            threshold: fields.threshold()?,
        }),
        Some("gate") => Ok(Aggregation::Gate {
            metric: fields.metric()?,
        }),
        Some("desired-replicas") => desired_replicas(fields).map(|desired| Aggregation::DesiredReplicas(Box::new(desired))),
        Some(other) => Err(invalid(
            keys::AGGREGATION,
            other,
            "one of sum, service-avg, windowed-avg, gate, desired-replicas",
        )),
    }
}

fn desired_replicas(fields: &Fields<'_>) -> Result<DesiredReplicas, DecodeError> {
    let text = fields.required(keys::POLICY)?;
    let policy: ScalingPolicy = serde_json::from_str(text).map_err(|error| DecodeError::Policy {
        key: keys::POLICY,
        problem: legible(&error.to_string(), 240),
    })?;
    check_policy(&policy).map_err(|problem| DecodeError::Policy {
        key: keys::POLICY,
        problem,
    })?;
    let min_replicas = fields.parse(keys::MIN_REPLICAS, "a whole number")?;
    let min_replicas = min_replicas.ok_or(DecodeError::Missing { key: keys::MIN_REPLICAS })?;
    let max_replicas = fields.parse(keys::MAX_REPLICAS, "a whole number")?;
    let max_replicas = max_replicas.ok_or(DecodeError::Missing { key: keys::MAX_REPLICAS })?;
    if max_replicas < min_replicas || max_replicas == 0 {
        return Err(DecodeError::Policy {
            key: keys::MAX_REPLICAS,
            problem: format!("{max_replicas} is below {} {min_replicas}", keys::MIN_REPLICAS),
        });
    }
    Ok(DesiredReplicas {
        policy,
        min_replicas,
        max_replicas,
        scale_up_tolerance: fields.tolerance(keys::SCALE_UP_TOLERANCE)?,
        scale_down_tolerance: fields.tolerance(keys::SCALE_DOWN_TOLERANCE)?,
    })
}

//! Annotations → what is asked for, or everything that is wrong with them at once.
//! Reads the two dialects of the reference; it looks at no spec, no Workspace and no cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use super::complaint::{Complaint, Reason, nearest};
use super::{Combine, MetricRule, Rule, ScalingPolicy, SimpleRule, is_metric_name, metrics_list};
use crate::names;

/// The trigger codec takes no larger threshold either.
const MAX_THRESHOLD: f64 = 1e12;
/// No number that means anything here is written with more; admission bounds its conversions with the same limit.
const MAX_THRESHOLD_BYTES: usize = 64;
/// One InferenceSet can hold thousands of annotations; more than these are only counted.
const MAX_UNKNOWN_NAMED: usize = 8;

const DEFAULT_EVALUATION_WINDOW: u32 = 60;
const DEFAULT_COOLDOWN: u32 = 300;

/// Everything the annotations of one InferenceSet say.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub switch: Switch,
    /// Absent when the switch is not on, or something is invalid.
    pub request: Option<Request>,
    /// Invalid values first, in the order of the documentation, then what is merely worth knowing.
    pub complaints: Vec<Complaint>,
}

/// The `auto-provision` annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Absent or `false`.
    Off,
    On,
    /// Neither `true` nor `false`: nothing may change.
    Malformed,
}

/// A valid request, as far as annotations go.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub rule: Rule,
    /// At least 1.
    pub min_replicas: u32,
    /// At least 2; absent when `spec.nodeCountLimit` is to decide.
    pub max_replicas: Option<u32>,
}

/// Reads the annotations of an InferenceSet. While provisioning is off only unknown keys are complained of.
pub fn read(annotations: &BTreeMap<String, String>) -> Reading {
    let mut reader = Reader {
        annotations,
        complaints: Vec::new(),
    };
    let switch = reader.switch();
    let request = (switch == Switch::On).then(|| reader.request()).flatten();
    let request = request.filter(|_| !reader.complaints.iter().any(|complaint| complaint.reason.is_blocking()));
    reader.unknown();
    Reading {
        switch,
        request,
        complaints: reader.complaints,
    }
}

struct Reader<'a> {
    annotations: &'a BTreeMap<String, String>,
    complaints: Vec<Complaint>,
}

impl Reader<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }

    fn switch(&mut self) -> Switch {
        match self.get(names::AUTO_PROVISION) {
            None => Switch::Off,
            Some(value) if value.eq_ignore_ascii_case("false") => Switch::Off,
            Some(value) if value.eq_ignore_ascii_case("true") => Switch::On,
            Some(value) => {
                let complaint = Complaint::invalid(names::AUTO_PROVISION, value, r#""true" or "false""#);
                self.complaints.push(complaint);
                Switch::Malformed
            }
        }
    }

    /// Every annotation is read even after one has failed, so that all complaints come at once.
    fn request(&mut self) -> Option<Request> {
        let min_replicas = self.value(
            names::MIN_REPLICAS,
            "a whole number of at most 2147483647 (below 1 means 1)",
            |text| {
                if let Some(digits) = text.strip_prefix('-') {
                    return (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(1);
                }
                let count: i32 = text.parse().ok()?;
                u32::try_from(count.max(1)).ok()
            },
        );
        let max_replicas = self.value(names::MAX_REPLICAS, "a whole number above 1 and at most 2147483647", |text| {
            let count: i32 = text.parse().ok()?;
            u32::try_from(count).ok().filter(|count| *count > 1)
        });
        let rule = if self.annotations.contains_key(names::METRICS) {
            self.policy_dialect()
        } else {
            self.simple_dialect()
        };
        Some(Request {
            rule: rule?,
            min_replicas: min_replicas.unwrap_or(1),
            max_replicas,
        })
    }

    fn simple_dialect(&mut self) -> Option<Rule> {
        const ACCEPTED: &str = "a finite number above 0 and at most 1e12";
        let metric_name = self.value(names::METRIC_NAME, "a Prometheus metric name", |text| {
            is_metric_name(text).then(|| text.to_owned())
        });
        let threshold = self.value(names::THRESHOLD, ACCEPTED, |text| {
            let number: f64 = text.parse().ok().filter(|_| text.len() <= MAX_THRESHOLD_BYTES)?;
            (number > 0.0 && number <= MAX_THRESHOLD).then_some(number)
        });
        if !self.annotations.contains_key(names::THRESHOLD) {
            let also = format!("{ACCEPTED}; or set {} for the policy dialect", names::METRICS);
            self.complaints.push(Complaint::missing(names::THRESHOLD, &also));
        }
        let policy_keys = [
            names::COMBINE_POLICY,
            names::EVALUATION_WINDOW,
            names::SCALE_UP_COOLDOWN,
            names::SCALE_DOWN_COOLDOWN,
        ];
        self.ignored(&policy_keys, &format!("is ignored without {}", names::METRICS));
        Some(Rule::Simple(SimpleRule {
            metric_name: metric_name.unwrap_or_else(|| names::DEFAULT_METRIC.to_owned()),
            threshold: threshold?,
        }))
    }

    fn policy_dialect(&mut self) -> Option<Rule> {
        let text = self.get(names::METRICS).unwrap_or_default().to_owned();
        let metrics = metrics_list::parse(&text, &mut self.complaints);
        let combine = self.value(names::COMBINE_POLICY, "AND or OR", |text| {
            match text.to_ascii_uppercase().as_str() {
                "AND" => Some(Combine::And),
                "OR" => Some(Combine::Or),
                _ => None,
            }
        });
        let evaluation_window = self.seconds(names::EVALUATION_WINDOW, DEFAULT_EVALUATION_WINDOW, 0, 3600);
        let scale_up_cooldown = self.seconds(names::SCALE_UP_COOLDOWN, DEFAULT_COOLDOWN, 1, 1800);
        let scale_down_cooldown = self.seconds(names::SCALE_DOWN_COOLDOWN, DEFAULT_COOLDOWN, 1, 1800);
        let unused = [names::METRIC_NAME, names::THRESHOLD];
        self.ignored(&unused, &format!("is ignored beside {}", names::METRICS));
        let metrics = metrics?;
        self.narrow_bands(&metrics);
        Some(Rule::Policy(ScalingPolicy {
            metrics,
            combine: combine.unwrap_or_default(),
            evaluation_window,
            scale_up_cooldown,
            scale_down_cooldown,
        }))
    }

    fn seconds(&mut self, key: &'static str, default: u32, least: u32, most: u32) -> Duration {
        let accepted = format!("whole seconds from {least} to {most}");
        let seconds = self.value(key, &accepted, |text| {
            let seconds: u32 = text.parse().ok()?;
            (least..=most).contains(&seconds).then_some(seconds)
        });
        Duration::from_secs(seconds.unwrap_or(default).into())
    }

    /// The value, if the annotation is there and valid. An invalid one leaves a complaint that blocks the request.
    fn value<T>(&mut self, key: &'static str, accepted: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.get(key)?;
        let value = read(text);
        if value.is_none() {
            let complaint = Complaint::invalid(key, text, accepted);
            self.complaints.push(complaint);
        }
        value
    }

    fn ignored(&mut self, keys: &[&'static str], problem: &str) {
        for key in keys {
            if let Some(value) = self.get(key) {
                let complaint = Complaint::about(Reason::IgnoredAnnotation, *key, value, problem);
                self.complaints.push(complaint);
            }
        }
    }

    fn narrow_bands(&mut self, metrics: &[MetricRule]) {
        for metric in metrics {
            let (up, down) = (metric.up_threshold, metric.down_threshold);
            if down > up / 2.0 {
                let problem = format!(
                    "has downthreshold {down} above half of upthreshold {up}: going down by one replica can push the \
                     load back above it; accepted, but at most {} is steadier",
                    up / 2.0
                );
                self.complaints
                    .push(Complaint::about(Reason::NarrowBand, names::METRICS, &metric.name, problem));
            }
        }
    }

    fn unknown(&mut self) {
        let known = |key: &str| names::USER_ANNOTATIONS.contains(&key);
        let mut unknown = self
            .annotations
            .iter()
            .filter(|(key, _)| key.starts_with(names::ANNOTATION_PREFIX) && !known(key));
        let complaints: Vec<Complaint> = unknown
            .by_ref()
            .take(MAX_UNKNOWN_NAMED)
            .map(|(key, value)| {
                let near = nearest(key, &names::USER_ANNOTATIONS).unwrap_or(names::AUTO_PROVISION);
                let problem = format!("belongs to no known annotation; the nearest known one is {near}");
                Complaint::about(Reason::UnknownAnnotation, super::complaint::quoted(key), value, problem)
            })
            .collect();
        let more = unknown.count();
        self.complaints.extend(complaints);
        if more > 0 {
            let problem = format!("{more} more unknown annotations");
            self.complaints
                .push(Complaint::that(Reason::UnknownAnnotation, names::ANNOTATION_PREFIX, problem));
        }
    }
}

#[cfg(test)]
mod tests;

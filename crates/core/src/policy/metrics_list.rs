//! The list inside the `metrics` annotation: untrusted YAML (or JSON, which is YAML) into metric rules.
//! Parsing is under budgets; every fault is reported at once, each with its place in the list.

mod node;

use std::time::Duration;

use super::complaint::{Complaint, Reason, nearest};
use super::{MetricKind, MetricRule, is_metric_name};
use crate::names;
use node::Node;

/// The trigger codec takes no more either.
const MAX_METRICS: usize = 16;
const MAX_THRESHOLD: f64 = 1e12;
const DEFAULT_WINDOW: Duration = Duration::from_secs(300);

const NAME: &str = "name";
const TYPE: &str = "type";
const SOURCE: &str = "source";
const UP_THRESHOLD: &str = "upthreshold";
const DOWN_THRESHOLD: &str = "downthreshold";
const METRIC_CACHE_WINDOW: &str = "metriccachewindow";
const KEYS: [&str; 6] = [NAME, TYPE, SOURCE, UP_THRESHOLD, DOWN_THRESHOLD, METRIC_CACHE_WINDOW];

const LIST: &str = "a YAML or JSON list of metrics with name, type, upthreshold and downthreshold";
const THRESHOLD: &str = "a finite number without quotes, from 0 to 1e12";
const WINDOW: &str = "whole seconds without quotes, from 15 to 3600";

/// The rules of a list, or as many complaints as it has faults.
pub(super) fn parse(text: &str, complaints: &mut Vec<Complaint>) -> Option<Vec<MetricRule>> {
    let entries = match node::parse(text) {
        Ok(Node::List(entries)) => entries,
        Ok(_) => {
            complaints.push(Complaint::invalid(names::METRICS, text, LIST));
            return None;
        }
        Err(problem) => {
            complaints.push(Complaint::about(
                Reason::InvalidAutoscalePolicy,
                names::METRICS,
                text,
                format!("cannot be read: {problem}; it must be {LIST}"),
            ));
            return None;
        }
    };
    if entries.is_empty() || entries.len() > MAX_METRICS {
        complaints.push(Complaint::that(
            Reason::InvalidAutoscalePolicy,
            names::METRICS,
            format!("{} metrics; 1 to {MAX_METRICS} are accepted", entries.len()),
        ));
        return None;
    }
    let faults = complaints.len();
    let rules: Vec<MetricRule> = entries
        .into_iter()
        .enumerate()
        .filter_map(|(index, entry)| Entry::open(index, entry, complaints)?.rule(complaints))
        .collect();
    complain_of_repeats(&rules, complaints);
    (complaints.len() == faults).then_some(rules)
}

fn complain_of_repeats(rules: &[MetricRule], complaints: &mut Vec<Complaint>) {
    for (index, rule) in rules.iter().enumerate() {
        if rules.iter().take(index).any(|earlier| earlier.name == rule.name) {
            complaints.push(Complaint::about(
                Reason::InvalidAutoscalePolicy,
                names::METRICS,
                &rule.name,
                "is listed twice; each metric is accepted once",
            ));
        }
    }
}

/// One metric as it was written, with its place in the list.
struct Entry {
    place: String,
    fields: Vec<(String, Node)>,
}

impl Entry {
    fn open(index: usize, node: Node, complaints: &mut Vec<Complaint>) -> Option<Self> {
        let place = format!("{}[{index}]", names::METRICS);
        let Node::Map(fields) = node else {
            complaints.push(Complaint::invalid(
                place,
                &node.to_string(),
                "a mapping with name, type and thresholds",
            ));
            return None;
        };
        let mut known: Vec<(String, Node)> = Vec::with_capacity(fields.len());
        for (key, value) in fields {
            // The reference reads keys in any letter case; a list that worked there works here.
            let lower = key.to_lowercase();
            if !KEYS.contains(&lower.as_str()) {
                let near = nearest(&key, &KEYS).unwrap_or(NAME);
                let problem = format!(
                    "is not a key of a metric; the nearest one is {near:?}, accepted are {}",
                    KEYS.join(", ")
                );
                complaints.push(Complaint::about(Reason::InvalidAutoscalePolicy, place.clone(), &key, problem));
            } else if known.iter().any(|(earlier, _)| *earlier == lower) {
                let problem = "is given twice; each key is accepted once";
                complaints.push(Complaint::about(Reason::InvalidAutoscalePolicy, place.clone(), &key, problem));
            } else {
                known.push((lower, value));
            }
        }
        Some(Self { place, fields: known })
    }

    fn rule(mut self, complaints: &mut Vec<Complaint>) -> Option<MetricRule> {
        let name = self.text(NAME, "a Prometheus metric name", complaints, |text| {
            is_metric_name(text).then(|| text.to_owned())
        });
        let kind = self.text(TYPE, "gauge or histogram", complaints, |text| match text {
            "gauge" => Some(MetricKind::Gauge),
            "histogram" => Some(MetricKind::Histogram),
            _ => None,
        });
        if self.has(SOURCE) {
            self.text(SOURCE, "modelpod", complaints, |text| (text == "modelpod").then_some(()));
        }
        let up_threshold = self.number(UP_THRESHOLD, THRESHOLD, complaints, is_threshold);
        let down_threshold = self.number(DOWN_THRESHOLD, THRESHOLD, complaints, is_threshold);
        let window = self.window(kind, complaints);
        let (up_threshold, down_threshold) = (up_threshold?, down_threshold?);
        if down_threshold > up_threshold {
            complaints.push(Complaint::invalid(
                self.at(DOWN_THRESHOLD),
                &down_threshold.to_string(),
                &format!("at most the {UP_THRESHOLD}, {up_threshold}"),
            ));
            return None;
        }
        Some(MetricRule {
            name: name?,
            kind: kind?,
            up_threshold,
            down_threshold,
            window: window?,
        })
    }

    fn window(&mut self, kind: Option<MetricKind>, complaints: &mut Vec<Complaint>) -> Option<Duration> {
        if !self.has(METRIC_CACHE_WINDOW) {
            return Some(match kind {
                Some(MetricKind::Histogram) => DEFAULT_WINDOW,
                Some(MetricKind::Gauge) | None => Duration::ZERO,
            });
        }
        if kind == Some(MetricKind::Gauge) {
            complaints.push(Complaint::that(
                Reason::InvalidAutoscalePolicy,
                self.at(METRIC_CACHE_WINDOW),
                "a gauge has no window; it is accepted with type histogram only",
            ));
            return None;
        }
        let seconds = self.number(METRIC_CACHE_WINDOW, WINDOW, complaints, |number| {
            number.fract() == 0.0 && (15.0..=3600.0).contains(&number)
        })?;
        Some(Duration::from_secs_f64(seconds))
    }

    fn has(&self, key: &str) -> bool {
        self.fields.iter().any(|(name, _)| name == key)
    }

    fn at(&self, key: &str) -> String {
        format!("{}.{key}", self.place)
    }

    fn take(&mut self, key: &str, accepted: &str, complaints: &mut Vec<Complaint>) -> Option<Node> {
        let found = self.fields.iter().position(|(name, _)| name == key);
        match found {
            Some(index) => Some(self.fields.swap_remove(index).1),
            None => {
                complaints.push(Complaint::missing(self.at(key), accepted));
                None
            }
        }
    }

    fn text<T>(
        &mut self,
        key: &str,
        accepted: &str,
        complaints: &mut Vec<Complaint>,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let node = self.take(key, accepted, complaints)?;
        let value = match &node {
            Node::Text(text) => read(text),
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::List(_) | Node::Map(_) => None,
        };
        if value.is_none() {
            complaints.push(Complaint::invalid(self.at(key), &node.to_string(), accepted));
        }
        value
    }

    fn number(
        &mut self,
        key: &str,
        accepted: &str,
        complaints: &mut Vec<Complaint>,
        accept: impl Fn(f64) -> bool,
    ) -> Option<f64> {
        let node = self.take(key, accepted, complaints)?;
        let value = match node {
            Node::Number(number) => Some(number).filter(|number| number.is_finite() && accept(*number)),
            Node::Null | Node::Bool(_) | Node::Text(_) | Node::List(_) | Node::Map(_) => None,
        };
        if value.is_none() {
            complaints.push(Complaint::invalid(self.at(key), &node.to_string(), accepted));
        }
        value
    }
}

fn is_threshold(number: f64) -> bool {
    (0.0..=MAX_THRESHOLD).contains(&number)
}

#[cfg(test)]
mod tests;

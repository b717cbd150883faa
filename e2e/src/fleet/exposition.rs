//! vLLM's exposition: a recorded body with the controllable samples replaced. Text only; who may ask for what is
//! `answer`'s business.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::number::push_float;
use super::values::{Latency, Values};

const RECORDED: &str = include_str!("../../fixtures/vllm/busy_single.prom");
const MODEL_LABEL: &str = "model_name=\"";

/// What stands in a sample's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Waiting,
    Running,
    KvUsage,
    Succeeded,
    Started,
    Bucket(Latency, usize),
    Sum(Latency),
    Count(Latency),
}

#[derive(Debug)]
struct Sample {
    name: String,
    /// Name and labels up to the model's name, or all of them if the sample has none.
    before: String,
    /// The labels after the model's name.
    after: Option<String>,
    recorded: String,
    slot: Option<Slot>,
}

#[derive(Debug)]
struct Family {
    name: String,
    head: String,
    samples: Vec<Sample>,
}

/// The recorded body, taken apart once.
#[derive(Debug)]
pub struct Template {
    families: Vec<Family>,
    ladders: BTreeMap<Latency, Arc<[f64]>>,
}

/// What one server shows.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub model: &'a str,
    pub values: &'a Values,
    /// Values by sample name, whatever the other labels.
    pub samples: &'a BTreeMap<String, f64>,
    /// Families and samples that are left out.
    pub missing: &'a [String],
}

impl Template {
    /// The template of a vLLM 0.33 server with one engine.
    #[must_use]
    pub fn recorded() -> Self {
        Self::parse(RECORDED)
    }

    fn parse(body: &str) -> Self {
        let mut families: Vec<Family> = Vec::new();
        let mut ladders: BTreeMap<Latency, Vec<f64>> = BTreeMap::new();
        for line in body.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                families.push(Family {
                    name: help.split(' ').next().unwrap_or_default().to_owned(),
                    head: format!("{line}\n"),
                    samples: Vec::new(),
                });
            } else if let Some(family) = families.last_mut() {
                if line.starts_with('#') {
                    family.head.push_str(line);
                    family.head.push('\n');
                } else if let Some(sample) = Sample::parse(line, &mut ladders) {
                    family.samples.push(sample);
                }
            }
        }
        Self {
            families,
            ladders: ladders
                .into_iter()
                .map(|(latency, ladder)| (latency, Arc::from(ladder)))
                .collect(),
        }
    }

    /// The upper bounds of a latency's buckets, `+Inf` last.
    #[must_use]
    pub fn ladder(&self, latency: Latency) -> Arc<[f64]> {
        self.ladders
            .get(&latency)
            .map_or_else(|| Arc::from([f64::INFINITY]), Arc::clone)
    }

    /// The whole body.
    #[must_use]
    pub fn full(&self, view: View<'_>) -> String {
        let mut out = String::with_capacity(RECORDED.len());
        for family in &self.families {
            family.render(&mut out, view, |_| true, true);
        }
        out
    }

    /// Only samples with exactly these names, each family under its own HELP and TYPE; families that have none of them
    /// vanish. The client library keeps families in a set, so their order means nothing: `reversed` picks one of two.
    #[must_use]
    pub fn filtered(&self, view: View<'_>, names: &[String], reversed: bool) -> String {
        let mut out = String::new();
        let mut render = |family: &Family| {
            family.render(&mut out, view, |name| names.iter().any(|n| n == name), false);
        };
        if reversed {
            self.families.iter().rev().for_each(&mut render);
        } else {
            self.families.iter().for_each(&mut render);
        }
        out
    }
}

impl Family {
    fn render(&self, out: &mut String, view: View<'_>, wanted: impl Fn(&str) -> bool, keep_empty: bool) {
        let left_out = |name: &String| view.missing.contains(name);
        if left_out(&self.name) {
            return;
        }
        let before = out.len();
        out.push_str(&self.head);
        let head_only = out.len();
        for sample in &self.samples {
            if wanted(&sample.name) && !left_out(&sample.name) {
                sample.render(out, view);
            }
        }
        if out.len() == head_only && !keep_empty {
            out.truncate(before);
        }
    }
}

impl Sample {
    fn parse(line: &str, ladders: &mut BTreeMap<Latency, Vec<f64>>) -> Option<Self> {
        let (series, recorded) = line.rsplit_once(' ')?;
        let name = series.split('{').next().unwrap_or(series).to_owned();
        let split = series.split_once(MODEL_LABEL);
        let after = split
            .and_then(|(_, rest)| rest.split_once('"'))
            .map(|(_, labels)| format!("\"{labels}"));
        let before = split
            .filter(|_| after.is_some())
            .map_or_else(|| series.to_owned(), |(labels, _)| format!("{labels}{MODEL_LABEL}"));
        Some(Self {
            slot: slot(&name, series, ladders),
            name,
            before,
            after,
            recorded: recorded.to_owned(),
        })
    }

    fn render(&self, out: &mut String, view: View<'_>) {
        out.push_str(&self.before);
        if let Some(after) = &self.after {
            out.push_str(view.model);
            out.push_str(after);
        }
        out.push(' ');
        let chosen = view.samples.get(&self.name).copied();
        match chosen.or_else(|| self.slot.and_then(|slot| read(slot, view.values))) {
            Some(value) => push_float(out, value),
            None => out.push_str(&self.recorded),
        }
        out.push('\n');
    }
}

fn slot(name: &str, series: &str, ladders: &mut BTreeMap<Latency, Vec<f64>>) -> Option<Slot> {
    match name {
        "vllm:num_requests_waiting" => return Some(Slot::Waiting),
        "vllm:num_requests_waiting_by_reason" if label(series, "reason")? == "capacity" => {
            return Some(Slot::Waiting);
        }
        "vllm:num_requests_running" => return Some(Slot::Running),
        "vllm:kv_cache_usage_perc" => return Some(Slot::KvUsage),
        "vllm:request_success_total" if label(series, "finished_reason")? == "stop" => {
            return Some(Slot::Succeeded);
        }
        "process_start_time_seconds" => return Some(Slot::Started),
        _ if name.ends_with("_created") => return Some(Slot::Started),
        _ => {}
    }
    Latency::ALL
        .into_iter()
        .find_map(|latency| match name.strip_prefix(latency.family())? {
            "_bucket" => {
                let bound = label(series, "le")?.parse().ok()?;
                let ladder = ladders.entry(latency).or_default();
                ladder.push(bound);
                Some(Slot::Bucket(latency, ladder.len() - 1))
            }
            "_sum" => Some(Slot::Sum(latency)),
            "_count" => Some(Slot::Count(latency)),
            _ => None,
        })
}

fn label<'a>(series: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = series.split_once(&format!("{name}=\""))?;
    Some(rest.split_once('"')?.0)
}

fn read(slot: Slot, values: &Values) -> Option<f64> {
    let histogram = |latency| values.latencies.get(&latency);
    Some(match slot {
        Slot::Waiting => values.waiting,
        Slot::Running => values.running,
        Slot::KvUsage => values.kv_usage,
        Slot::Succeeded => values.succeeded,
        Slot::Started => values.started,
        Slot::Bucket(latency, index) => histogram(latency)?.cumulative(index) as f64,
        Slot::Sum(latency) => histogram(latency)?.sum(),
        Slot::Count(latency) => histogram(latency)?.count() as f64,
    })
}

#[cfg(test)]
mod tests;

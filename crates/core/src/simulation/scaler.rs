//! The scaler's memory in the simulated world: what it samples in a round and what it answers in between.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::Setting;
use super::faults::{Fault, Trouble};
use super::kaito::{Kaito, Pod};
use crate::families::{RUNNING, WAITING};
use crate::fleet::{ReplicaView, Timing};
use crate::history::History;
use crate::moment::Moment;
use crate::policy::MetricKind;
use crate::record::{Answer, DecisionInput, DecisionRecord, decide, next_history};
use crate::situation::wanted;
use crate::window::{Reading, ReplicaSeries, Segment};

pub(super) struct Scaler {
    started: Moment,
    series: BTreeMap<String, ReplicaSeries>,
    pub(super) history: History,
    /// What was wrong with clocks at any time.
    told: Vec<Fault>,
}

impl Setting {
    /// What the HPA makes of an answer.
    pub(super) fn recommended(&self, record: &DecisionRecord, status: u32) -> Option<u32> {
        match record.answer {
            Answer::Value(value) => {
                let arithmetic = crate::hpa::Arithmetic::new(self.trigger.target(), status, self.tolerance);
                Some(arithmetic.recommends(crate::hpa::milli(value)))
            }
            Answer::Unavailable(_) => None,
        }
    }
}

impl Scaler {
    pub(super) fn starting(now: Moment) -> Self {
        Self {
            started: now,
            series: BTreeMap::new(),
            history: History::default(),
            told: Vec::new(),
        }
    }

    pub(super) fn round(&mut self, now: Moment, setting: &Setting, kaito: &Kaito, faults: &[Fault]) {
        for fault in faults.iter().filter(|fault| fault.trouble == Trouble::ClockStep) {
            if !self.told.iter().any(|known| known.from == fault.from) {
                self.told.push(*fault);
            }
        }
        self.series.retain(|name, _| kaito.pods.iter().any(|pod| pod.name == *name));
        let count = kaito.pods.len();
        for (index, pod) in kaito.pods.iter().enumerate() {
            let Some(ready_since) = pod.ready_since else { continue };
            let series = self
                .series
                .entry(pod.name.clone())
                .or_insert_with(|| ReplicaSeries::new(&wanted(&setting.trigger)));
            if faults.iter().any(|fault| fault.silences(index, count)) {
                series.push_failure(now, "timed out");
                continue;
            }
            let suffers = |trouble| faults.iter().any(|fault| fault.hits(trouble, index, count));
            let (absent, not_a_number) = (suffers(Trouble::WithoutMetrics), suffers(Trouble::NotANumber));
            let no_gauges = suffers(Trouble::GaugesVanish);
            let segment = Segment::of(&pod.name, ready_since.millis(), pod.started.millis());
            series.push(now, segment, |metric, kind| match kind {
                _ if absent => Reading::Absent { nearest: None },
                MetricKind::Gauge if no_gauges => Reading::Absent { nearest: None },
                MetricKind::Gauge if not_a_number => Reading::Gauge(f64::NAN),
                MetricKind::Gauge | MetricKind::Histogram => read(pod, metric, kind),
            });
        }
        self.history = self.ask(now, setting, kaito, &self.told, next_history);
    }

    pub(super) fn decide(&self, now: Moment, setting: &Setting, kaito: &Kaito) -> DecisionRecord {
        self.ask(now, setting, kaito, &self.told, decide)
    }

    fn ask<T>(
        &self,
        now: Moment,
        setting: &Setting,
        kaito: &Kaito,
        clocks: &[Fault],
        question: impl Fn(&DecisionInput<'_>) -> T,
    ) -> T {
        let told = |at: Moment| clocks.iter().fold(at, |at, fault| fault.told(at)).min(now);
        // What this process saw itself it knows by its own clock.
        let lost_ready = |pod: &Pod| pod.lost_ready.map(|at| if at >= self.started { at } else { told(at) });
        let view = |pod: &'_ Pod| ReplicaView {
            workspace: Cow::Owned(pod.name.clone()),
            created: told(pod.created),
            terminating: pod.removed.is_some(),
            ready_since: pod
                .ready_since
                .map(|at| told(at).max(lost_ready(pod).unwrap_or(Moment::from_secs(0)))),
            lost_ready: lost_ready(pod),
            unready_since: pod.unready_since().map(told),
            series: self.series.get(&pod.name).map_or_else(Cow::default, Cow::Borrowed),
        };
        question(&DecisionInput {
            now,
            trigger: Cow::Borrowed(&setting.trigger),
            scale: setting.scale(kaito.spec, kaito.status),
            timing: Timing {
                process_started: self.started,
                proof: setting.proof,
                ..Timing::default()
            },
            replicas: kaito.pods.iter().map(view).collect(),
            history: Cow::Borrowed(&self.history),
        })
    }
}

fn read(pod: &Pod, metric: &str, kind: MetricKind) -> Reading {
    match (kind, metric) {
        (MetricKind::Histogram, _) => Reading::Histogram {
            sum: pod.sum,
            count: pod.count,
        },
        (MetricKind::Gauge, RUNNING) => Reading::Gauge(if pod.share > 0.0 { 8.0 } else { 0.0 }),
        (MetricKind::Gauge, WAITING) | (MetricKind::Gauge, _) => Reading::Gauge(pod.share),
    }
}

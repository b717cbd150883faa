//! What the scaler remembers of one replica's scrapes: the newest reading of each wanted metric, and for histograms the
//! points that deltas are taken from. It knows no fleet and decides nothing; time enters with each sample.

mod points;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::exposition::MAX_VALUE;
use crate::moment::Moment;
use crate::policy::MetricKind;

pub use points::{Delta, MAX_POINTS, Points};

/// One metric that somebody needs of a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wanted {
    pub metric: String,
    pub kind: MetricKind,
    /// How far back deltas are taken; zero for gauges.
    #[serde(with = "crate::moment::seconds", default, skip_serializing_if = "Duration::is_zero")]
    pub window: Duration,
}

/// What one scrape said of one metric, the pod's engines already combined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Reading {
    /// The value of a gauge (or of a series without a type).
    Gauge(f64),
    /// `_sum` and `_count`, lifetime totals.
    Histogram { sum: f64, count: f64 },
    /// The body has no such family; `nearest` is the likeliest name it does have.
    Absent {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nearest: Option<Box<str>>,
    },
    /// The body's TYPE line, here `exposed`, contradicts the declared type.
    Mismatch { exposed: Box<str> },
    /// The family is there but its number cannot be believed.
    Unusable { problem: Box<str> },
}

/// One container start within one Ready period of one pod: counters grow without a break only within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Segment(u64);

/// A scrape that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    pub at: Moment,
    pub reason: Box<str>,
}

/// The samples of one replica (one Workspace, over all its pods' lives). Only samples taken while the pod is Ready belong
/// here. About 2 KiB with three histograms over 300 s.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplicaSeries {
    /// When the newest scrape was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answered: Option<Moment>,
    /// When a scrape last held at least one wanted metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    served: Option<Moment>,
    /// Since when every scrape was answered, without a wanted metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bare_since: Option<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    segment: Option<Segment>,
    /// When that segment's first scrape was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    segment_since: Option<Moment>,
    #[serde(default)]
    metrics: Vec<MetricSeries>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MetricSeries {
    metric: Box<str>,
    kind: MetricKind,
    #[serde(with = "crate::moment::seconds", default, skip_serializing_if = "Duration::is_zero")]
    window: Duration,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    latest: Option<Reading>,
    /// When it last had a reading that can be believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_usable: Option<Moment>,
    #[serde(default, skip_serializing_if = "Points::is_empty")]
    points: Points,
}

impl Segment {
    /// The segment of a pod's UID, the start of its Ready period and its container's start (any units, here only told apart).
    pub fn of(pod_uid: &str, ready_since: i64, container_started: i64) -> Self {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0100_0000_01b3;
        let bytes = pod_uid
            .bytes()
            .chain(ready_since.to_le_bytes())
            .chain(container_started.to_le_bytes());
        Self(bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME)))
    }
}

impl Reading {
    /// Whether the reading is a number that can be believed: from 0 to 1e12.
    pub fn is_usable(&self) -> bool {
        let believable = |number: f64| (0.0..=MAX_VALUE).contains(&number);
        match self {
            Self::Gauge(value) => believable(*value),
            Self::Histogram { sum, count } => believable(*sum) && believable(*count),
            Self::Absent { .. } | Self::Mismatch { .. } | Self::Unusable { .. } => false,
        }
    }

    /// Numbers that cannot be believed are no numbers; a reading of the other kind than wanted contradicts it.
    fn checked(self, kind: MetricKind) -> Self {
        match (&self, kind) {
            (Self::Gauge(_), MetricKind::Histogram) => Self::Mismatch { exposed: "gauge".into() },
            (Self::Histogram { .. }, MetricKind::Gauge) => Self::Mismatch {
                exposed: "histogram".into(),
            },
            (Self::Gauge(_) | Self::Histogram { .. }, _) if !self.is_usable() => Self::Unusable {
                problem: "not from 0 to 1e12".into(),
            },
            _ => self,
        }
    }
}

impl ReplicaSeries {
    /// An empty memory for `wanted`.
    pub fn new(wanted: &[Wanted]) -> Self {
        let mut series = Self::default();
        series.want(wanted);
        series
    }

    /// Changes what is wanted; what is still wanted keeps its memory. Of one metric wanted twice the longer window counts.
    pub fn want(&mut self, wanted: &[Wanted]) {
        let wants = |known: &MetricSeries, one: &Wanted| *known.metric == *one.metric && known.kind == one.kind;
        self.metrics.retain(|known| wanted.iter().any(|one| wants(known, one)));
        for known in &mut self.metrics {
            known.window = Duration::ZERO;
        }
        self.metrics.reserve_exact(wanted.len().saturating_sub(self.metrics.len()));
        for one in wanted {
            match self.metrics.iter_mut().find(|known| wants(known, one)) {
                Some(known) => known.window = known.window.max(one.window),
                None => self.metrics.push(MetricSeries {
                    metric: one.metric.as_str().into(),
                    kind: one.kind,
                    window: one.window,
                    latest: None,
                    last_usable: None,
                    points: Points::default(),
                }),
            }
        }
    }

    /// Takes in one answered scrape; `read` gives the reading of each wanted metric. A sample older than the newest is dropped.
    pub fn push(&mut self, at: Moment, segment: Segment, mut read: impl FnMut(&str, MetricKind) -> Reading) {
        if self.answered.is_some_and(|answered| at <= answered) {
            return;
        }
        let continues = self.segment == Some(segment);
        let after_silence = self.answered.is_none_or(|answered| at.since(answered) > points::REACH);
        let mut usable = false;
        if !continues {
            (self.segment, self.segment_since) = (Some(segment), Some(at));
        }
        self.answered = Some(at);
        self.failure = None;
        for known in &mut self.metrics {
            let reading = read(&known.metric, known.kind).checked(known.kind);
            if reading.is_usable() {
                (usable, known.last_usable) = (true, Some(at));
            }
            match reading {
                Reading::Histogram { sum, count } => known.points.push(at, sum, count, continues, known.window),
                Reading::Gauge(_) | Reading::Absent { .. } | Reading::Mismatch { .. } | Reading::Unusable { .. } => {
                    known.points.interrupt();
                }
            }
            known.latest = Some(reading);
        }
        if usable {
            (self.served, self.bare_since) = (Some(at), None);
        } else if after_silence || self.bare_since.is_none() {
            self.bare_since = Some(at);
        }
    }

    /// Notes a failed scrape; the samples stay and age.
    pub fn push_failure(&mut self, at: Moment, reason: impl Into<Box<str>>) {
        self.failure = Some(Failure {
            at,
            reason: reason.into(),
        });
    }

    /// When the newest scrape was answered.
    pub fn answered(&self) -> Option<Moment> {
        self.answered
    }

    /// When the replica last answered with at least one wanted metric.
    pub fn served(&self) -> Option<Moment> {
        self.served
    }

    /// Whether a scrape since this container's start has held a wanted metric: then the model is loaded.
    pub fn has_served_in_segment(&self) -> bool {
        self.served
            .zip(self.segment_since)
            .is_some_and(|(served, since)| served >= since)
    }

    /// When a metric last had a reading that can be believed.
    pub fn last_usable(&self, metric: &str, kind: MetricKind) -> Option<Moment> {
        self.find(metric, kind).and_then(|known| known.last_usable)
    }

    /// Since when the replica has answered all along, without a wanted metric; `None` when its newest answer had one.
    pub fn bare_since(&self) -> Option<Moment> {
        self.bare_since
    }

    /// The newest failure, if nothing was answered since.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// The newest reading of a metric; `None` when it is not wanted or nothing was answered yet.
    pub fn reading(&self, metric: &str, kind: MetricKind) -> Option<&Reading> {
        self.find(metric, kind).and_then(|known| known.latest.as_ref())
    }

    /// The newest value of a gauge; `None` unless the newest reading is one.
    pub fn gauge(&self, metric: &str) -> Option<f64> {
        match self.reading(metric, MetricKind::Gauge) {
            Some(reading @ Reading::Gauge(value)) if reading.is_usable() => Some(*value),
            _ => None,
        }
    }

    /// Growth of a histogram since about `begin` and not before `floor`; see [`Points::delta`].
    pub fn delta(&self, metric: &str, begin: Moment, floor: Moment) -> Option<Delta> {
        self.find(metric, MetricKind::Histogram)?.points.delta(begin, floor)
    }

    /// Bytes on the heap, as allocated.
    pub fn heap_bytes(&self) -> usize {
        let metrics = self.metrics.capacity() * size_of::<MetricSeries>();
        let each = |known: &MetricSeries| known.metric.len() + known.points.heap_bytes();
        metrics + self.metrics.iter().map(each).sum::<usize>()
    }

    /// Says what of a memory that was read cannot have been written by `now`.
    pub(crate) fn check(&self, now: Moment) -> Result<(), &'static str> {
        let own = [self.answered, self.served, self.bare_since, self.segment_since];
        let failed = self.failure.as_ref().map(|failure| failure.at);
        let usable = self.metrics.iter().map(|known| known.last_usable);
        let newest = self.metrics.iter().map(|known| known.points.newest());
        let mut times = own.into_iter().chain([failed]).chain(usable).chain(newest).flatten();
        match times.any(|time| time > now) {
            true => Err("a sample is later than now"),
            false => Ok(()),
        }
    }

    fn find(&self, metric: &str, kind: MetricKind) -> Option<&MetricSeries> {
        self.metrics
            .iter()
            .find(|known| *known.metric == *metric && known.kind == kind)
    }
}

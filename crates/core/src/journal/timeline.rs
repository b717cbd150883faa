//! The numbers over time: one point per round, equal ones in a row folded into one. For plots; single precision is enough.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::moment::Moment;
use crate::record::{DecisionInput, DecisionRecord, MetricRecord};

/// Points kept: half an hour of rounds that all differ.
pub const MAX_POINTS: usize = 120;
/// Metrics kept with a point, the trigger's first ones.
pub const MAX_BANDS: usize = 4;

/// What some rounds in a row showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Point<T = Moment> {
    pub since: T,
    /// The last of these rounds.
    pub until: T,
    pub spec_replicas: u32,
    pub status_replicas: u32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub desired: Option<u32>,
    /// One per metric of the decision, at most [`MAX_BANDS`].
    pub bands: Box<[Band]>,
}

/// What a metric can have been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Band {
    /// The least; absent when nothing is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub low: Option<f32>,
    /// The most; absent when there is no bound.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub high: Option<f32>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    points: VecDeque<Kept>,
}

/// A point without anything of its own on the heap.
#[derive(Clone, Debug)]
struct Kept {
    since: Moment,
    until: Moment,
    spec_replicas: u32,
    status_replicas: u32,
    desired: Option<u32>,
    bands: Bands,
}

/// The first metrics of a decision; an end that is not known is not a number.
#[derive(Clone, Copy, Debug)]
struct Bands {
    ends: [(f32, f32); MAX_BANDS],
    count: usize,
}

impl Timeline {
    /// Takes in a round, forgetting the oldest beyond [`MAX_POINTS`] and `bytes`.
    pub(super) fn add(&mut self, input: &DecisionInput<'_>, record: &DecisionRecord, bytes: usize) {
        let most = MAX_POINTS.min(bytes / size_of::<Kept>());
        if self.points.capacity() > most {
            // It had a larger share before.
            self.points.drain(..self.points.len().saturating_sub(most));
            self.points.shrink_to(most);
        }
        let point = Kept::of(input, record);
        if let Some(last) = self.points.back_mut()
            && last.is_like(&point)
        {
            last.until = input.now;
            return;
        }
        if most == 0 {
            return;
        }
        if self.points.len() >= most {
            self.points.pop_front();
        }
        if self.points.len() == self.points.capacity() {
            let room = most - self.points.len();
            self.points.reserve_exact(self.points.len().max(4).min(room));
        }
        self.points.push_back(point);
    }

    pub(super) fn points(&self) -> impl Iterator<Item = Point> {
        self.points.iter().map(Kept::point)
    }

    pub(super) fn bytes(&self) -> usize {
        self.points.capacity() * size_of::<Kept>()
    }
}

impl Kept {
    fn of(input: &DecisionInput<'_>, record: &DecisionRecord) -> Self {
        Self {
            since: input.now,
            until: input.now,
            spec_replicas: input.scale.spec_replicas,
            status_replicas: input.scale.status_replicas,
            desired: record.desired,
            bands: Bands::of(&record.metrics),
        }
    }

    /// Whether it shows the same at another time.
    fn is_like(&self, other: &Self) -> bool {
        (self.spec_replicas, self.status_replicas, self.desired) == (other.spec_replicas, other.status_replicas, other.desired)
            && self.bands.are_like(&other.bands)
    }

    fn point(&self) -> Point {
        let known = |end: f32| Some(end).filter(|end| !end.is_nan());
        let band = |(low, high): &(f32, f32)| Band {
            low: known(*low),
            high: known(*high),
        };
        Point {
            since: self.since,
            until: self.until,
            spec_replicas: self.spec_replicas,
            status_replicas: self.status_replicas,
            desired: self.desired,
            bands: self.bands.ends.iter().take(self.bands.count).map(band).collect(),
        }
    }
}

impl Bands {
    fn of(metrics: &[MetricRecord]) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "a plot needs no more")]
        let short = |end: Option<f64>| end.map_or(f32::NAN, |end| end as f32);
        let mut ends = [(f32::NAN, f32::NAN); MAX_BANDS];
        for (ends, metric) in ends.iter_mut().zip(metrics) {
            *ends = (short(metric.low), short(metric.high));
        }
        Self {
            ends,
            count: metrics.len().min(MAX_BANDS),
        }
    }

    fn are_like(&self, other: &Self) -> bool {
        let bits = |(low, high): &(f32, f32)| (low.to_bits(), high.to_bits());
        self.count == other.count && self.ends.iter().map(bits).eq(other.ends.iter().map(bits))
    }
}

impl Point {
    /// The same with times as others know them.
    pub fn told<T>(self, time: impl Fn(Moment) -> T) -> Point<T> {
        Point {
            since: time(self.since),
            until: time(self.until),
            spec_replicas: self.spec_replicas,
            status_replicas: self.status_replicas,
            desired: self.desired,
            bands: self.bands,
        }
    }
}

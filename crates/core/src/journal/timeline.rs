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
    points: VecDeque<Point>,
    /// Bytes of their bands.
    bands: usize,
}

impl Timeline {
    /// Takes in a round, forgetting the oldest beyond [`MAX_POINTS`] and `bytes`.
    pub(super) fn add(&mut self, input: &DecisionInput<'_>, record: &DecisionRecord, bytes: usize) {
        let scale = &input.scale;
        let bands = || record.metrics.iter().take(MAX_BANDS).map(Band::of);
        if let Some(last) = self.points.back_mut()
            && (last.spec_replicas, last.status_replicas) == (scale.spec_replicas, scale.status_replicas)
            && last.desired == record.desired
            && last.bands.iter().copied().eq(bands())
        {
            last.until = input.now;
            return;
        }
        while self.points.len() >= MAX_POINTS {
            self.forget_one();
        }
        let point = Point {
            since: input.now,
            until: input.now,
            spec_replicas: scale.spec_replicas,
            status_replicas: scale.status_replicas,
            desired: record.desired,
            bands: bands().collect(),
        };
        self.bands += size_of_val(&*point.bands);
        self.points.push_back(point);
        if self.bytes() > bytes {
            while self.used() > bytes && self.forget_one() {}
            self.points.shrink_to_fit();
        }
    }

    pub(super) fn points(&self) -> impl Iterator<Item = &Point> {
        self.points.iter()
    }

    pub(super) fn bytes(&self) -> usize {
        self.points.capacity() * size_of::<Point>() + self.bands
    }

    fn used(&self) -> usize {
        self.points.len() * size_of::<Point>() + self.bands
    }

    fn forget_one(&mut self) -> bool {
        let oldest = self.points.pop_front();
        self.bands -= oldest.as_ref().map_or(0, |point| size_of_val(&*point.bands));
        oldest.is_some()
    }
}

impl Point {
    /// The same with times as others know them.
    pub fn told<T>(&self, time: impl Fn(Moment) -> T) -> Point<T> {
        Point {
            since: time(self.since),
            until: time(self.until),
            spec_replicas: self.spec_replicas,
            status_replicas: self.status_replicas,
            desired: self.desired,
            bands: self.bands.clone(),
        }
    }
}

impl Band {
    fn of(record: &MetricRecord) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "a plot needs no more")]
        let short = |value: f64| value as f32;
        Self {
            low: record.low.map(short),
            high: record.high.map(short),
        }
    }
}

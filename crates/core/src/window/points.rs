//! A bounded list of (time, sum, count) of one histogram, and the growth between two of them.
//! Growth is added up within segments only; what happened between two segments is unknown and left out.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::exposition::MAX_VALUE;
use crate::moment::Moment;

/// Most points kept: an hour at the scrape interval of 15 s, both ends included.
pub const MAX_POINTS: usize = 241;

/// How much older than the window's begin its first point may be: two scrape intervals and a timeout.
pub(super) const REACH: Duration = Duration::from_secs(33);

/// Lifetime totals at one time. JSON: `[seconds, sum, count, starts]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Point {
    at: Moment,
    sum: f64,
    count: f64,
    /// Whether nothing is known of the time between the point before and this one.
    starts: bool,
}

/// Points of one histogram, oldest first, no more than [`MAX_POINTS`] and one older than the window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(Moment, f64, f64, bool)>", into = "Vec<(Moment, f64, f64, bool)>")]
pub struct Points {
    points: VecDeque<Point>,
    interrupted: bool,
}

/// Growth of a histogram over a time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Delta {
    pub sum: f64,
    pub count: f64,
}

impl Points {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// When the newest was taken.
    pub(super) fn newest(&self) -> Option<Moment> {
        self.points.back().map(|point| point.at)
    }

    /// The next scrape is no continuation of the last: the metric was not readable in between.
    pub(super) fn interrupt(&mut self) {
        self.interrupted = !self.points.is_empty();
    }

    /// Adds totals. A fall of either is a reset, which starts a segment as `continues == false` does.
    pub(super) fn push(&mut self, at: Moment, sum: f64, count: f64, continues: bool, window: Duration) {
        let fell = self.points.back().is_some_and(|last| sum < last.sum || count < last.count);
        let starts = self.points.is_empty() || !continues || self.interrupted || fell;
        self.interrupted = false;
        if !starts && self.is_crowded(window) {
            self.points.pop_back();
        }
        self.points.push_back(Point { at, sum, count, starts });
        let begin = at.minus(window);
        while self.points.len() > MAX_POINTS || self.points.get(1).is_some_and(|second| second.at <= begin) {
            self.points.pop_front();
        }
        if let Some(first) = self.points.front_mut() {
            first.starts = true;
        }
    }

    /// Whether the newest point stands so close to the one before that the next can take its place. Points further apart
    /// than this are few enough to cover the window.
    fn is_crowded(&self, window: Duration) -> bool {
        let mut newest = self.points.iter().rev();
        let (Some(last), Some(before)) = (newest.next(), newest.next()) else {
            return false;
        };
        let steps = u32::try_from(MAX_POINTS - 2).unwrap_or(u32::MAX);
        !last.starts && last.at.since(before.at) < window / steps
    }

    /// Growth from the newest point at or before `begin` (unless it is much older, or before `floor`; then from the first
    /// point after both) to the newest point. `None` when that leaves fewer than two points of one segment.
    pub fn delta(&self, begin: Moment, floor: Moment) -> Option<Delta> {
        let earliest = begin.minus(REACH).max(floor);
        let before = self
            .points
            .iter()
            .rposition(|point| point.at <= begin && point.at >= earliest);
        let first = before.or_else(|| self.points.iter().position(|point| point.at >= begin.max(floor)))?;
        let mut delta: Option<Delta> = None;
        let pairs = self.points.iter().skip(first).zip(self.points.iter().skip(first + 1));
        for (from, to) in pairs.filter(|(_, to)| !to.starts) {
            let total = delta.get_or_insert_default();
            total.sum += to.sum - from.sum;
            total.count += to.count - from.count;
        }
        delta
    }

    /// Bytes on the heap, as allocated.
    pub fn heap_bytes(&self) -> usize {
        self.points.capacity() * size_of::<Point>()
    }
}

impl TryFrom<Vec<(Moment, f64, f64, bool)>> for Points {
    type Error = &'static str;

    fn try_from(points: Vec<(Moment, f64, f64, bool)>) -> Result<Self, Self::Error> {
        let mut all = Self::default();
        for (at, sum, count, starts) in points {
            let last = all.points.back();
            if last.is_some_and(|last| last.at >= at) {
                return Err("points are not in order, oldest first");
            }
            if [sum, count].iter().any(|total| !(0.0..=MAX_VALUE).contains(total)) {
                return Err("a total of a point is not from 0 to 1e12");
            }
            let fell = last.is_none_or(|last| sum < last.sum || count < last.count);
            let starts = starts || fell;
            all.points.push_back(Point { at, sum, count, starts });
            if all.points.len() > MAX_POINTS {
                all.points.pop_front();
            }
        }
        Ok(all)
    }
}

impl From<Points> for Vec<(Moment, f64, f64, bool)> {
    fn from(points: Points) -> Self {
        points
            .points
            .iter()
            .map(|point| (point.at, point.sum, point.count, point.starts))
            .collect()
    }
}

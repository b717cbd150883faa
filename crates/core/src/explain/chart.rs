//! A trigger's timeline laid out for drawing: time cut into columns of equal width, and a scale for each metric. Text and
//! picture draw the same chart.

use jiff::{SignedDuration, Timestamp};

use super::{Threshold, TriggerStory};
use crate::journal::Point;

/// Rounds are far closer together; after this nothing was known.
const LASTS: SignedDuration = SignedDuration::from_secs(120);

/// What is drawn of one trigger.
pub(super) struct Chart<'a> {
    pub(super) begin: Timestamp,
    pub(super) end: Timestamp,
    pub(super) lanes: Vec<Lane<'a>>,
    /// spec.replicas and the wish, column by column.
    pub(super) counts: Vec<Option<(u32, Option<u32>)>>,
    pub(super) most_replicas: u32,
}

/// One metric.
pub(super) struct Lane<'a> {
    pub(super) threshold: &'a Threshold,
    /// Least and most of what the value can have been, column by column; no most where there is no bound.
    pub(super) columns: Vec<Option<(f64, Option<f64>)>>,
    /// The top of the scale; the bottom is 0.
    pub(super) top: f64,
}

impl<'a> Chart<'a> {
    /// `None` when there is nothing to draw.
    pub(super) fn of(story: &'a TriggerStory, columns: usize) -> Option<Self> {
        let (first, last) = (story.timeline.first()?, story.timeline.last()?);
        let (begin, end) = (first.since, last.until.max(first.since));
        let points: Vec<_> = (0..columns)
            .map(|column| point_at(story, begin, end, column, columns))
            .collect();
        let lane = |(index, threshold): (usize, &'a Threshold)| {
            let value = |point: &&Point<Timestamp>| {
                let band = point.bands.get(index)?;
                let compared = |value: f32| threshold.compared(f64::from(value), point.spec_replicas);
                Some((compared(band.low?), band.high.map(compared)))
            };
            let columns: Vec<_> = points.iter().map(|point| point.as_ref().and_then(value)).collect();
            let values = columns.iter().flatten().flat_map(|(low, high)| [Some(*low), *high]).flatten();
            let largest = values
                .chain([threshold.up])
                .filter(|value| value.is_finite())
                .fold(0.0, f64::max);
            Lane {
                threshold,
                columns,
                top: if largest > 0.0 { largest * 1.1 } else { 1.0 },
            }
        };
        let counts: Vec<_> = points
            .iter()
            .map(|point| point.map(|point| (point.spec_replicas, point.desired)))
            .collect();
        let all = counts
            .iter()
            .flatten()
            .flat_map(|(spec, desired)| [Some(*spec), *desired])
            .flatten();
        Some(Self {
            begin,
            end,
            most_replicas: all.max().unwrap_or(0),
            lanes: story
                .thresholds
                .iter()
                .take(crate::journal::MAX_BANDS)
                .enumerate()
                .map(lane)
                .collect(),
            counts,
        })
    }
}

/// What held at the end of a column. A point holds until the next begins, but not for longer than [`LASTS`].
fn point_at(story: &TriggerStory, begin: Timestamp, end: Timestamp, column: usize, columns: usize) -> Option<&Point<Timestamp>> {
    let whole = end.duration_since(begin).as_millis();
    let (column, columns) = (i128::try_from(column).ok()?, i128::try_from(columns).ok()?);
    let at = whole * (column + 1) / columns;
    let offset = |time: Timestamp| time.duration_since(begin).as_millis();
    let point = story.timeline.iter().rev().find(|point| offset(point.since) <= at)?;
    (at - offset(point.until) <= LASTS.as_millis()).then_some(point)
}

//! The plots of a page of text: each metric against its thresholds, then the replicas, over the same columns of time.

use super::{Page, clock, short};
use crate::explain::TriggerStory;
use crate::explain::chart::{Chart, Lane};

const COLUMNS: usize = 60;
const ROWS: u32 = 8;
/// Rows of replicas, when there are fewer of them than this it is as many.
const REPLICA_ROWS: u32 = 6;

impl Page {
    pub(super) fn plots(&mut self, story: &TriggerStory) {
        let Some(chart) = Chart::of(story, COLUMNS) else { return };
        for lane in &chart.lanes {
            self.lane(lane);
        }
        self.counts(&chart);
        let (begin, end) = (clock(chart.begin), clock(chart.end));
        let gap = COLUMNS.saturating_sub(begin.len() + end.len());
        self.line(format_args!("{:>10} {begin}{:gap$}{end}", "", ""));
    }

    /// `#` is what the value is at least, `:` what it may be, `?` says that nothing is known of it.
    fn lane(&mut self, lane: &Lane<'_>) {
        let threshold = lane.threshold;
        let per = if threshold.shared { " per replica" } else { "" };
        let legend = if lane.columns.contains(&None) { " (?: not known)" } else { "" };
        self.line(format_args!("{:>10} {}{per}{legend}", "", threshold.metric));
        let row_of = |value: f64| row(value, lane.top);
        let (up, down) = (row_of(threshold.up), threshold.down.map(row_of));
        for row in (0..ROWS).rev() {
            let ruled = if row == up {
                '-'
            } else if Some(row) == down {
                '.'
            } else {
                ' '
            };
            let cell = |column: &Option<(f64, Option<f64>)>| match column {
                Some((low, _)) if *low > 0.0 && row_of(*low) >= row => '#',
                Some((_, Some(high))) if *high > 0.0 && row_of(*high) >= row => ':',
                Some((_, None)) => ':',
                None if row == 0 => '?',
                _ => ruled,
            };
            let cells: String = lane.columns.iter().map(cell).collect();
            let label = match ruled {
                '-' => format!("{} up", short(threshold.up)),
                '.' => format!("{} down", short(threshold.down.unwrap_or_default())),
                _ if row == ROWS - 1 => short(lane.top),
                _ => String::new(),
            };
            self.line(format_args!("{label:>10}|{cells}"));
        }
    }

    /// `#` is ordered, `+` wanted beyond, `o` no longer wanted.
    fn counts(&mut self, chart: &Chart<'_>) {
        self.line(format_args!("{:>10} replicas: # ordered, + wanted, o no longer wanted", ""));
        let rows = chart.most_replicas.clamp(1, REPLICA_ROWS);
        for row in (0..rows).rev() {
            // The count that a row begins at.
            let least = u64::from(row) * u64::from(chart.most_replicas.max(1)) / u64::from(rows) + 1;
            let cell = |column: &Option<(u32, Option<u32>)>| {
                let Some((spec, desired)) = *column else { return ' ' };
                let ordered = u64::from(spec) >= least;
                let wanted = desired.map_or(ordered, |desired| u64::from(desired) >= least);
                match (ordered, wanted) {
                    (true, true) => '#',
                    (true, false) => 'o',
                    (false, true) => '+',
                    (false, false) => ' ',
                }
            };
            let cells: String = chart.counts.iter().map(cell).collect();
            self.line(format_args!("{least:>10}|{cells}"));
        }
    }
}

/// The row of a value on a scale from 0 to `top`.
fn row(value: f64, top: f64) -> u32 {
    let share = (value / top).clamp(0.0, 1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and ROWS")]
    let row = (share * f64::from(ROWS)) as u32;
    row.min(ROWS - 1)
}

//! One metric's vote and how votes combine.

use crate::estimate::Range;
use crate::families::{Merge, merge};
use crate::history::Lean;
use crate::policy::{Combine, MetricKind, MetricRule};

/// What one metric wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vote {
    Up,
    Down,
    Keep,
    /// Down, if what is not known were as low as what is; counts as no change.
    Unknown,
    /// Nothing to say: no voice in a move up, and a move down needs every voice.
    Abstain,
}

/// The vote of a metric whose value lies in `range`, and why it does not say down although its value is low.
pub(super) fn vote(rule: &MetricRule, range: Range, n_serving: u32) -> (Vote, Option<&'static str>) {
    if range.low > rule.up_threshold {
        return (Vote::Up, None);
    }
    let is_below = |value: f64| {
        if rule.down_threshold > 0.0 {
            value < rule.down_threshold
        } else {
            value <= 0.0
        }
    };
    let Some(high) = range.high else {
        let vote = if is_below(range.low) { Vote::Unknown } else { Vote::Keep };
        return (vote, Some("not every replica is known"));
    };
    if !is_below(high) {
        return (Vote::Keep, None);
    }
    let count = rule.kind == MetricKind::Gauge && merge(&rule.name) == Merge::Sum;
    if count && !fits_on_one_fewer(high, rule.up_threshold, n_serving) {
        return (Vote::Keep, Some("one replica fewer would have to go up again"));
    }
    (Vote::Down, None)
}

/// Whether a mean per replica stays at or below `up_threshold` when the load is spread over one replica fewer.
fn fits_on_one_fewer(mean: f64, up_threshold: f64, n_serving: u32) -> bool {
    mean * f64::from(n_serving) <= up_threshold * f64::from(n_serving.saturating_sub(1))
}

/// Whether nothing but what is not known keeps the metrics from asking for fewer.
pub(super) fn is_for_want_of_knowledge(mut votes: impl Iterator<Item = Vote> + Clone) -> bool {
    votes.clone().any(|vote| vote == Vote::Unknown) && votes.all(|vote| matches!(vote, Vote::Down | Vote::Unknown))
}

/// The way all metrics together point.
pub(super) fn combine(combine: Combine, votes: impl Iterator<Item = Vote> + Clone) -> Lean {
    let any_up = votes.clone().any(|vote| vote == Vote::Up);
    let up = match combine {
        Combine::Or => any_up,
        Combine::And => any_up && votes.clone().all(|vote| matches!(vote, Vote::Up | Vote::Abstain)),
    };
    let mut votes = votes.peekable();
    let down = votes.peek().is_some() && votes.all(|vote| vote == Vote::Down);
    match (up, down) {
        (true, _) => Lean::Up,
        (false, true) => Lean::Down,
        (false, false) => Lean::Hold,
    }
}

//! The simple dialect: the HPA divides a sum by a target. With every replica known the sum is the truth; otherwise one of
//! the two ends of what it can be is answered, or a value that changes nothing.

#[cfg(test)]
mod tests;

use crate::estimate::Range;
use crate::history::Lean;
use crate::hpa::{Arithmetic, milli};
use crate::situation::Situation;
use crate::trigger::Aggregation;
use crate::verdict::{Clamp, MetricRecord, Verdict, cannot_hold, direction, holding};

/// A value considered, and where the HPA would go on it.
struct Candidate {
    value: i64,
    /// With status.replicas as it stands, within min and max.
    now: Lean,
    /// Once status.replicas has become spec.replicas, within min and max.
    later: Lean,
    /// The same without min and max.
    unbounded: Lean,
}

/// Answers for `metric`, whose value over the fleet lies in `range`.
pub(crate) fn answer(situation: &Situation<'_, '_>, metric: &str, range: Range) -> Verdict {
    let arithmetic = situation.arithmetic();
    let fleet = &situation.fleet;
    let is_sum = matches!(situation.trigger, Aggregation::Sum { .. });
    let low = consider(situation, &arithmetic, range.low);
    let high = range.high.map(|high| consider(situation, &arithmetic, high));
    let whole = fleet.is_whole() && range.high == Some(range.low);
    let lean = lean(whole, &low, high.as_ref(), fleet.n_serving());
    let mut verdict = if fleet.n_serving() == 0 {
        hold(situation, &arithmetic, nobody(situation))
    } else if whole {
        let what = if is_sum { "sum" } else { "mean" };
        let wanted = format!("the {what} over {} replicas is {}", fleet.n_serving(), range.low);
        answer_candidate(situation, &arithmetic, &low, wanted)
    } else if low.now == Lean::Up {
        let wanted = if is_sum {
            format!("the replicas that serve have {} together, enough to go up", range.low)
        } else {
            format!("the mean is {} or more, enough to go up", range.low)
        };
        answer_candidate(situation, &arithmetic, &low, wanted)
    } else if let Some(high) = high.filter(|high| high.now == Lean::Down) {
        let wanted = format!(
            "with every missing replica at target it is {}, still low",
            crate::hpa::value(high.value)
        );
        answer_candidate(situation, &arithmetic, &high, wanted)
    } else {
        hold(
            situation,
            &arithmetic,
            "the value is not known well enough to move".to_owned(),
        )
    };
    if range.high.is_none() && low.unbounded == Lean::Down {
        verdict.clamps.push(Clamp::Unknown);
    }
    verdict.lean = lean;
    verdict.metrics = vec![MetricRecord::of(metric, range, lean)];
    verdict
}

fn consider(situation: &Situation<'_, '_>, arithmetic: &Arithmetic, value: f64) -> Candidate {
    let scale = situation.scale;
    let value = milli(value);
    let current = scale.current();
    let now = arithmetic.recommends(value);
    let later = arithmetic.with_status(scale.spec_replicas).recommends(value);
    Candidate {
        value,
        now: direction(scale.clamp(now), current),
        later: direction(scale.clamp(later), current),
        unbounded: direction(later, scale.spec_replicas),
    }
}

fn lean(whole: bool, low: &Candidate, high: Option<&Candidate>, n_serving: u32) -> Lean {
    if n_serving == 0 {
        Lean::Hold
    } else if whole || low.unbounded == Lean::Up {
        low.unbounded
    } else {
        high.map(|high| high.unbounded)
            .filter(|lean| *lean == Lean::Down)
            .unwrap_or_default()
    }
}

/// Answers a value that is right, unless the HPA would make something else of it.
fn answer_candidate(situation: &Situation<'_, '_>, arithmetic: &Arithmetic, candidate: &Candidate, wanted: String) -> Verdict {
    let scale = situation.scale;
    let current = scale.current();
    if candidate.now != Lean::Hold && candidate.now != candidate.later {
        let mut verdict = hold(
            situation,
            arithmetic,
            format!("{wanted}, but status.replicas is {} for now", scale.status_replicas),
        );
        verdict.clamps.push(Clamp::StatusLags);
        return verdict;
    }
    let downward = candidate.now == Lean::Down || candidate.later == Lean::Down;
    if downward && !situation.supports(Lean::Down, scale.down_window) {
        let window = scale.down_window.as_secs();
        let mut verdict = hold(
            situation,
            arithmetic,
            format!("{wanted}, but our samples have not said so for {window} seconds"),
        );
        verdict.clamps.push(Clamp::Window);
        return verdict;
    }
    let mut verdict = Verdict::plain(Ok(candidate.value), wanted);
    let unclamped = arithmetic.recommends(candidate.value);
    verdict.desired = Some(scale.clamp(unclamped));
    if candidate.unbounded != Lean::Hold && candidate.later == Lean::Hold {
        verdict.clamps.push(if unclamped < current {
            Clamp::MinReplicas
        } else {
            Clamp::MaxReplicas
        });
    }
    let is_still = current > 0 && candidate.now == Lean::Hold && candidate.unbounded == Lean::Hold;
    if is_still && scale.clamp(arithmetic.calls_for(candidate.value)) != current {
        verdict.clamps.push(Clamp::Tolerance);
    }
    verdict
}

/// Changes nothing, for a reason that lies outside this dialect's arithmetic.
pub(crate) fn keep(situation: &Situation<'_, '_>, reason: String) -> Verdict {
    hold(situation, &situation.arithmetic(), reason)
}

fn hold(situation: &Situation<'_, '_>, arithmetic: &Arithmetic, reason: String) -> Verdict {
    let current = situation.scale.current();
    let mut verdict = Verdict::plain(holding(arithmetic, current).ok_or_else(|| cannot_hold(situation)), reason);
    verdict.desired = Some(current);
    verdict
}

fn nobody(situation: &Situation<'_, '_>) -> String {
    let fleet = &situation.fleet;
    format!(
        "no replica has a fresh sample ({} silent, {} pending, {} lost)",
        fleet.n_silent(),
        fleet.n_pending(),
        fleet.n_lost()
    )
}

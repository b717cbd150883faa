//! The policy dialect: thresholds on several metrics, one step at a time. The wanted count is decided here and published as
//! a value on which the HPA returns exactly that count.

mod publish;
#[cfg(test)]
mod tests;
mod vote;

use std::time::Duration;

use crate::estimate::{self, Estimate};
use crate::history::Lean;
use crate::policy::{MetricKind, MetricRule, ScalingPolicy};
use crate::situation::Situation;
use crate::trigger::DesiredReplicas;
use crate::verdict::{Clamp, MetricRecord, Verdict};
use vote::{Vote, combine, is_for_want_of_knowledge, vote};

/// Decides on a replica count and how to say it.
pub(crate) fn answer(situation: &Situation<'_, '_>, request: &DesiredReplicas) -> Verdict {
    let policy = &request.policy;
    let votes: Vec<_> = policy.metrics.iter().map(|rule| ballot(situation, rule)).collect();
    let lean = combine(policy.combine, votes.iter().map(|(vote, _)| *vote));
    let mut clamps = Vec::new();
    if is_for_want_of_knowledge(votes.iter().map(|(vote, _)| *vote)) {
        clamps.push(Clamp::Unknown);
    }
    let metrics: Vec<_> = votes.into_iter().map(|(_, record)| record).collect();
    let (step, reason) = match held_back(situation, policy, lean) {
        Some((clamp, why)) => {
            clamps.push(clamp);
            (Lean::Hold, format!("{}, but {why}", said(lean)))
        }
        None => (lean, said(lean).to_owned()),
    };
    let current = situation.scale.spec_replicas;
    let wanted = match step {
        Lean::Up => current.saturating_add(1),
        Lean::Down => current.saturating_sub(1),
        Lean::Hold => current,
    };
    let desired = if current == 0 { 0 } else { situation.scale.clamp(wanted) };
    if desired < wanted {
        clamps.push(Clamp::MaxReplicas);
    } else if desired > wanted {
        clamps.push(Clamp::MinReplicas);
    }
    let (value, beyond) = publish::value_for(situation, desired);
    clamps.extend(beyond);
    Verdict {
        value,
        desired: Some(desired),
        lean,
        reason,
        metrics,
        clamps,
    }
}

fn ballot(situation: &Situation<'_, '_>, rule: &MetricRule) -> (Vote, MetricRecord) {
    let estimate = match rule.kind {
        MetricKind::Gauge => Estimate::Between(estimate::mean(situation, &rule.name)),
        MetricKind::Histogram => estimate::windowed(situation, &rule.name, rule.window),
    };
    match estimate {
        Estimate::Abstains(why) => (Vote::Abstain, MetricRecord::silent(&rule.name, why)),
        Estimate::Between(range) => {
            let (vote, note) = vote(rule, range, situation.fleet.n_serving());
            let lean = match vote {
                Vote::Up => Lean::Up,
                Vote::Down => Lean::Down,
                Vote::Keep | Vote::Unknown | Vote::Abstain => Lean::Hold,
            };
            let mut record = MetricRecord::of(&rule.name, range, lean);
            record.note = note.map(str::to_owned);
            (vote, record)
        }
    }
}

fn said(lean: Lean) -> &'static str {
    match lean {
        Lean::Up => "the metrics are above their up thresholds",
        Lean::Down => "every metric is below its down threshold",
        Lean::Hold => "the metrics call for no change",
    }
}

/// Why the move that the samples call for is not made now.
fn held_back(situation: &Situation<'_, '_>, policy: &ScalingPolicy, lean: Lean) -> Option<(Clamp, String)> {
    if lean == Lean::Hold {
        return None;
    }
    let longest = policy.metrics.iter().map(|rule| rule.window).max().unwrap_or_default();
    if situation.now.since(situation.timing.process_started) < longest {
        let why = format!("this process is younger than the longest window of {}", seconds(longest));
        return Some((Clamp::FreshProcess, why));
    }
    if lean == Lean::Up && situation.fleet.awaits_new_capacity() {
        return Some((
            Clamp::NewCapacity,
            "a replica that has not served yet is on its way".to_owned(),
        ));
    }
    let window = match lean {
        Lean::Up => policy.evaluation_window,
        Lean::Down | Lean::Hold => policy.scale_down_cooldown,
    };
    if !situation.supports(lean, window) {
        let why = format!("our samples have not said so for {}", seconds(window));
        return Some((Clamp::Window, why));
    }
    None
}

fn seconds(duration: Duration) -> String {
    format!("{} seconds", duration.as_secs())
}

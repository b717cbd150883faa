//! The one decision call: everything known goes in, the answer and why comes out. The live scaler, `scaler decide` and
//! replays all make this call; it is pure and keeps nothing.

mod check;
mod id;
mod round;
#[cfg(test)]
mod tests;
mod warnings;

use serde::{Deserialize, Serialize};

use crate::decide as policy;
use crate::estimate::{self, Estimate};
use crate::exact;
use crate::fleet::{Class, Fleet};
use crate::history::{History, Lean};
use crate::hpa;
use crate::simple;
use crate::situation::Situation;
use crate::trigger::Aggregation;
use crate::verdict::{Verdict, direction};

pub use crate::situation::{Cooldown, DecisionInput, MetricType, Scale, wanted};
pub use crate::verdict::{Clamp, MetricRecord};
pub use id::{BadDecisionId, DecisionId};
pub use warnings::{Warning, WarningReason};

/// An input as `scaler decide` reads it (there on one line). `trigger.aggregation` is one of those KEDA may ask for, or
/// `desired-replicas` with the policy as in a trigger's metadata; `scale.tolerance` (0.1 both), `scale.metricType`
/// (AverageValue), `scale.scalingModifiers` (false), `scale.downWindow` (300), `scale.cooldown` (none), `timing` and
/// `history` may be left out. A reading is one of `{"gauge": 3}`, `{"histogram": {"sum": 1.5, "count": 2}}`, `{"absent": {}}`,
/// `{"mismatch": {"exposed": "counter"}}` and `{"unusable": {"problem": "not finite"}}`; a histogram's `points` are
/// `[seconds, sum, count, starts a segment]`. Without `history` only moves that need no window are made.
pub const EXAMPLE_INPUT: &str = r#"{
  "now": 1000,
  "trigger": {"aggregation": "sum", "metric": "vllm:num_requests_waiting", "threshold": 10},
  "scale": {"specReplicas": 3, "statusReplicas": 3, "minReplicas": 1, "maxReplicas": 8, "tolerance": {"up": 0.1, "down": 0.5}},
  "replicas": [
    {"workspace": "phi-4-abcde", "created": 0, "readySince": 300, "series": {"answered": 995, "served": 995, "metrics": [
      {"metric": "vllm:num_requests_waiting", "kind": "gauge", "latest": {"gauge": 20}}]}},
    {"workspace": "phi-4-fghij", "created": 10, "readySince": 310, "series": {"answered": 996, "served": 996, "metrics": [
      {"metric": "vllm:num_requests_waiting", "kind": "gauge", "latest": {"gauge": 22}}]}},
    {"workspace": "phi-4-klmno", "created": 900}
  ]
}"#;

/// One decision and what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DecisionRecord {
    pub answer: Answer,
    /// What `IsActive` answers.
    pub active: bool,
    /// The replica count aimed at, within min and max; absent where only the value is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub desired: Option<u32>,
    /// Which way these samples point, before windows and bounds.
    pub lean: Lean,
    /// One sentence.
    pub reason: String,
    pub metrics: Vec<MetricRecord>,
    pub replicas: Vec<ReplicaRecord>,
    /// Replicas ordered that have no Workspace and are still awaited.
    pub unborn_pending: u32,
    /// The same, given up.
    pub unborn_lost: u32,
    /// What kept a wanted move from being made, or bent it.
    pub clamps: Vec<Clamp>,
    pub warnings: Vec<Warning>,
}

/// What is told to KEDA.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Finite, 0 or more, in steps of 0.001.
    Value(f64),
    /// Nothing safe can be said; one sentence.
    Unavailable(String),
}

/// One replica's part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaRecord {
    pub workspace: String,
    #[serde(flatten)]
    pub class: Class,
}

/// Decides. Costs microseconds for a fleet of ordinary size.
pub fn decide(input: &DecisionInput<'_>) -> DecisionRecord {
    let situation = Situation::of(input);
    let mut verdict = judge(&situation);
    let warnings = warnings::of(&situation);
    verdict.clamps.extend(cooldown(&situation, &verdict));
    DecisionRecord {
        answer: match verdict.value {
            Ok(milli) => Answer::Value(hpa::value(milli)),
            Err(why) => Answer::Unavailable(why),
        },
        active: round::is_active(&situation),
        desired: verdict.desired,
        lean: verdict.lean,
        reason: verdict.reason,
        metrics: verdict.metrics,
        replicas: replicas(&situation.fleet),
        unborn_pending: situation.fleet.unborn.pending,
        unborn_lost: situation.fleet.unborn.lost,
        clamps: verdict.clamps,
        warnings,
    }
}

/// Whether KEDA may think of the workload as active; as in [`DecisionRecord::active`], without the rest.
pub fn is_active(input: &DecisionInput<'_>) -> bool {
    round::is_active(&Situation::of(input))
}

/// The history after the samples in `input`: call it once per scrape round, however often anybody asks in between.
pub fn next_history(input: &DecisionInput<'_>) -> History {
    let mut history = input.history.clone().into_owned();
    let sighting = round::sighting(&Situation::of(input));
    history.see(input.now, sighting, &input.timing);
    let verdict = judge(&Situation::with_history(input, &history));
    history.lean(input.now, verdict.lean);
    history.told(input.now, verdict.value.is_ok());
    history
}

fn judge(situation: &Situation<'_, '_>) -> Verdict {
    if let Some(mismatch) = warnings::mismatch(situation) {
        return undecided(situation, mismatch.message);
    }
    let understood = situation.scale.is_understood();
    match situation.trigger {
        Aggregation::Sum { metric, .. } if understood => {
            let target = hpa::value(hpa::milli(situation.trigger.target()));
            simple::answer(situation, metric, estimate::sum(situation, metric, target))
        }
        Aggregation::ServiceAvg { metric, .. } if understood => {
            simple::answer(situation, metric, estimate::mean(situation, metric))
        }
        Aggregation::WindowedAvg { metric, window, .. } if understood => match estimate::windowed(situation, metric, *window) {
            Estimate::Between(range) => simple::answer(situation, metric, range),
            Estimate::Abstains(why) => simple::keep(situation, why.to_owned()),
        },
        Aggregation::Sum { metric, .. } => exactly(exact::sum(situation, metric)),
        Aggregation::ServiceAvg { metric, .. } => exactly(exact::mean(situation, metric)),
        Aggregation::WindowedAvg { metric, window, .. } => exactly(exact::windowed(situation, metric, *window)),
        Aggregation::Gate { .. } => exactly(Ok(exact::gate(situation))),
        Aggregation::DesiredReplicas(request) => {
            let verdict = policy::answer(situation, request);
            if understood {
                return verdict;
            }
            let desired = verdict.desired.unwrap_or(situation.scale.spec_replicas);
            let value = exact::everyone_heard(situation).map(|()| hpa::milli(f64::from(desired)));
            Verdict { value, ..verdict }
        }
    }
}

/// The HPA takes the wish, and waits with it.
fn cooldown(situation: &Situation<'_, '_>, verdict: &Verdict) -> Option<Clamp> {
    let wish = direction(verdict.desired?, situation.scale.spec_replicas);
    let told = situation.scale.is_understood() && verdict.value.is_ok();
    (told && situation.cools_down(wish)).then_some(Clamp::Cooldown)
}

fn exactly(value: Result<f64, String>) -> Verdict {
    Verdict::plain(value.map(hpa::milli), "the exact value; what is made of it is not known here")
}

/// Nothing can be decided: hold where that can be said.
fn undecided(situation: &Situation<'_, '_>, why: String) -> Verdict {
    if situation.scale.is_understood() {
        simple::keep(situation, why)
    } else {
        Verdict::plain(Err(why.clone()), why)
    }
}

fn replicas(fleet: &Fleet<'_, '_>) -> Vec<ReplicaRecord> {
    let record = |member: &crate::fleet::Member<'_, '_>| ReplicaRecord {
        workspace: member.view.workspace.clone().into_owned(),
        class: member.class,
    };
    fleet.members.iter().map(record).collect()
}

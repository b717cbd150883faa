//! What to do about one InferenceSet now: the whole of the provisioner's judgement, without a single call.
//! The caller brings what it has seen, carries the plan out, and asks again when anything changes.

mod neglect;
mod siblings;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::crd::{InferenceSet, ScaledObject, Workspace};
use crate::desired::{self, RenderOptions};
use crate::drift::{self, Drift};
use crate::names;
use crate::policy::annotations::{self, Reading, Request, Switch};
use crate::policy::complaint::{Complaint, Reason};
use crate::policy::feasibility;
use crate::policy::replicas::{self, Basis, Previous, Replicas};
use crate::take_over;
use siblings::Siblings;

pub use siblings::{Removal, RemovalReason};

/// A ScaledObject is created without a serving scaler after this.
pub const SCALER_PATIENCE: Duration = Duration::from_secs(120);
/// A longer name fits neither KEDA's label nor a trigger.
const MAX_NAME: usize = 63;
/// KEDA's own default.
const KEDA_MAX_REPLICAS: i32 = 100;

/// What has been seen of one InferenceSet.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    pub inference_set: &'a InferenceSet,
    /// Those of its namespace; others than its own are ignored.
    pub workspaces: &'a [&'a Workspace],
    /// Those of its namespace; others than those that concern it are ignored.
    pub scaled_objects: &'a [&'a ScaledObject],
    pub scaler: ScalerState,
    /// What is to be said of others who write its replica count.
    pub contest: Option<&'a Complaint>,
}

/// Whether somebody would answer KEDA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalerState {
    Serving,
    /// No replica serves, and this InferenceSet has waited this long for one.
    Absent {
        waited: Duration,
    },
    /// The operator does not want it checked.
    NotRequired,
}

/// What to do, what to remove beside it, and what to tell the user.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub plan: Plan,
    /// Managed ScaledObjects that have to go, whatever the plan.
    pub removals: Vec<Removal>,
    pub complaints: Vec<Complaint>,
}

/// What to do about the ScaledObject.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    Apply(Box<Apply>),
    /// Provisioning is off: nothing is to be there but what is not ours.
    Delete,
    Keep(Kept),
    Wait(Wait),
    /// Nothing is there and nothing can be written; the complaints say why.
    Reject,
}

/// One write of the desired state.
#[derive(Clone, Debug, PartialEq)]
pub struct Apply {
    pub desired: ScaledObject,
    pub why: Why,
    /// The object to write over; absent when there must be none.
    pub live: Option<Live>,
}

/// The version of a live ScaledObject that was judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    pub resource_version: String,
    /// To be sent before the apply.
    pub migration: Option<Value>,
}

/// Why a write is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    Create,
    /// These fields differ.
    Fields(BTreeSet<String>),
    /// The values are right, the ownership of fields is not.
    Ownership,
    /// Nothing but the credential epoch differs. May be put off to spread the load.
    Credentials,
    /// KEDA has seen the object and made no HPA of it, or one without our metric: it has to look again. To be paced.
    Neglect,
}

/// Why nothing is written although something may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    InSync,
    /// What is asked for is invalid: the last good ScaledObject stays.
    LastGood,
    /// The InferenceSet is being deleted; the garbage collector does the rest.
    Deleting,
}

/// What has to happen first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A Workspace has to report its node count.
    NodeCount { at_zero: bool },
    /// A scaler replica has to serve; at the latest after `left` the ScaledObject is created all the same.
    Scaler { left: Duration },
    /// A ScaledObject of the same name has to disappear.
    Disappearance,
}

/// Decides.
pub fn plan(observation: &Observation<'_>, options: &RenderOptions) -> Verdict {
    if observation.inference_set.metadata.deletion_timestamp.is_some() {
        return Verdict::keep(Kept::Deleting);
    }
    let siblings = Siblings::sort(observation.inference_set, observation.scaled_objects);
    let annotations = observation.inference_set.metadata.annotations.clone().unwrap_or_default();
    let Reading {
        switch,
        request,
        mut complaints,
    } = annotations::read(&annotations);
    if switch == Switch::Off {
        let removals = siblings.all_managed();
        return Verdict {
            plan: Plan::Delete,
            removals,
            complaints,
        };
    }
    if switch == Switch::On {
        complaints.extend(siblings.conflicts());
        complaints.extend(name_too_long(observation.inference_set));
    }
    if let Some(request) = &request {
        feasibility::unreachable_thresholds(&request.rule, options.max_num_seqs, &mut complaints);
        complaints.extend(observation.contest.cloned());
    }
    let plan = match (request, siblings.kept()) {
        (None, live) => last_good(live, options),
        (Some(request), live) => provision(observation, &request, live, &siblings, options, &mut complaints),
    };
    Verdict {
        plan,
        // Nothing may change while nobody knows what is wanted.
        removals: if switch == Switch::On {
            siblings.surplus()
        } else {
            Vec::new()
        },
        complaints,
    }
}

impl Verdict {
    fn keep(kept: Kept) -> Self {
        Self {
            plan: Plan::Keep(kept),
            removals: Vec::new(),
            complaints: Vec::new(),
        }
    }
}

fn provision(
    observation: &Observation<'_>,
    request: &Request,
    live: Option<&ScaledObject>,
    siblings: &Siblings<'_>,
    options: &RenderOptions,
    complaints: &mut Vec<Complaint>,
) -> Plan {
    let inference_set = observation.inference_set;
    let previous = live.map(previous);
    let bounds = match replicas::bounds(request, inference_set, observation.workspaces, previous, complaints) {
        Replicas::Bounds(bounds) => bounds,
        Replicas::NodesUnknown { .. } | Replicas::Refused if live.is_some() => return last_good(live, options),
        Replicas::NodesUnknown { at_zero } => return Plan::Wait(Wait::NodeCount { at_zero }),
        Replicas::Refused => return Plan::Reject,
    };
    let named = live.map_or(&inference_set.metadata, |live| &live.metadata);
    let name = named.name.as_deref().unwrap_or_default();
    match live {
        Some(live) => {
            // Unknown is not none: while nobody says which epoch holds, the one that is there stays.
            let epoch = options.credential_epoch.or_else(|| desired::credential_epoch(live));
            let options = RenderOptions {
                credential_epoch: epoch,
                ..options.clone()
            };
            let desired = desired::scaled_object(name, inference_set, &request.rule, &bounds, &options);
            bring_to(live, desired, &options, observation.scaler)
        }
        None if complaints.iter().any(|complaint| complaint.reason.is_blocking()) => Plan::Reject,
        None if siblings.name_is_taken() => Plan::Wait(Wait::Disappearance),
        None => {
            let desired = desired::scaled_object(name, inference_set, &request.rule, &bounds, options);
            create(observation.scaler, desired, complaints)
        }
    }
}

fn create(scaler: ScalerState, desired: ScaledObject, complaints: &mut Vec<Complaint>) -> Plan {
    if let ScalerState::Absent { waited } = scaler {
        let left = SCALER_PATIENCE.saturating_sub(waited);
        if !left.is_zero() {
            return Plan::Wait(Wait::Scaler { left });
        }
        complaints.push(Complaint::that(
            Reason::ScalerNotServing,
            names::SERVICE,
            "no replica of the scaler serves; the ScaledObject is created all the same, and KEDA reports errors until one does",
        ));
    }
    Plan::Apply(Box::new(Apply {
        desired,
        why: Why::Create,
        live: None,
    }))
}

fn bring_to(live: &ScaledObject, desired: ScaledObject, options: &RenderOptions, scaler: ScalerState) -> Plan {
    let Some(Drift { fields, ownership_only }) = drift::drift(live, &desired) else {
        // Without somebody to ask KEDA would do no better.
        let answered = matches!(scaler, ScalerState::Serving | ScalerState::NotRequired);
        return if answered && neglect::is_neglected(live) {
            overwrite(live, neglect::stirred(desired), Why::Neglect)
        } else {
            Plan::Keep(Kept::InSync)
        };
    };
    let why = if ownership_only {
        Why::Ownership
    } else if only_credentials_differ(live, &desired, &fields, options) {
        Why::Credentials
    } else {
        Why::Fields(fields)
    };
    overwrite(live, desired, why)
}

fn only_credentials_differ(
    live: &ScaledObject,
    desired: &ScaledObject,
    fields: &BTreeSet<String>,
    options: &RenderOptions,
) -> bool {
    fields.len() == 1
        && desired::with_credential_epoch(live, options.credential_epoch)
            .is_some_and(|renewed| renewed.spec.triggers == desired.spec.triggers)
}

/// What is there stays, but for the credentials, which must not wait for the user.
fn last_good(live: Option<&ScaledObject>, options: &RenderOptions) -> Plan {
    let Some(live) = live else { return Plan::Reject };
    match desired::with_credential_epoch(live, options.credential_epoch) {
        Some(renewed) => overwrite(live, renewed, Why::Credentials),
        None => Plan::Keep(Kept::LastGood),
    }
}

fn overwrite(live: &ScaledObject, desired: ScaledObject, why: Why) -> Plan {
    Plan::Apply(Box::new(Apply {
        desired,
        why,
        live: Some(Live {
            resource_version: live.metadata.resource_version.clone().unwrap_or_default(),
            migration: take_over::migration(live),
        }),
    }))
}

fn previous(live: &ScaledObject) -> Previous {
    let max = live.spec.max_replica_count.unwrap_or(KEDA_MAX_REPLICAS);
    let basis = live
        .metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(names::MAX_BASIS));
    Previous {
        max: u32::try_from(max).unwrap_or(0),
        basis: basis.and_then(|text| text.parse::<Basis>().ok()),
    }
}

fn name_too_long(inference_set: &InferenceSet) -> Option<Complaint> {
    let name = inference_set.metadata.name.as_deref()?;
    (name.len() > MAX_NAME).then(|| Complaint::invalid("metadata.name", name, "at most 63 characters long"))
}

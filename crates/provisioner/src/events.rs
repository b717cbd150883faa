//! Every Event of the provisioner: the reasons, and what each says. All are about the InferenceSet.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ObjectReference;
use keda_kaito_core::crd::{InferenceSet, ScaledObject};
use keda_kaito_core::names;
use keda_kaito_core::plan::{RemovalReason, Wait};
use keda_kaito_core::policy::complaint::{Complaint, Reason};
use keda_kaito_runtime::events::{Notice, Severity};

pub const SCALED_OBJECT_APPLIED: &str = "ScaledObjectApplied";
pub const SCALED_OBJECT_DELETED: &str = "ScaledObjectDeleted";
pub const SCALED_OBJECT_REJECTED: &str = "ScaledObjectRejected";
pub const WAITING_FOR_NODE_COUNT: &str = "WaitingForNodeCount";

/// Complaints told one by one; the rest of the same reason are told together. Below the recorder's limit per reason.
const TOLD_ONE_BY_ONE: usize = 8;

/// Every reason, for the documentation to be checked against.
pub fn reasons() -> Vec<&'static str> {
    let mut reasons = vec![
        SCALED_OBJECT_APPLIED,
        SCALED_OBJECT_DELETED,
        SCALED_OBJECT_REJECTED,
        WAITING_FOR_NODE_COUNT,
    ];
    reasons.extend(Reason::ALL.map(Reason::as_str));
    reasons
}

/// One Warning per complaint; of one reason at most nine.
pub(crate) fn complaints(regarding: &ObjectReference, complaints: &[Complaint]) -> Vec<Notice> {
    let reasons: BTreeSet<Reason> = complaints.iter().map(|complaint| complaint.reason).collect();
    let mut notices = Vec::new();
    for reason in reasons {
        let mut notes: Vec<String> = complaints
            .iter()
            .filter(|complaint| complaint.reason == reason)
            .map(Complaint::to_string)
            .collect();
        let rest = notes.split_off(notes.len().min(TOLD_ONE_BY_ONE));
        if !rest.is_empty() {
            notes.push(rest.join("; "));
        }
        notices.extend(notes.into_iter().map(|note| Notice {
            severity: Severity::Warning,
            reason: reason.as_str(),
            action: "Validate",
            note,
            regarding: regarding.clone(),
        }));
    }
    notices
}

pub(crate) fn created(regarding: &ObjectReference, object: &ScaledObject) -> Notice {
    applied(regarding, format!("created ScaledObject {}: {}", name(object), range(object)))
}

pub(crate) fn changed(regarding: &ObjectReference, object: &ScaledObject, fields: &BTreeSet<String>) -> Notice {
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    let fields = fields.join(", ");
    applied(
        regarding,
        format!(
            "brought ScaledObject {} to its desired state ({}): {fields}",
            name(object),
            range(object)
        ),
    )
}

pub(crate) fn taken_over(regarding: &ObjectReference, object: &ScaledObject) -> Notice {
    applied(regarding, format!("took over the fields of ScaledObject {}", name(object)))
}

pub(crate) fn stirred(regarding: &ObjectReference, object: &ScaledObject) -> Notice {
    applied(
        regarding,
        format!(
            "asked KEDA to look at ScaledObject {} again: it has made no HPA of it, or one without its metric",
            name(object)
        ),
    )
}

pub(crate) fn deleted(regarding: &ObjectReference, name: &str, why: RemovalReason) -> Notice {
    let why = match why {
        RemovalReason::SwitchedOff => "provisioning is off",
        RemovalReason::Duplicate => "an older one serves this InferenceSet",
        RemovalReason::Predecessor => "it belongs to an earlier InferenceSet of this name",
    };
    Notice {
        severity: Severity::Normal,
        reason: SCALED_OBJECT_DELETED,
        action: "Delete",
        note: format!("deleted ScaledObject {name}: {why}"),
        regarding: regarding.clone(),
    }
}

pub(crate) fn rejected(regarding: &ObjectReference, problem: String) -> Notice {
    Notice {
        severity: Severity::Warning,
        reason: SCALED_OBJECT_REJECTED,
        action: "Apply",
        note: problem,
        regarding: regarding.clone(),
    }
}

/// What is waited for, if the user can do something about it.
pub(crate) fn waiting(regarding: &ObjectReference, wait: Wait) -> Option<Notice> {
    let note = match wait {
        Wait::NodeCount { at_zero: true } => format!(
            "waiting for the nodes of one replica: spec.replicas is 0, so no Workspace exists to tell. Set spec.replicas to 1 once, \
             or set {}",
            names::MAX_REPLICAS
        ),
        Wait::NodeCount { at_zero: false } => {
            "waiting for the nodes of one replica: no Workspace reports status.targetNodeCount yet".to_owned()
        }
        Wait::Scaler { .. } | Wait::Disappearance => return None,
    };
    Some(Notice {
        severity: Severity::Normal,
        reason: WAITING_FOR_NODE_COUNT,
        action: "Wait",
        note,
        regarding: regarding.clone(),
    })
}

/// The InferenceSet as Events refer to it.
pub(crate) fn regarding(inference_set: &InferenceSet, api_version: &str) -> ObjectReference {
    let metadata = &inference_set.metadata;
    ObjectReference {
        api_version: Some(api_version.to_owned()),
        kind: Some(names::INFERENCE_SET_KIND.to_owned()),
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        uid: metadata.uid.clone(),
        resource_version: metadata.resource_version.clone(),
        field_path: None,
    }
}

fn applied(regarding: &ObjectReference, note: String) -> Notice {
    Notice {
        severity: Severity::Normal,
        reason: SCALED_OBJECT_APPLIED,
        action: "Apply",
        note,
        regarding: regarding.clone(),
    }
}

fn name(object: &ScaledObject) -> &str {
    object.metadata.name.as_deref().unwrap_or_default()
}

fn range(object: &ScaledObject) -> String {
    let count = |count: Option<i32>| count.map_or_else(|| "?".to_owned(), |count| count.to_string());
    format!(
        "{} to {} replicas",
        count(object.spec.min_replica_count),
        count(object.spec.max_replica_count)
    )
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ObjectReference;
    use keda_kaito_core::policy::complaint::{Complaint, Reason};

    use super::{complaints, reasons};

    fn complaint(reason: Reason, subject: usize) -> Complaint {
        Complaint {
            reason,
            subject: subject.to_string(),
            value: None,
            problem: "is wrong".to_owned(),
        }
    }

    #[test]
    fn every_complaint_is_told_and_many_of_one_reason_are_told_together() {
        let mut given: Vec<Complaint> = (0..20).map(|n| complaint(Reason::InvalidAutoscalePolicy, n)).collect();
        given.push(complaint(Reason::NarrowBand, 20));
        let notices = complaints(&ObjectReference::default(), &given);
        assert_eq!(notices.len(), 10);
        assert_eq!(notices[8].note.matches("is wrong").count(), 12);
        assert_eq!(notices[9].reason, "NarrowBand");
    }

    #[test]
    fn reasons_are_upper_camel_case_and_listed_once() {
        let mut reasons = reasons();
        assert!(
            reasons
                .iter()
                .all(|reason| reason.chars().next().unwrap().is_uppercase() && !reason.contains('_'))
        );
        let count = reasons.len();
        reasons.sort_unstable();
        reasons.dedup();
        assert_eq!(reasons.len(), count);
    }
}

//! Whether somebody else keeps writing the replica count that an HPA writes: a GitOps tool that restores what is in Git,
//! or a controller that owns the InferenceSet. Judged by who wrote each change; it stops nobody.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use serde_json::json;

use crate::crd::InferenceSet;
use crate::moment::Moment;
use crate::policy::complaint::{Complaint, Reason};

/// Changes of the HPA undone by the same writer before it is called a fight: one is somebody's decision.
const UNDONE_OFTEN: u32 = 2;
/// Forgotten after this. A GitOps tool looks every few minutes; the HPA moves a count once in five or ten.
const MEMORY: Duration = Duration::from_secs(1800);
const SCALE: &str = "scale";

/// What has been seen of one InferenceSet's replica count. Losing it makes nothing wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contest {
    replicas: Option<u32>,
    /// Whether the HPA (or whoever uses the scale subresource) wrote the count that is there.
    by_scaling: bool,
    rival: Option<Rival>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rival {
    manager: String,
    times: u32,
    last: Moment,
}

impl Contest {
    /// Takes in a state of the InferenceSet, with the part of its `managedFields` that says who owns `spec.replicas`.
    pub fn observe(&mut self, inference_set: &InferenceSet, now: Moment) {
        let replicas = inference_set.spec_replicas();
        if self.replicas == Some(replicas) {
            return;
        }
        let known = self.replicas.replace(replicas).is_some();
        let writers = writers(inference_set);
        let undone = known && self.by_scaling;
        self.by_scaling = writers.iter().any(|writer| writer.scales);
        let Some(Writer { manager, .. }) = writers.into_iter().find(|writer| !writer.scales && undone) else {
            return;
        };
        let before = self.current(now).filter(|rival| rival.manager == manager);
        let times = before.map_or(0, |rival| rival.times) + 1;
        self.rival = Some(Rival {
            manager,
            times,
            last: now,
        });
    }

    /// The warning that is due, if there is a fight.
    pub fn complaint(&self, now: Moment) -> Option<Complaint> {
        let rival = self.current(now).filter(|rival| rival.times >= UNDONE_OFTEN)?;
        let problem = format!(
            "is written by field manager {:?} again and again after the HPA has changed it: the two undo each other. Take \
             replicas out of what it applies, or have it ignore that field",
            rival.manager
        );
        Some(Complaint::that(Reason::ReplicasContested, "spec.replicas", problem))
    }

    fn current(&self, now: Moment) -> Option<&Rival> {
        self.rival.as_ref().filter(|rival| now.since(rival.last) <= MEMORY)
    }
}

/// Reduces `managedFields` to who owns `spec.replicas`: the rest is larger than all else that is kept of an object.
pub fn slim(inference_set: &mut InferenceSet) {
    let Some(entries) = &mut inference_set.metadata.managed_fields else {
        return;
    };
    entries.retain(owns_replicas);
    for entry in entries.iter_mut() {
        entry.fields_v1 = Some(FieldsV1(json!({ "f:spec": { "f:replicas": {} } })));
        entry.api_version = None;
        entry.time = None;
    }
    entries.shrink_to_fit();
}

fn owns_replicas(entry: &ManagedFieldsEntry) -> bool {
    let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
    fields.and_then(|fields| fields.pointer("/f:spec/f:replicas")).is_some()
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Writer {
    scales: bool,
    manager: String,
}

fn writers(inference_set: &InferenceSet) -> BTreeSet<Writer> {
    let entries = inference_set.metadata.managed_fields.iter().flatten();
    let owning = entries.filter(|entry| owns_replicas(entry));
    let writer = |entry: &ManagedFieldsEntry| Writer {
        scales: entry.subresource.as_deref() == Some(SCALE),
        manager: entry.manager.clone().unwrap_or_default(),
    };
    owning.map(writer).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Contest;
    use crate::crd::InferenceSet;
    use crate::moment::Moment;

    const HPA: (&str, &str) = ("kube-controller-manager", "scale");
    const ARGO: (&str, &str) = ("argocd-controller", "");

    fn set(replicas: u32, (manager, subresource): (&str, &str)) -> InferenceSet {
        let entry = |manager: &str, subresource: &str, fields| json!({ "manager": manager, "operation": "Update", "subresource": subresource, "fieldsV1": fields });
        serde_json::from_value(json!({
            "metadata": { "name": "phi", "managedFields": [
                entry(manager, subresource, json!({ "f:spec": { "f:replicas": {} } })),
                entry("kaito", "status", json!({ "f:status": { "f:replicas": {} } })),
            ] },
            "spec": { "replicas": replicas },
        }))
        .unwrap()
    }

    /// One change a minute.
    fn contest(changes: &[(u32, (&str, &str))]) -> Contest {
        let mut contest = Contest::default();
        for (minute, (replicas, writer)) in changes.iter().enumerate() {
            contest.observe(
                &set(*replicas, *writer),
                Moment::from_secs(60 * i64::try_from(minute).unwrap()),
            );
        }
        contest
    }

    fn said(contest: &Contest) -> Option<String> {
        contest
            .complaint(Moment::from_secs(600))
            .map(|complaint| complaint.to_string())
    }

    #[test]
    fn writer_who_undoes_the_hpa_twice_is_named() {
        let fight = contest(&[(1, ARGO), (2, HPA), (1, ARGO), (2, HPA), (1, ARGO)]);
        let said = said(&fight).unwrap();
        assert!(
            said.contains("\"argocd-controller\"") && said.starts_with("spec.replicas: "),
            "{said}"
        );
        assert!(fight.complaint(Moment::from_secs(4 * 60 + 1801)).is_none());
    }

    #[test]
    fn one_decision_of_somebody_is_no_fight() {
        for quiet in [
            &[(1, ARGO), (2, HPA), (3, HPA), (2, HPA), (1, HPA)][..],
            &[(1, ARGO), (2, HPA), (1, ARGO), (2, HPA), (3, HPA)],
            &[(1, ARGO), (2, HPA), (1, ARGO), (2, HPA), (1, ("kubectl-edit", ""))],
            &[(1, ARGO), (2, ARGO), (3, ARGO), (4, ARGO)],
            // Seen for the first time with the HPA's count: nothing was undone before our eyes.
            &[(2, HPA), (1, ARGO)],
        ] {
            assert_eq!(said(&contest(quiet)), None, "{quiet:?}");
        }
    }

    #[test]
    fn what_is_kept_of_an_object_tells_the_same() {
        let mut slimmed = set(2, ARGO);
        super::slim(&mut slimmed);
        assert_eq!(slimmed.metadata.managed_fields.as_ref().unwrap().len(), 1);
        let observe = |object: &InferenceSet| {
            let mut contest = Contest::default();
            contest.observe(object, Moment::from_secs(0));
            contest
        };
        assert_eq!(observe(&slimmed), observe(&set(2, ARGO)));
        assert!(super::writers(&slimmed) == super::writers(&set(2, ARGO)));
    }

    #[test]
    fn old_quarrels_are_forgotten() {
        let mut contest = contest(&[(1, ARGO), (2, HPA), (1, ARGO)]);
        let later = Moment::from_secs(2 * 60 + 1801);
        contest.observe(&set(2, HPA), later);
        contest.observe(&set(1, ARGO), later);
        assert!(contest.complaint(later).is_none());
    }
}

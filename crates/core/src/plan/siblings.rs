//! The ScaledObjects that concern one InferenceSet, sorted into the one to keep, those to remove and those not ours.
//! It judges by name, target, owner and annotation; it never looks at triggers.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::crd::{InferenceSet, ScaledObject};
use crate::names;
use crate::policy::complaint::{Complaint, Reason};

/// A managed ScaledObject that has to go, as it was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    pub why: RemovalReason,
}

/// Why a managed ScaledObject goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovalReason {
    /// `auto-provision` is absent or false.
    SwitchedOff,
    /// An older managed ScaledObject serves the same InferenceSet.
    Duplicate,
    /// It belongs to an InferenceSet of the same name that no longer exists.
    Predecessor,
}

pub(super) struct Siblings<'a> {
    /// Managed, belonging to this very InferenceSet or to nobody; the one to keep first.
    managed: Vec<&'a ScaledObject>,
    predecessors: Vec<&'a ScaledObject>,
    foreign: Vec<&'a ScaledObject>,
    name_is_taken: bool,
}

impl<'a> Siblings<'a> {
    pub(super) fn sort(inference_set: &InferenceSet, scaled_objects: &[&'a ScaledObject]) -> Self {
        let name = inference_set.metadata.name.as_deref().unwrap_or_default();
        let uid = inference_set.metadata.uid.as_deref().unwrap_or_default();
        let mut siblings = Self {
            managed: Vec::new(),
            predecessors: Vec::new(),
            foreign: Vec::new(),
            name_is_taken: false,
        };
        for object in scaled_objects.iter().copied() {
            let same_name = object.metadata.name.as_deref() == Some(name);
            let owner = controller(object);
            let owned = owner.is_some_and(|owner| owner.uid == uid);
            if !(same_name || owned || targets(object, name)) {
                continue;
            }
            siblings.name_is_taken |= same_name;
            if object.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let of_a_namesake = owner.is_some_and(|owner| owner.kind == names::INFERENCE_SET_KIND && owner.name == name);
            match owner {
                _ if !is_managed(object) => siblings.foreign.push(object),
                Some(_) if owned => siblings.managed.push(object),
                None => siblings.managed.push(object),
                Some(_) if of_a_namesake => siblings.predecessors.push(object),
                // Another controller's: its own reconciliation puts its target right.
                Some(_) if !same_name => {}
                Some(_) => siblings.foreign.push(object),
            }
        }
        siblings.managed.sort_by_key(|object| {
            let metadata = &object.metadata;
            let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
            (created, metadata.name.as_deref() != Some(name), metadata.name.clone())
        });
        siblings
    }

    pub(super) fn kept(&self) -> Option<&'a ScaledObject> {
        self.managed.first().copied()
    }

    /// Whether an object of the InferenceSet's name exists, be it on its way out.
    pub(super) fn name_is_taken(&self) -> bool {
        self.name_is_taken
    }

    pub(super) fn all_managed(&self) -> Vec<Removal> {
        let mut removals = self.gone();
        removals.extend(self.managed.iter().map(|object| removal(object, RemovalReason::SwitchedOff)));
        removals
    }

    pub(super) fn surplus(&self) -> Vec<Removal> {
        let mut removals = self.gone();
        let younger = self.managed.iter().skip(1);
        removals.extend(younger.map(|object| removal(object, RemovalReason::Duplicate)));
        removals
    }

    fn gone(&self) -> Vec<Removal> {
        let gone = self.predecessors.iter();
        gone.map(|object| removal(object, RemovalReason::Predecessor)).collect()
    }

    pub(super) fn conflicts(&self) -> Vec<Complaint> {
        let outcome = if self.managed.is_empty() {
            "nothing is provisioned"
        } else {
            "two autoscalers act on this InferenceSet"
        };
        let conflict = |object: &&ScaledObject| {
            let name = object.metadata.name.as_deref().unwrap_or_default();
            Complaint::that(
                Reason::ScaledObjectConflict,
                format!("ScaledObject {name:?}"),
                format!(
                    "concerns this InferenceSet and is not ours; it is left alone and {outcome}. Delete it, or hand it over \
                     with the annotation {}: {}",
                    names::MANAGED_BY,
                    names::MANAGED_BY_VALUE
                ),
            )
        };
        self.foreign.iter().map(conflict).collect()
    }
}

fn is_managed(object: &ScaledObject) -> bool {
    let annotations = object.metadata.annotations.as_ref();
    annotations
        .and_then(|annotations| annotations.get(names::MANAGED_BY))
        .map(String::as_str)
        == Some(names::MANAGED_BY_VALUE)
}

fn controller(object: &ScaledObject) -> Option<&OwnerReference> {
    let owners = object.metadata.owner_references.iter().flatten();
    owners.into_iter().find(|owner| owner.controller == Some(true))
}

/// Whether it scales the InferenceSet of this name, under whichever version.
fn targets(object: &ScaledObject, name: &str) -> bool {
    let target = &object.spec.scale_target_ref;
    let group = target.api_version.as_deref().and_then(|version| version.split('/').next());
    target.name == name && target.kind.as_deref() == Some(names::INFERENCE_SET_KIND) && group == Some(names::KAITO_GROUP)
}

fn removal(object: &ScaledObject, why: RemovalReason) -> Removal {
    Removal {
        name: object.metadata.name.clone().unwrap_or_default(),
        uid: object.metadata.uid.clone().unwrap_or_default(),
        resource_version: object.metadata.resource_version.clone().unwrap_or_default(),
        why,
    }
}

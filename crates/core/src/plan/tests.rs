//! Judgements over what one InferenceSet and its surroundings may look like.

mod build;

use std::time::Duration;

use build::{BASIS, InferenceSetBuilder, options, scaled_object};

use super::{Kept, Plan, RemovalReason, SCALER_PATIENCE, ScalerState, Verdict, Wait, Why};
use crate::crd::ScaledObject;
use crate::policy::complaint::Reason;

fn inference_set() -> InferenceSetBuilder {
    InferenceSetBuilder::new()
}

fn reasons(verdict: &Verdict) -> Vec<Reason> {
    verdict.complaints.iter().map(|complaint| complaint.reason).collect()
}

fn removed(verdict: &Verdict) -> Vec<(&str, RemovalReason)> {
    verdict
        .removals
        .iter()
        .map(|removal| (removal.name.as_str(), removal.why))
        .collect()
}

fn why(verdict: &Verdict) -> &Why {
    let Plan::Apply(apply) = &verdict.plan else {
        panic!("{verdict:?}")
    };
    &apply.why
}

/// The ScaledObject of the documented example, as the API server has it after our apply.
fn applied() -> ScaledObject {
    let verdict = inference_set().judge(&[]);
    let Plan::Apply(apply) = verdict.plan else {
        panic!("{verdict:?}")
    };
    build::as_stored(apply.desired)
}

#[test]
fn annotated_inference_set_gets_a_scaled_object() {
    let verdict = inference_set().judge(&[]);
    let Plan::Apply(apply) = &verdict.plan else {
        panic!("{verdict:?}")
    };
    assert_eq!((&apply.why, &apply.live), (&Why::Create, &None));
    assert_eq!(apply.desired.metadata.name.as_deref(), Some("phi-4"));
    assert_eq!((verdict.removals, verdict.complaints), (vec![], vec![]));
}

#[test]
fn nothing_is_written_at_rest() {
    let live = applied();
    let verdict = inference_set().judge(&[&live]);
    assert_eq!(verdict.plan, Plan::Keep(Kept::InSync));
    assert_eq!((verdict.removals, verdict.complaints), (vec![], vec![]));
}

#[test]
fn what_others_add_is_no_drift() {
    let mut live = applied();
    live.metadata.labels = Some([("scaledobject.keda.sh/name".to_owned(), "phi-4".to_owned())].into());
    live.metadata.finalizers = Some(vec!["finalizer.keda.sh".to_owned()]);
    let annotations = live.metadata.annotations.as_mut().unwrap();
    annotations.insert("autoscaling.keda.sh/paused".to_owned(), "true".to_owned());
    live.spec.advanced.as_mut().unwrap().scaling_modifiers = Some(Default::default());
    assert_eq!(inference_set().judge(&[&live]).plan, Plan::Keep(Kept::InSync));
}

#[test]
fn drift_in_any_field_of_ours_is_repaired_over_the_version_that_was_judged() {
    type Edit = fn(&mut ScaledObject);
    let edits: [(&str, Edit); 9] = [
        ("spec.maxReplicaCount", |live| live.spec.max_replica_count = Some(100)),
        ("spec.minReplicaCount", |live| live.spec.min_replica_count = None),
        ("spec.pollingInterval", |live| live.spec.polling_interval = Some(30)),
        ("spec.scaleTargetRef.name", |live| {
            live.spec.scale_target_ref.name = "other".to_owned();
        }),
        ("spec.scaleTargetRef.apiVersion", |live| {
            live.spec.scale_target_ref.api_version = Some("kaito.sh/v1alpha1".to_owned());
        }),
        ("spec.triggers", |live| live.spec.triggers.clear()),
        ("metadata.annotations.keda-kaito-scaler.kaito.sh/max-replicas-from", |live| {
            live.metadata
                .annotations
                .as_mut()
                .unwrap()
                .insert(BASIS.to_owned(), "max-replicas".to_owned());
        }),
        (
            "spec.advanced.horizontalPodAutoscalerConfig.behavior.scaleUp.policies",
            |live| {
                let config = live
                    .spec
                    .advanced
                    .as_mut()
                    .unwrap()
                    .horizontal_pod_autoscaler_config
                    .as_mut()
                    .unwrap();
                config.behavior.as_mut().unwrap().scale_up.as_mut().unwrap().policies[0].value = 4;
            },
        ),
        ("metadata.ownerReferences", |live| live.metadata.owner_references = None),
    ];
    for (field, edit) in edits {
        let mut live = applied();
        edit(&mut live);
        let verdict = inference_set().judge(&[&live]);
        assert_eq!(why(&verdict), &Why::Fields([field.to_owned()].into()), "{field}");
        let Plan::Apply(apply) = verdict.plan else { panic!("{field}") };
        assert_eq!(apply.live.unwrap().resource_version, "7", "{field}");
    }
}

#[test]
fn fields_that_only_we_own_and_no_longer_want_are_removed() {
    let mut live = applied();
    build::own(&mut live, "f:cooldownPeriod");
    assert_eq!(
        why(&inference_set().judge(&[&live])),
        &Why::Fields(["spec.cooldownPeriod".to_owned()].into())
    );
}

#[test]
fn right_values_under_another_manager_are_taken_into_our_hands() {
    let mut live = applied();
    live.metadata.managed_fields.as_mut().unwrap()[0].operation = Some("Update".to_owned());
    let verdict = inference_set().judge(&[&live]);
    assert_eq!(why(&verdict), &Why::Ownership);
    let Plan::Apply(apply) = verdict.plan else { panic!() };
    assert!(apply.live.unwrap().migration.is_some());
    live.metadata.managed_fields = None;
    assert_eq!(why(&inference_set().judge(&[&live])), &Why::Ownership);
}

#[test]
fn objects_of_the_reference_are_taken_over_in_place() {
    for (live, name) in build::reference() {
        let verdict = inference_set().named(&name).reference_of(&live).judge(&[&live]);
        let Plan::Apply(apply) = verdict.plan else {
            panic!("{name}: {verdict:?}")
        };
        assert!(
            matches!(&apply.why, Why::Fields(fields) if fields.contains("spec.triggers")),
            "{name}: {:?}",
            apply.why
        );
        assert!(apply.live.unwrap().migration.is_some());
        assert_eq!(apply.desired.spec.triggers.len(), 1);
        assert_eq!(verdict.removals, []);
    }
}

#[test]
fn switched_off_removes_what_is_ours_and_nothing_else() {
    let live = applied();
    for value in [None, Some("false")] {
        let verdict = inference_set().annotated("auto-provision", value).judge(&[&live]);
        assert_eq!(verdict.plan, Plan::Delete);
        assert_eq!(removed(&verdict), [("phi-4", RemovalReason::SwitchedOff)]);
        assert_eq!(verdict.removals[0].resource_version, "7");
        let foreign = scaled_object("phi-4").unmanaged();
        let verdict = inference_set().annotated("auto-provision", value).judge(&[&foreign]);
        assert_eq!((removed(&verdict), reasons(&verdict)), (vec![], vec![]));
    }
}

#[test]
fn malformed_switch_changes_nothing() {
    let (live, twin) = (applied(), scaled_object("twin").young());
    let verdict = inference_set()
        .annotated("auto-provision", Some("maybe"))
        .judge(&[&live, &twin]);
    assert_eq!(verdict.plan, Plan::Keep(Kept::LastGood));
    assert_eq!(reasons(&verdict), [Reason::InvalidAutoscalePolicy]);
    assert_eq!(verdict.removals, []);
}

#[test]
fn last_good_stays_while_the_policy_is_invalid() {
    let live = applied();
    for (key, value, reason) in [
        ("threshold", Some("ten"), Reason::InvalidAutoscalePolicy),
        ("threshold", None, Reason::InvalidAutoscalePolicy),
        ("max-replicas", Some("1"), Reason::InvalidAutoscalePolicy),
        ("min-replicas", Some("9"), Reason::InvalidReplicaRange),
    ] {
        let verdict = inference_set().annotated(key, value).judge(&[&live]);
        assert_eq!(verdict.plan, Plan::Keep(Kept::LastGood), "{key}");
        assert_eq!(reasons(&verdict), [reason], "{key}");
        let verdict = inference_set().annotated(key, value).judge(&[]);
        assert_eq!(verdict.plan, Plan::Reject, "{key}");
        assert_eq!(reasons(&verdict), [reason], "{key}");
    }
    let verdict = inference_set().nodes(&[9]).judge(&[&live]);
    assert_eq!(verdict.plan, Plan::Keep(Kept::LastGood));
    assert_eq!(reasons(&verdict), [Reason::NodeCountLimitTooSmall]);
}

#[test]
fn new_credentials_reach_every_managed_object_whatever_its_policy() {
    let live = applied();
    let mut renewed = options();
    renewed.credential_epoch = Some(4);
    for (name, inference_set) in [
        ("valid", inference_set()),
        ("invalid", inference_set().annotated("threshold", Some("ten"))),
        ("malformed", inference_set().annotated("auto-provision", Some("maybe"))),
        ("nodes unknown", inference_set().nodes(&[])),
    ] {
        let verdict = inference_set.judge_with(&[&live], ScalerState::Serving, &renewed);
        assert_eq!(why(&verdict), &Why::Credentials, "{name}");
        let Plan::Apply(apply) = verdict.plan else { panic!() };
        let mut expected = live.spec.clone();
        expected.triggers[0]
            .metadata
            .insert("credentialEpoch".to_owned(), "4".to_owned());
        assert_eq!(apply.desired.spec, expected, "{name}");
    }
}

#[test]
fn unknown_credentials_take_nothing_away() {
    let mut unknown = options();
    unknown.credential_epoch = None;
    let verdict = inference_set().judge_with(&[&applied()], ScalerState::Serving, &unknown);
    assert_eq!(verdict.plan, Plan::Keep(Kept::InSync));
}

#[test]
fn creation_waits_for_a_serving_scaler_and_not_for_ever() {
    for (waited, left) in [(0, 120), (119, 1)] {
        let scaler = ScalerState::Absent {
            waited: Duration::from_secs(waited),
        };
        let verdict = inference_set().judge_with(&[], scaler, &options());
        let left = Duration::from_secs(left);
        assert_eq!(verdict.plan, Plan::Wait(Wait::Scaler { left }));
    }
    let verdict = inference_set().judge_with(&[], ScalerState::Absent { waited: SCALER_PATIENCE }, &options());
    assert_eq!(why(&verdict), &Why::Create);
    assert_eq!(reasons(&verdict), [Reason::ScalerNotServing]);
    let verdict = inference_set().judge_with(&[], ScalerState::NotRequired, &options());
    assert_eq!((why(&verdict), reasons(&verdict)), (&Why::Create, vec![]));
}

#[test]
fn repairs_do_not_wait_for_the_scaler() {
    let mut live = applied();
    live.spec.max_replica_count = Some(100);
    let scaler = ScalerState::Absent { waited: Duration::ZERO };
    assert!(matches!(
        why(&inference_set().judge_with(&[&live], scaler, &options())),
        Why::Fields(_)
    ));
}

#[test]
fn nodes_are_waited_for_and_at_zero_replicas_it_is_said() {
    let verdict = inference_set().nodes(&[]).judge(&[]);
    assert_eq!(verdict.plan, Plan::Wait(Wait::NodeCount { at_zero: false }));
    let verdict = inference_set().nodes(&[]).replicas(0).judge(&[]);
    assert_eq!(verdict.plan, Plan::Wait(Wait::NodeCount { at_zero: true }));
    assert_eq!(
        inference_set().nodes(&[]).judge(&[&applied()]).plan,
        Plan::Keep(Kept::LastGood)
    );
}

#[test]
fn objects_of_others_are_reported_and_block_creation() {
    for foreign in [
        scaled_object("phi-4").unmanaged(),
        scaled_object("mine").unmanaged(),
        scaled_object("mine").unmanaged().targeting("kaito.sh/v1alpha1", "phi-4"),
        scaled_object("phi-4").unmanaged().targeting("apps/v1", "elsewhere"),
    ] {
        let verdict = inference_set().judge(&[&foreign]);
        assert_eq!(verdict.plan, Plan::Reject);
        assert_eq!(reasons(&verdict), [Reason::ScaledObjectConflict]);
        assert_eq!(verdict.removals, []);
    }
    let elsewhere = scaled_object("mine").unmanaged().targeting("kaito.sh/v1beta1", "other");
    assert_eq!(why(&inference_set().judge(&[&elsewhere])), &Why::Create);
}

#[test]
fn ours_is_kept_beside_anothers_and_the_conflict_is_reported() {
    let (live, foreign) = (applied(), scaled_object("mine").unmanaged());
    let verdict = inference_set().judge(&[&live, &foreign]);
    assert_eq!(verdict.plan, Plan::Keep(Kept::InSync));
    assert_eq!(reasons(&verdict), [Reason::ScaledObjectConflict]);
}

#[test]
fn oldest_of_several_managed_ones_stays() {
    let old = scaled_object("older").old();
    let (live, young) = (applied(), scaled_object("younger").young());
    let verdict = inference_set().judge(&[&young, &live, &old]);
    let Plan::Apply(apply) = &verdict.plan else {
        panic!("{verdict:?}")
    };
    assert_eq!(apply.desired.metadata.name.as_deref(), Some("older"));
    assert_eq!(
        removed(&verdict),
        [("phi-4", RemovalReason::Duplicate), ("younger", RemovalReason::Duplicate)]
    );
}

#[test]
fn recreated_inference_set_gets_a_new_scaled_object() {
    let predecessors = scaled_object("phi-4").owned_by("InferenceSet", "phi-4", "u0");
    let verdict = inference_set().judge(&[&predecessors]);
    assert_eq!(verdict.plan, Plan::Wait(Wait::Disappearance));
    assert_eq!(removed(&verdict), [("phi-4", RemovalReason::Predecessor)]);
    let verdict = inference_set().judge(&[&scaled_object("phi-4").deleting()]);
    assert_eq!((&verdict.plan, removed(&verdict)), (&Plan::Wait(Wait::Disappearance), vec![]));
}

#[test]
fn objects_of_other_owners_are_never_removed() {
    let others = scaled_object("other").owned_by("InferenceSet", "other", "u9");
    let verdict = inference_set().judge(&[&others]);
    assert_eq!((why(&verdict), removed(&verdict)), (&Why::Create, vec![]));
    let framework = scaled_object("phi-4").owned_by("Application", "phi-4", "u9");
    let verdict = inference_set().judge(&[&framework]);
    assert_eq!(
        (&verdict.plan, reasons(&verdict)),
        (&Plan::Reject, vec![Reason::ScaledObjectConflict])
    );
    assert_eq!(removed(&verdict), []);
}

#[test]
fn ownerless_managed_object_is_adopted() {
    let verdict = inference_set().judge(&[&scaled_object("phi-4")]);
    let Plan::Apply(apply) = verdict.plan else {
        panic!("{verdict:?}")
    };
    assert_eq!(apply.desired.metadata.owner_references.unwrap()[0].uid, "u1");
}

#[test]
fn inference_set_on_its_way_out_is_left_alone() {
    let foreign = scaled_object("phi-4").unmanaged();
    let verdict = inference_set()
        .annotated("threshold", None)
        .deleting()
        .judge(&[&applied(), &foreign]);
    assert_eq!(verdict.plan, Plan::Keep(Kept::Deleting));
    assert_eq!((verdict.removals, verdict.complaints), (vec![], vec![]));
}

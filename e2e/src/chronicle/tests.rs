//! Histories that violate an invariant, each beside one that differs as little as possible and does not.

use serde_json::{Value, json};

use super::history::{History, Seen};
use super::invariants::{Figures, check};
use super::*;

const END: u64 = 300;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn see(history: &mut History, seconds: u64, kind: &'static str, name: &str, object: Option<Value>) {
    history.seen.push(Seen {
        at: at(seconds),
        kind,
        namespace: "default".to_owned(),
        name: name.to_owned(),
        object,
        old: false,
    });
}

fn set(history: &mut History, seconds: u64, enabled: &str, maximum: &str, replicas: i64) {
    let annotations = json!({
        "scaledobject.kaito.sh/auto-provision": enabled, "scaledobject.kaito.sh/max-replicas": maximum,
    });
    let object = json!({"metadata": {"uid": "set", "annotations": annotations}, "spec": {"replicas": replicas}});
    see(history, seconds, "InferenceSet", "phi", Some(object));
}

fn scaled_object(history: &mut History, seconds: u64, name: &str, owner: &str, maximum: i64) {
    let object = json!({
        "metadata": {
            "uid": name, "generation": maximum,
            "annotations": {"scaledobject.kaito.sh/managed-by": "keda-kaito-scaler"},
            "ownerReferences": [{"kind": "InferenceSet", "uid": owner}],
        },
        "spec": {"maxReplicaCount": maximum},
    });
    see(history, seconds, "ScaledObject", name, Some(object));
}

/// An InferenceSet that was provisioned as it should be.
fn calm() -> History {
    let mut history = History::default();
    set(&mut history, 1, "true", "3", 1);
    scaled_object(&mut history, 2, "phi", "set", 3);
    history
}

#[track_caller]
fn violated(history: &History, invariants: &[&str]) -> Figures {
    let (violations, figures) = check(history, at(END));
    let found: Vec<&str> = violations.iter().map(|violation| violation.invariant).collect();
    assert_eq!(found, invariants, "{violations:#?}");
    figures
}

#[test]
fn a_calm_history_violates_nothing() {
    let figures = violated(&calm(), &[]);
    assert_eq!((figures.states, figures.edits.as_slice()), (2, [at(1)].as_slice()));
}

#[test]
fn n1_a_count_goes_down_only_as_the_load_asks() {
    for (wants, violations) in [
        (vec![], vec!["N1"]),
        (vec![(0, 3)], vec!["N1"]),
        (vec![(0, 2)], vec![]),
        (vec![(0, 3), (90, 1)], vec![]),
        // It asked until a moment ago, or long ago.
        (vec![(0, 1), (80, 3)], vec![]),
        (vec![(0, 1), (20, 3)], vec!["N1"]),
        (vec![(120, 1)], vec!["N1"]),
    ] {
        let mut history = calm();
        set(&mut history, 50, "true", "3", 3);
        set(&mut history, 100, "true", "3", 2);
        for (seconds, replicas) in &wants {
            history.wants(at(*seconds), "default", "phi", *replicas);
        }
        violated(&history, &violations);
    }
}

#[test]
fn n1_an_hpa_that_is_made_anew_has_not_gone_down() {
    let hpa = |desired: i64| Some(json!({"status": {"desiredReplicas": desired}}));
    for (between, violations) in [(hpa(0), vec![]), (None, vec![]), (hpa(3), vec!["N1"])] {
        let mut history = calm();
        see(&mut history, 10, "HorizontalPodAutoscaler", "keda-hpa-phi", hpa(3));
        see(&mut history, 20, "HorizontalPodAutoscaler", "keda-hpa-phi", between);
        see(&mut history, 30, "HorizontalPodAutoscaler", "keda-hpa-phi", hpa(1));
        violated(&history, &violations);
    }
}

#[test]
fn n4_nothing_is_missing_left_over_or_double_for_long() {
    let mut missing = History::default();
    set(&mut missing, 1, "true", "x", 1);
    violated(&missing, &["N4"]);

    for (ends, violations) in [(Some(40), vec![]), (Some(90), vec!["N4"]), (None, vec!["N4"])] {
        let mut double = calm();
        scaled_object(&mut double, 20, "phi-2", "set", 3);
        if let Some(ends) = ends {
            see(&mut double, ends, "ScaledObject", "phi-2", None);
        }
        violated(&double, &violations);
        let mut orphan = calm();
        scaled_object(&mut orphan, 20, "other", "nobody", 3);
        if let Some(ends) = ends {
            see(&mut orphan, ends, "ScaledObject", "other", None);
        }
        violated(&orphan, &violations);
        let mut disabled = calm();
        set(&mut disabled, 20, "false", "3", 1);
        if let Some(ends) = ends {
            see(&mut disabled, ends, "ScaledObject", "phi", None);
        }
        violated(&disabled, &violations);
    }
}

#[test]
fn n5_an_edit_arrives_soon_and_in_trouble_soon_after() {
    for (trouble, arrives, violations) in [
        (None, 102, vec![]),
        (None, 115, vec!["N5"]),
        (Some((90, Some(130))), 185, vec![]),
        (Some((90, Some(130))), 195, vec!["N5"]),
        (Some((90, None)), 250, vec![]),
        // Long over when the edit was made, so that it is no excuse.
        (Some((10, Some(30))), 115, vec!["N5"]),
    ] {
        let mut history = calm();
        set(&mut history, 100, "true", "7", 1);
        scaled_object(&mut history, arrives, "phi", "set", 7);
        if let Some((from, to)) = trouble {
            history.troubles.push((at(from), to.map(at)));
        }
        violated(&history, &violations);
    }
    let mut lost = calm();
    set(&mut lost, 100, "true", "7", 1);
    violated(&lost, &["N5"]);
    // Overtaken by another before it was due.
    set(&mut lost, 120, "true", "3", 1);
    violated(&lost, &[]);
}

#[test]
fn n6_what_is_not_ours_is_left_alone() {
    let theirs = |manager: &str, maximum: i64| {
        Some(json!({
            "metadata": {"uid": "a", "managedFields": [{"manager": manager}]}, "spec": {"maxReplicaCount": maximum},
        }))
    };
    for (after, violations) in [
        (theirs("keda", 3), vec![]),
        (theirs("keda-kaito-provisioner", 3), vec!["N6"]),
        (theirs("kubectl", 4), vec!["N6"]),
        (None, vec!["N6"]),
    ] {
        let mut history = calm();
        see(&mut history, 10, "ScaledObject", "theirs", theirs("kubectl", 3));
        see(&mut history, 20, "ScaledObject", "theirs", after);
        violated(&history, &violations);
        history.forgive("ScaledObject", "default", "theirs");
        violated(&history, &[]);
    }
    let secret = |data: &str| Some(json!({"metadata": {"uid": "a"}, "data": {"key": data}}));
    let mut history = calm();
    see(&mut history, 10, "Secret", "theirs", secret("a"));
    assert_eq!(violated(&history, &[]).strangers, 1);
    see(&mut history, 20, "Secret", "theirs", secret("b"));
    violated(&history, &["N6"]);
}

#[test]
fn n11_nothing_of_ours_moves_at_rest() {
    let version = |version: &str| Some(json!({"metadata": {"resourceVersion": version}}));
    let event = |component: &str| Some(json!({"reportingComponent": component, "metadata": {"resourceVersion": "5"}}));
    for (kind, name, state, violations) in [
        ("Secret", "keda-kaito-scaler-ca", version("2"), vec!["N11"]),
        ("Secret", "keda-kaito-scaler-ca", version("1"), vec![]),
        ("Lease", "keda-kaito-scaler-certmgr", version("2"), vec![]),
        ("Event", "phi.1", event("keda-kaito-provisioner"), vec!["N11"]),
        ("Event", "phi.1", event("keda-operator"), vec![]),
    ] {
        let mut history = calm();
        if kind != "Event" {
            see(&mut history, 10, kind, name, version("1"));
        }
        see(&mut history, 100, kind, name, state.clone());
        history.rests.push((at(90), at(110)));
        violated(&history, &violations);
        history.rests = vec![(at(110), at(120))];
        violated(&history, &[]);
    }
    let mut history = calm();
    scaled_object(&mut history, 95, "phi", "set", 4);
    scaled_object(&mut history, 96, "phi", "set", 3);
    history.rests.push((at(90), at(110)));
    violated(&history, &["N11", "N11"]);
}

#[test]
fn n12_only_the_holder_of_the_lease_writes_credentials() {
    let lease = |holder: &str| Some(json!({"spec": {"holderIdentity": holder}}));
    for (seconds, author, violations) in [
        (20, "a", vec![]),
        (20, "b", vec!["N12"]),
        (52, "a", vec![]),
        (70, "a", vec!["N12"]),
        (70, "b", vec![]),
    ] {
        let mut history = calm();
        see(&mut history, 5, "Lease", "keda-kaito-scaler-certmgr", lease("a_01"));
        see(&mut history, 50, "Lease", "keda-kaito-scaler-certmgr", lease("b_02"));
        let event = json!({
            "reportingComponent": "keda-kaito-certmgr", "reportingInstance": author,
            "involvedObject": {"name": "keda-kaito-scaler-ca"},
        });
        see(&mut history, seconds, "Event", "ca.1", Some(event));
        let figures = violated(&history, &violations);
        assert_eq!(figures.leaders_writes, 1);
    }
}

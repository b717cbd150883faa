//! What users write, in both dialects, and every way of getting it wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Reading, Request, Switch, read};
use crate::policy::complaint::Reason;
use crate::policy::{Combine, Rule, SimpleRule};

const GAUGE: &str = "[{name: waiting, type: gauge, upthreshold: 10, downthreshold: 1}]";

fn annotated(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let key = |key: &str| format!("scaledobject.kaito.sh/{key}");
    pairs.iter().map(|(name, value)| (key(name), (*value).to_owned())).collect()
}

fn reading(pairs: &[(&str, &str)]) -> Reading {
    read(&annotated(pairs))
}

fn accepted(pairs: &[(&str, &str)]) -> Request {
    let reading = reading(&[&[("auto-provision", "true")], pairs].concat());
    assert_eq!(reading.complaints, [], "{pairs:?}");
    reading.request.unwrap()
}

fn complaints(pairs: &[(&str, &str)]) -> Vec<(Reason, String)> {
    let reading = reading(&[&[("auto-provision", "true")], pairs].concat());
    let said = |complaint: &crate::policy::complaint::Complaint| (complaint.reason, complaint.to_string());
    reading.complaints.iter().map(said).collect()
}

#[test]
fn auto_provision_is_a_switch_in_any_letter_case() {
    for (value, switch) in [
        ("true", Switch::On),
        ("True", Switch::On),
        ("TRUE", Switch::On),
        ("false", Switch::Off),
        ("False", Switch::Off),
        ("", Switch::Malformed),
        ("yes", Switch::Malformed),
        ("true ", Switch::Malformed),
        ("1", Switch::Malformed),
    ] {
        let reading = reading(&[("auto-provision", value), ("threshold", "10")]);
        assert_eq!(reading.switch, switch, "{value:?}");
        assert_eq!(reading.request.is_some(), switch == Switch::On, "{value:?}");
        assert_eq!(
            reading.complaints.is_empty(),
            switch != Switch::Malformed,
            "{value:?}: {:?}",
            reading.complaints
        );
    }
    assert_eq!(reading(&[("threshold", "ten")]).switch, Switch::Off);
}

#[test]
fn simple_dialect_has_a_default_metric_and_bounds() {
    let request = accepted(&[("threshold", "10")]);
    assert_eq!(
        request,
        Request {
            rule: Rule::Simple(SimpleRule {
                metric_name: "vllm:num_requests_waiting".to_owned(),
                threshold: 10.0
            }),
            min_replicas: 1,
            max_replicas: None,
        }
    );
    let request = accepted(&[
        ("threshold", "0.5"),
        ("metricName", "vllm:num_requests_running"),
        ("min-replicas", "2"),
        ("max-replicas", "7"),
    ]);
    assert_eq!((request.min_replicas, request.max_replicas), (2, Some(7)));
}

#[test]
fn min_replicas_below_one_means_one() {
    for value in ["0", "-0", "-1", "-99999999999999999999", "1"] {
        assert_eq!(
            accepted(&[("threshold", "1"), ("min-replicas", value)]).min_replicas,
            1,
            "{value}"
        );
    }
}

#[test]
fn policy_dialect_is_chosen_by_the_presence_of_metrics() {
    let Rule::Policy(policy) = accepted(&[("metrics", GAUGE)]).rule else {
        panic!("not the policy dialect")
    };
    assert_eq!(policy.combine, Combine::And);
    let seconds = [policy.evaluation_window, policy.scale_up_cooldown, policy.scale_down_cooldown].map(|window| window.as_secs());
    assert_eq!(seconds, [60, 300, 300]);

    let Rule::Policy(policy) = accepted(&[
        ("metrics", GAUGE),
        ("combinepolicy", "or"),
        ("evaluationwindow", "0"),
        ("scaleupcooldown", "1"),
        ("scaledowncooldown", "1800"),
    ])
    .rule
    else {
        panic!("not the policy dialect")
    };
    assert_eq!(policy.combine, Combine::Or);
    assert_eq!(policy.evaluation_window, Duration::ZERO);
    assert_eq!(policy.scale_down_cooldown, Duration::from_secs(1800));
}

#[test]
fn every_invalid_value_is_complained_of_with_key_value_and_what_is_accepted() {
    for (key, value, accepted) in [
        ("threshold", "ten", "a finite number above 0"),
        ("threshold", "0", "a finite number above 0"),
        ("threshold", "-1", "a finite number above 0"),
        ("threshold", "NaN", "a finite number above 0"),
        ("threshold", "inf", "a finite number above 0"),
        ("threshold", "1e999", "a finite number above 0"),
        ("threshold", "1e13", "at most 1e12"),
        ("threshold", "", "a finite number above 0"),
        ("threshold", " 10", "a finite number above 0"),
        (
            "threshold",
            "0000000000000000000000000000000000000000000000000000000000000001.0",
            "a finite number above 0",
        ),
        ("metricName", "vllm waiting", "a Prometheus metric name"),
        ("metricName", "", "a Prometheus metric name"),
        ("min-replicas", "two", "a whole number"),
        ("min-replicas", "1.5", "a whole number"),
        ("min-replicas", "", "a whole number"),
        ("min-replicas", "-", "a whole number"),
        ("min-replicas", "-1.5", "a whole number"),
        ("min-replicas", "99999999999", "at most 2147483647"),
        ("max-replicas", "1", "a whole number above 1"),
        ("max-replicas", "0", "a whole number above 1"),
        ("max-replicas", "-5", "a whole number above 1"),
        ("max-replicas", "many", "a whole number above 1"),
        ("max-replicas", "4294967299", "above 1 and at most 2147483647"),
    ] {
        let mut pairs = vec![("threshold", "10"), (key, value)];
        if key == "threshold" {
            pairs.remove(0);
        }
        let found = complaints(&pairs);
        let [(reason, text)] = &found[..] else {
            panic!("{key}={value:?}: {found:?}")
        };
        assert_eq!(*reason, Reason::InvalidAutoscalePolicy);
        assert!(
            text.starts_with(&format!("scaledobject.kaito.sh/{key}: {value:?} is not accepted")) && text.contains(accepted),
            "{text}"
        );
    }
}

#[test]
fn policy_windows_keep_the_bounds_of_the_hpa() {
    for (key, value, bounds) in [
        ("evaluationwindow", "3601", "from 0 to 3600"),
        ("evaluationwindow", "-1", "from 0 to 3600"),
        ("evaluationwindow", "60s", "from 0 to 3600"),
        ("scaleupcooldown", "0", "from 1 to 1800"),
        ("scaleupcooldown", "1801", "from 1 to 1800"),
        ("scaledowncooldown", "0", "from 1 to 1800"),
        ("scaledowncooldown", "3600", "from 1 to 1800"),
        ("scaledowncooldown", "", "from 1 to 1800"),
        ("combinepolicy", "XOR", "AND or OR"),
        ("combinepolicy", "", "AND or OR"),
    ] {
        let found = complaints(&[("metrics", GAUGE), (key, value)]);
        assert!(
            matches!(&found[..], [(Reason::InvalidAutoscalePolicy, text)] if text.contains(key) && text.contains(bounds)),
            "{key}={value:?}: {found:?}"
        );
    }
}

#[test]
fn all_complaints_come_at_once_and_block_the_request() {
    let pairs = [
        ("auto-provision", "true"),
        ("threshold", "ten"),
        ("min-replicas", "x"),
        ("max-replicas", "y"),
        ("metricName", "a b"),
        ("evaluationwindow", "60"),
        ("max-replica", "5"),
    ];
    let reading = reading(&pairs);
    assert_eq!(reading.request, None);
    let subjects: Vec<(&str, Reason)> = reading
        .complaints
        .iter()
        .map(|complaint| {
            (
                complaint.subject.trim_start_matches("scaledobject.kaito.sh/"),
                complaint.reason,
            )
        })
        .collect();
    assert_eq!(
        subjects,
        [
            ("min-replicas", Reason::InvalidAutoscalePolicy),
            ("max-replicas", Reason::InvalidAutoscalePolicy),
            ("metricName", Reason::InvalidAutoscalePolicy),
            ("threshold", Reason::InvalidAutoscalePolicy),
            ("evaluationwindow", Reason::IgnoredAnnotation),
            ("max-replica", Reason::UnknownAnnotation),
        ]
    );
}

#[test]
fn missing_threshold_points_to_both_dialects() {
    let found = complaints(&[("min-replicas", "2")]);
    let [(Reason::InvalidAutoscalePolicy, text)] = &found[..] else {
        panic!("{found:?}")
    };
    assert!(text.contains("scaledobject.kaito.sh/threshold: missing") && text.contains("scaledobject.kaito.sh/metrics"));
}

#[test]
fn simple_annotations_beside_metrics_are_ignored_with_a_warning() {
    let pairs = [
        ("auto-provision", "true"),
        ("metrics", GAUGE),
        ("threshold", "ten"),
        ("metricName", "x"),
    ];
    let reading = reading(&pairs);
    assert!(matches!(reading.request.unwrap().rule, Rule::Policy(_)));
    let reasons: Vec<Reason> = reading.complaints.iter().map(|complaint| complaint.reason).collect();
    assert_eq!(reasons, [Reason::IgnoredAnnotation, Reason::IgnoredAnnotation]);
}

#[test]
fn unknown_annotations_name_the_nearest_known_one_even_while_provisioning_is_off() {
    let reading = reading(&[("auto-provison", "true")]);
    assert_eq!(reading.switch, Switch::Off);
    let text = reading.complaints[0].to_string();
    assert_eq!(reading.complaints[0].reason, Reason::UnknownAnnotation);
    assert!(
        text.ends_with("nearest known one is scaledobject.kaito.sh/auto-provision"),
        "{text}"
    );
}

#[test]
fn many_unknown_annotations_are_counted_rather_than_listed() {
    let mut annotations = annotated(&[("auto-provision", "true"), ("threshold", "10")]);
    for n in 0..1000 {
        annotations.insert(format!("scaledobject.kaito.sh/x{n}"), "1".to_owned());
    }
    annotations.insert("other.example/metrics".to_owned(), "1".to_owned());
    let reading = read(&annotations);
    assert!(reading.request.is_some());
    assert_eq!(reading.complaints.len(), 9);
    assert!(reading.complaints[8].to_string().ends_with("992 more unknown annotations"));
}

#[test]
fn narrow_band_is_accepted_with_a_warning() {
    for (up, down, narrow) in [(10, 5, false), (10, 6, true), (10, 10, true), (0, 0, false)] {
        let list = format!("[{{name: waiting, type: gauge, upthreshold: {up}, downthreshold: {down}}}]");
        let reading = reading(&[("auto-provision", "true"), ("metrics", &list)]);
        assert!(reading.request.is_some(), "{list}");
        let reasons: Vec<Reason> = reading.complaints.iter().map(|complaint| complaint.reason).collect();
        assert_eq!(reasons, if narrow { vec![Reason::NarrowBand] } else { vec![] }, "{list}");
    }
}

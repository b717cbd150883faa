//! The list as users write it, and as nobody should.

use std::time::Duration;

use proptest::prelude::*;

use super::parse;
use crate::policy::{MetricKind, MetricRule};

fn rules(text: &str) -> Vec<MetricRule> {
    let mut complaints = Vec::new();
    let rules = parse(text, &mut complaints);
    assert_eq!(complaints, [], "{text}");
    rules.unwrap()
}

fn faults(text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let rules = parse(text, &mut complaints);
    assert_eq!(rules, None, "{text}");
    let text = |complaint: &crate::policy::complaint::Complaint| complaint.to_string();
    complaints.iter().map(text).collect()
}

/// One metric with one field replaced.
fn with(key: &str, value: &str) -> String {
    let fields = [
        ("name", "waiting"),
        ("type", "histogram"),
        ("upthreshold", "10"),
        ("downthreshold", "1"),
    ];
    let mut list = String::from("-");
    for (name, usual) in fields {
        let value = if name == key { value } else { usual };
        list.push_str(&format!(" {name}: {value}\n "));
    }
    if !fields.iter().any(|(name, _)| *name == key) {
        list.push_str(&format!(" {key}: {value}\n"));
    }
    list
}

#[test]
fn yaml_of_the_reference_is_read() {
    let text = "- name: vllm:num_requests_waiting\n  type: gauge\n  upthreshold: 10\n  downthreshold: 1\n\
                - name: vllm:request_queue_time_seconds\n  type: histogram\n  source: modelpod\n  upthreshold: 30.0\n  \
                downthreshold: 1.0\n  metriccachewindow: 120\n";
    assert_eq!(
        rules(text),
        [
            MetricRule {
                name: "vllm:num_requests_waiting".to_owned(),
                kind: MetricKind::Gauge,
                up_threshold: 10.0,
                down_threshold: 1.0,
                window: Duration::ZERO,
            },
            MetricRule {
                name: "vllm:request_queue_time_seconds".to_owned(),
                kind: MetricKind::Histogram,
                up_threshold: 30.0,
                down_threshold: 1.0,
                window: Duration::from_secs(120),
            },
        ]
    );
}

#[test]
fn json_is_read_too() {
    let text = "[\n\t{\"name\": \"waiting\",\n\t \"type\": \"histogram\", \"upthreshold\": 1e1, \"downthreshold\": 0.5}\n]";
    let found = rules(text);
    assert_eq!(found[0].window, Duration::from_secs(300));
    assert_eq!((found[0].up_threshold, found[0].down_threshold), (10.0, 0.5));
}

#[test]
fn keys_are_read_in_any_letter_case() {
    let text = "[{Name: waiting, type: gauge, upThreshold: 10, downThreshold: 1}]";
    assert_eq!(rules(text)[0].name, "waiting");
}

#[test]
fn anchors_are_read_within_their_budget() {
    let text = "- &one {name: a, type: gauge, upthreshold: &up 10, downthreshold: 1}\n\
                - {name: b, type: gauge, upthreshold: *up, downthreshold: 1}\n";
    assert_eq!(rules(text).len(), 2);
}

#[test]
fn each_bad_value_is_named_with_its_place() {
    for (key, value, accepted) in [
        ("upthreshold", "\"10\"", "without quotes"),
        ("upthreshold", "'10'", "without quotes"),
        ("upthreshold", ".inf", "a finite number"),
        ("upthreshold", "-.inf", "a finite number"),
        ("upthreshold", ".nan", "a finite number"),
        ("upthreshold", "1e999", "a finite number"),
        ("upthreshold", "1e13", "from 0 to 1e12"),
        ("upthreshold", "1_000", "a finite number"),
        ("upthreshold", "010", "a finite number"),
        ("upthreshold", "ten", "a finite number"),
        ("upthreshold", "true", "a finite number"),
        ("upthreshold", "", "a finite number"),
        ("upthreshold", "[10]", "a finite number"),
        ("downthreshold", "-1", "from 0 to 1e12"),
        ("downthreshold", "11", "at most the upthreshold, 10"),
        ("downthreshold", ".NaN", "a finite number"),
        ("name", "a b", "a Prometheus metric name"),
        ("name", "12", "a Prometheus metric name"),
        ("name", "\"\"", "a Prometheus metric name"),
        ("type", "counter", "gauge or histogram"),
        ("type", "Gauge", "gauge or histogram"),
        ("source", "epp", "modelpod"),
        ("metriccachewindow", "14", "from 15 to 3600"),
        ("metriccachewindow", "3601", "from 15 to 3600"),
        ("metriccachewindow", "60.5", "whole seconds"),
        ("metriccachewindow", "\"60\"", "whole seconds"),
        ("metriccachewindow", "1m", "whole seconds"),
    ] {
        let text = with(key, value);
        let found = faults(&text);
        let place = format!("scaledobject.kaito.sh/metrics[0].{key}: ");
        assert!(
            matches!(&found[..], [fault] if fault.starts_with(&place) && fault.contains(accepted)),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn all_faults_of_all_metrics_come_at_once() {
    let text = "- {name: a b, type: gauge, upthreshold: \"1\", downthreshold: .nan, metriccachewindow: 60}\n\
                - {nmae: waiting, type: gauge}\n\
                - waiting\n";
    let found = faults(text).join("\n");
    for part in [
        "metrics[0].name: \"a b\"",
        "metrics[0].upthreshold: \"1\"",
        "metrics[0].downthreshold: \"NaN\"",
        "metrics[0].metriccachewindow: a gauge has no window",
        "metrics[1]: \"nmae\" is not a key of a metric; the nearest one is \"name\"",
        "metrics[1].name: missing",
        "metrics[1].upthreshold: missing",
        "metrics[1].downthreshold: missing",
        "metrics[2]: \"waiting\" is not accepted",
    ] {
        assert!(found.contains(part), "{part:?} is not in\n{found}");
    }
}

#[test]
fn what_is_no_list_of_metrics_is_refused() {
    for (text, part) in [
        ("", "is not accepted"),
        ("waiting", "is not accepted"),
        ("[]", "0 metrics; 1 to 16 are accepted"),
        ("{name: a}", "is not accepted"),
        ("- name: a\n name: b", "cannot be read"),
        ("[{name: a}", "cannot be read"),
        ("--- []\n--- []\n", "cannot be read"),
        ("- !!python/object:os.system x", "cannot be read"),
        ("[[[[[[[[1]]]]]]]]", "cannot be read"),
    ] {
        let found = faults(text);
        assert!(found.len() == 1 && found[0].contains(part), "{text:?}: {found:?}");
    }
}

#[test]
fn repeated_keys_and_metrics_are_refused() {
    let found = faults("[{name: a, Name: b, type: gauge, upthreshold: 1, downthreshold: 1, upthreshold: 2}]");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|fault| fault.contains("is given twice")), "{found:?}");
    let one = "{name: a, type: gauge, upthreshold: 1, downthreshold: 1}";
    let found = faults(&format!("[{one}, {one}]"));
    assert!(found[0].contains("\"a\" is listed twice"), "{found:?}");
}

#[test]
fn bombs_are_stopped_by_their_budget() {
    let one = "{name: a, type: gauge, upthreshold: 1, downthreshold: 1}";
    let many = format!("[{}]", vec![one; 17].join(","));
    assert!(faults(&many)[0].contains("17 metrics; 1 to 16 are accepted"));
    assert!(faults(&" ".repeat(17_000))[0].contains("17000 bytes"));
    assert!(faults(&"[".repeat(10_000))[0].contains("cannot be read"));
    let mut laughs = String::from("- &a0 [x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        let alias = format!("*a{}, ", n - 1).repeat(9);
        laughs.push_str(&format!("- &a{n} [{alias}]\n"));
    }
    assert!(faults(&laughs)[0].contains("cannot be read"));
    assert!(faults(&format!("[{}]", "1,".repeat(7_000)))[0].contains("cannot be read"));
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic_or_say_nothing(text in ".{0,200}") {
        let mut complaints = Vec::new();
        let rules = parse(&text, &mut complaints);
        prop_assert_eq!(rules.is_none(), !complaints.is_empty());
    }

    #[test]
    fn no_mapping_makes_the_parser_panic_or_say_nothing(key in "[a-zA-Z]{1,20}", value in "[-.a-z0-9\"'\\[\\]{}&*!:#]{0,20}") {
        let mut complaints = Vec::new();
        let text = format!("- name: waiting\n  type: gauge\n  upthreshold: 10\n  downthreshold: 1\n  {key}: {value}\n");
        let rules = parse(&text, &mut complaints);
        prop_assert_eq!(rules.is_none(), !complaints.is_empty());
    }
}

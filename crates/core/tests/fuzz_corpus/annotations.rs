//! What has to hold of any annotations: they are accepted, or every reason why not names an annotation; and what is accepted
//! is what the scaler reads from the trigger rendered from it.

use std::collections::BTreeMap;

use keda_kaito_core::names;
use keda_kaito_core::policy::Rule;
use keda_kaito_core::policy::annotations::{Reading, Request, Switch, read};
use keda_kaito_core::policy::complaint::Reason;
use keda_kaito_core::trigger::{Aggregation, DesiredReplicas, Endpoint, TriggerRequest};

use super::{records, trigger};

/// A list of nothing but unknown keys fills its budget of nodes.
const MOST_COMPLAINTS: usize = 1100;
/// An Event's message may have 1024 bytes; quoted values are cut at 80 characters, errors of the parser too.
const LONGEST_COMPLAINT: usize = 1000;

pub(crate) fn check(input: &[u8]) {
    let annotations: BTreeMap<String, String> = records::read(input)
        .into_iter()
        .map(|(key, value)| match key.contains('/') {
            true => (key, value),
            false => (format!("{}{key}", names::ANNOTATION_PREFIX), value),
        })
        .collect();
    // The API server takes no other keys.
    let valid = |key: &String| {
        key.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
    };
    if !annotations.keys().all(valid) {
        return;
    }
    let reading = read(&annotations);
    switch_is_what_it_says(&annotations, &reading);
    complaints_can_be_acted_on(&reading);
    match &reading.request {
        Some(request) => rendered(request),
        None => assert!(
            reading.switch == Switch::Off || reading.complaints.iter().any(|complaint| complaint.reason.is_blocking()),
            "refused in silence"
        ),
    }
    foreign_annotations_change_nothing(&annotations, &reading);
}

fn switch_is_what_it_says(annotations: &BTreeMap<String, String>, reading: &Reading) {
    let value = annotations.get(names::AUTO_PROVISION).map(|value| value.to_ascii_lowercase());
    let expected = match value.as_deref() {
        None | Some("false") => Switch::Off,
        Some("true") => Switch::On,
        Some(_) => Switch::Malformed,
    };
    assert_eq!(reading.switch, expected);
    assert!(reading.request.is_none() || expected == Switch::On);
    if expected == Switch::Off {
        let unknown = |reason| reason == Reason::UnknownAnnotation;
        assert!(reading.complaints.iter().all(|complaint| unknown(complaint.reason)));
    }
}

fn complaints_can_be_acted_on(reading: &Reading) {
    assert!(reading.complaints.len() <= MOST_COMPLAINTS, "{}", reading.complaints.len());
    for complaint in &reading.complaints {
        let text = complaint.to_string();
        assert!(complaint.subject.starts_with(names::ANNOTATION_PREFIX), "{text}");
        assert!(!complaint.problem.is_empty(), "{text}");
        assert!(text.len() <= LONGEST_COMPLAINT, "{} bytes: {text}", text.len());
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
    if reading.request.is_some() {
        let blocking = reading.complaints.iter().find(|complaint| complaint.reason.is_blocking());
        assert_eq!(blocking, None, "accepted nevertheless");
    }
}

/// The trigger of an accepted request carries it through to the scaler.
fn rendered(request: &Request) {
    assert!((1..=u32::MAX / 2).contains(&request.min_replicas));
    assert!(request.max_replicas.is_none_or(|max| (2..=u32::MAX / 2).contains(&max)));
    let aggregation = match request.rule.clone() {
        Rule::Simple(rule) => Aggregation::Sum {
            metric: rule.metric_name,
            threshold: rule.threshold,
        },
        Rule::Policy(policy) => Aggregation::DesiredReplicas(Box::new(DesiredReplicas {
            policy,
            min_replicas: 1,
            max_replicas: 1,
            scale_up_tolerance: Some(0.0),
            scale_down_tolerance: None,
        })),
    };
    trigger::survives(&TriggerRequest {
        inference_set_name: "phi-4".to_owned(),
        inference_set_namespace: "default".to_owned(),
        scaler_address: Some("scaler.keda.svc:10450".to_owned()),
        credential_epoch: Some(1),
        endpoint: Endpoint::default(),
        aggregation,
    });
}

fn foreign_annotations_change_nothing(annotations: &BTreeMap<String, String>, reading: &Reading) {
    let mut more = annotations.clone();
    more.insert("example.test/threshold".to_owned(), "many".to_owned());
    assert_eq!(&read(&more), reading);
}

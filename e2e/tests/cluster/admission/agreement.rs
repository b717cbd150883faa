//! The policy and the provisioner read the same annotations: the same are refused, and for the same reason.

use anyhow::{Result, ensure};
use futures::StreamExt;
use keda_kaito_core::crd;
use keda_kaito_core::policy::annotations::read;
use keda_kaito_core::policy::replicas::bounds;
use keda_kaito_e2e::cases::documents::InferenceSet;
use keda_kaito_e2e::cases::running;

use super::{create, in_force};

const SWITCHES: [&str; 10] = [
    "true",
    "True",
    "TRUE",
    "tRuE",
    "false",
    "FALSE",
    "yes",
    "",
    " true",
    "fal\u{17f}e",
];
const COUNTS: [&str; 30] = [
    "1",
    "2",
    "3",
    "10",
    "0",
    "-0",
    "-1",
    "-5",
    "-99999999999999999999",
    "--1",
    "-",
    "+",
    "+2",
    "+0",
    "007",
    "00000000000002",
    "2147483647",
    "2147483648",
    "4294967299",
    "9999999999",
    "99999999999",
    "9223372036854775808",
    "2.0",
    "2.5",
    "1e3",
    "0x10",
    "",
    " 2",
    "2 ",
    "٣",
];
const NUMBERS: [&str; 42] = [
    "10",
    "0.5",
    ".5",
    "5.",
    ".",
    "0",
    "0.0",
    "-0",
    "-1",
    "+1",
    "++1",
    "1e3",
    "1E3",
    "1e+3",
    "1e-3",
    "1e-100",
    "1e-400",
    "1e11",
    "1e12",
    "1.0001e12",
    "1000000000000",
    "1000000000001",
    "1e13",
    "1e99",
    "1e100",
    "1e309",
    "1e999999999999",
    "0e999",
    "0.001",
    "ten",
    "NaN",
    "nan",
    "inf",
    "-inf",
    "Infinity",
    "0x1p4",
    "1_000",
    "1,5",
    "",
    " 10",
    "10\n",
    "1e",
];
const NAMES: [&str; 12] = [
    "vllm:num_requests_waiting",
    "a",
    "_a",
    ":a",
    "9a",
    "a-b",
    "a b",
    "",
    "ä",
    "a\n",
    "vllm:num_requests_waiting{}",
    "A9:_",
];
const COMBINES: [&str; 8] = ["AND", "and", "Or", "OR", "XOR", "", "AND ", "ANDOR"];
const SECONDS: [&str; 24] = [
    "0",
    "1",
    "15",
    "60",
    "300",
    "1800",
    "1801",
    "3600",
    "3601",
    "9999",
    "10000",
    "99999999999",
    "+60",
    "-0",
    "-1",
    "0060",
    "60s",
    "1m",
    "1.5",
    "6e1",
    "",
    " 60",
    "60 ",
    "PT60S",
];
const GAUGE: &str = "[{name: a, type: gauge, upthreshold: 10, downthreshold: 1}]";
const LIMITS: [(&str, &str); 8] = [
    ("1", "2"),
    ("2", "2"),
    ("3", "2"),
    ("-3", "2"),
    ("10", "9"),
    ("+9", "009"),
    ("2147483647", "2147483646"),
    ("5", "x"),
];

type Annotations = Vec<(&'static str, String)>;

fn cases() -> Vec<Annotations> {
    let simple = [
        ("auto-provision", "true"),
        ("threshold", "10"),
        ("max-replicas", "2147483647"),
    ];
    let policy = [("auto-provision", "true"), ("metrics", GAUGE), ("max-replicas", "2147483647")];
    let mut cases = Vec::new();
    let mut vary = |base: &[(&'static str, &str)], key: &'static str, values: &[&str]| {
        for value in values {
            let mut case: Annotations = base.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
            case.retain(|(other, _)| *other != key);
            case.push((key, (*value).to_owned()));
            cases.push(case);
        }
    };
    let long = [
        format!("{}.5", "0".repeat(62)),
        format!("{}.5", "0".repeat(63)),
        "9".repeat(400),
        "a".repeat(200),
        "a".repeat(201),
    ];
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    for base in [simple, policy] {
        vary(&base, "auto-provision", &SWITCHES);
        vary(&base, "min-replicas", &COUNTS);
        vary(&base, "max-replicas", &COUNTS);
        // Read in one dialect, ignored in the other.
        vary(&base, "threshold", &NUMBERS);
        vary(&base, "threshold", &long);
        vary(&base, "metricName", &NAMES);
        vary(&base, "metricName", &long);
        vary(&base, "combinepolicy", &COMBINES);
        for key in ["evaluationwindow", "scaleupcooldown", "scaledowncooldown"] {
            vary(&base, key, &SECONDS);
        }
        vary(&base, "unheard-of", &["x"]);
    }
    let off = [("auto-provision", "false"), ("threshold", "ten")];
    vary(&off, "max-replicas", &COUNTS);
    vary(&off, "auto-provision", &SWITCHES);
    // Without a threshold, in either dialect.
    vary(&[("auto-provision", "true")], "max-replicas", &["2", "x"]);
    vary(&[("max-replicas", "3")], "min-replicas", &["2", "x", "4"]);
    for (min, max) in LIMITS {
        vary(
            &[("auto-provision", "true"), ("threshold", "1"), ("max-replicas", max)],
            "min-replicas",
            &[min],
        );
    }
    vary(
        &[("auto-provision", "true"), ("threshold", "1"), ("max-replicas", "1")],
        "metricName",
        &["a b"],
    );
    cases
}

/// What the provisioner finds wrong with the annotations, each in its own words.
fn complaints(set: &InferenceSet) -> Vec<String> {
    let reading = read(&set.annotations);
    let mut complaints = reading.complaints;
    if let Some(request) = &reading.request {
        bounds(request, &crd::InferenceSet::default(), &[], None, &mut complaints);
    }
    complaints.retain(|complaint| complaint.reason.is_blocking());
    complaints.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn policy_and_provisioner_agree_on_every_value() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("agreement", async |namespace| {
        in_force(&bed, &namespace).await?;
        let sets = cases().into_iter().map(|case| {
            let pairs: Vec<(&str, &str)> = case.iter().map(|(key, value)| (*key, value.as_str())).collect();
            InferenceSet::new(&namespace, "phi").annotated(&pairs)
        });
        let judged = sets.map(async |set| {
            let refusal = create(&bed, &set).await;
            (set, refusal)
        });
        let judged: Vec<_> = futures::stream::iter(judged).buffer_unordered(8).collect().await;
        let (mut refused, mut accepted) = (0, 0);
        for (set, refusal) in judged {
            let refusal = refusal?;
            let complaints = complaints(&set);
            let annotations = &set.annotations;
            ensure!(
                refusal.is_none() == complaints.is_empty(),
                "{annotations:?}: the policy says {refusal:?}, the provisioner {complaints:?}"
            );
            let Some(refusal) = refusal else {
                accepted += 1;
                continue;
            };
            refused += 1;
            for complaint in &complaints {
                // Characters beyond printable ASCII are escaped differently in the two languages.
                let plain = annotations
                    .values()
                    .all(|value| value.bytes().all(|byte| (b' '..0x7f).contains(&byte)));
                ensure!(
                    !plain || refusal.contains(complaint),
                    "{annotations:?}: {complaint} is not in {refusal}"
                );
            }
        }
        ensure!(
            refused > 150 && accepted > 150,
            "{refused} refused and {accepted} accepted show too little"
        );
        Ok(())
    })
    .await
}

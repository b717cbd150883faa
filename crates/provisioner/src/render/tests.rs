//! `render` over files: what is printed, what is complained of, what cannot be read.

use std::path::Path;

use clap::Parser;

use super::input::{Error, Refused, parse};
use super::{Rendered, render, render_file};
use crate::args::{Cli, Command, RenderArgs};
use keda_kaito_runtime::args::Identity;

fn args(flags: &[&str]) -> RenderArgs {
    let cli = Cli::try_parse_from([&["provisioner", "render", "-f", "-", "--working-namespace", "keda"], flags].concat());
    match cli.unwrap().command {
        Some(Command::Render(args)) => args,
        None => panic!("no command"),
    }
}

fn rendered(text: &str, flags: &[&str]) -> Vec<Rendered> {
    let identity = Identity {
        name: "here".to_owned(),
        namespace: None,
    };
    let inference_sets = parse(text, "-").unwrap();
    inference_sets
        .into_iter()
        .map(|object| render(object.unwrap(), &args(flags), &identity))
        .collect()
}

const SET: &str = "apiVersion: kaito.sh/v1alpha1\nkind: InferenceSet\nmetadata:\n  name: phi-4\n  annotations:\n    \
                   scaledobject.kaito.sh/auto-provision: 'true'\n    scaledobject.kaito.sh/threshold: '10'\nspec:\n  nodeCountLimit: 5\n";

#[test]
fn samples_render_without_complaint() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/samples");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let rendered = render_file(&path, &args(&[])).unwrap();
        assert!(
            rendered
                .iter()
                // Those with a ScaledObject written by hand ask for none.
                .all(|one| (one.is_off || one.scaled_object.is_some()) && one.is_fine()),
            "{path:?}"
        );
    }
}

#[test]
fn printed_object_is_yaml_that_reads_back_and_owns_nothing() {
    let [one] = &rendered(SET, &[])[..] else { panic!() };
    let object = one.scaled_object.clone().unwrap();
    assert_eq!(object.spec.scale_target_ref.api_version.as_deref(), Some("kaito.sh/v1alpha1"));
    assert_eq!(object.metadata.owner_references, None);
    let text = serde_saphyr::to_string(&object).unwrap();
    let back: keda_kaito_core::crd::ScaledObject = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(back, object, "{text}");
}

#[test]
fn nodes_per_replica_divide_the_limit() {
    for (flags, max) in [(&[][..], 5), (&["--nodes-per-replica", "2"], 2)] {
        let object = rendered(SET, flags).remove(0).scaled_object.unwrap();
        assert_eq!(object.spec.max_replica_count, Some(max));
    }
    let one = rendered(SET, &["--nodes-per-replica", "6"]).remove(0);
    assert_eq!(one.scaled_object, None);
    assert_eq!(one.complaints[0].reason.as_str(), "NodeCountLimitTooSmall");
}

#[test]
fn every_complaint_of_every_document_is_reported() {
    let wrong = SET.replace("'10'", "ten\n    scaledobject.kaito.sh/max-replicas: '1'");
    let off = SET.replace("'true'", "'false'");
    let list = format!("{wrong}---\n{off}---\nkind: ConfigMap\n---\n{SET}");
    let rendered = rendered(&list, &[]);
    let counts: Vec<(usize, bool)> = rendered.iter().map(|one| (one.complaints.len(), one.is_off)).collect();
    assert_eq!(counts, [(2, false), (0, true), (0, false)]);
}

#[test]
fn lists_of_kubectl_are_opened() {
    let json = r#"{"kind": "List", "items": [{"kind": "InferenceSet", "metadata": {"name": "a"}}, {"kind": "Pod"}]}"#;
    assert_eq!(rendered(json, &[])[0].inference_set, "default/a");
}

#[test]
fn unreadable_input_is_told_apart() {
    assert!(matches!(parse("a: [", "-"), Err(Error::Syntax { .. })));
    assert!(matches!(parse("kind: Pod", "-"), Err(Error::NoInferenceSet { .. })));
    assert!(matches!(parse("", "-"), Err(Error::NoInferenceSet { .. })));
    assert!(matches!(
        render_file(Path::new("/nonexistent/file"), &args(&[])),
        Err(Error::Read { .. })
    ));
}

/// The reasons why the only InferenceSet of `text` is refused.
fn refused(text: &str) -> Vec<String> {
    let refused = parse(text, "-").unwrap().remove(0).unwrap_err();
    assert_eq!(refused.inference_set.split('/').count(), 2, "{text}");
    refused.reasons
}

#[test]
fn kinds_of_other_groups_are_not_ours() {
    let other = SET.replace("kaito.sh/v1alpha1", "other.io/v1");
    assert!(matches!(parse(&other, "-"), Err(Error::NoInferenceSet { .. })));
    let core = SET.replace("kaito.sh/v1alpha1", "v1");
    let found = parse(&format!("{other}---\n{core}---\n{SET}"), "-").unwrap();
    assert_eq!(found.len(), 1);
}

#[test]
fn values_that_are_no_text_are_named_and_how_to_make_them_text() {
    let unquoted = SET.replace("'true'", "true").replace("'10'", "10");
    let found = parse(&format!("{unquoted}---\n{SET}"), "-").unwrap();
    let [Err(Refused { inference_set, reasons }), Ok(_)] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(inference_set, "default/phi-4");
    assert_eq!(
        reasons[..],
        [
            r#"metadata.annotations["scaledobject.kaito.sh/auto-provision"] is a boolean: quote the value, "true""#,
            r#"metadata.annotations["scaledobject.kaito.sh/threshold"] is a number: quote the value, "10""#,
        ]
    );
    for (metadata, reason) in [
        ("{name: 7}", r#"metadata.name is a number: quote the value, "7""#),
        (
            "{name: a, labels: {b: true}}",
            r#"metadata.labels["b"] is a boolean: quote the value, "true""#,
        ),
        (
            "{name: a, annotations: {b: }}",
            r#"metadata.annotations["b"] is empty: quote the value, """#,
        ),
        (
            "{name: a, annotations: {b: [{c: d}]}}",
            r#"metadata.annotations["b"] is a list: make it text, by | behind the colon"#,
        ),
    ] {
        assert_eq!(refused(&format!("kind: InferenceSet\nmetadata: {metadata}")), [reason]);
    }
    let text = "kind: InferenceSet\nmetadata: {name: a}\nspec: {replicas: many}";
    let [reason] = &refused(text)[..] else { panic!() };
    assert!(reason.starts_with("spec.replicas: invalid type: string \"many\""), "{reason}");
}

#[test]
fn names_that_no_object_can_have_are_refused() {
    for (metadata, reason) in [
        (
            "{name: Bad_Name}",
            r#"metadata.name "Bad_Name" is not a DNS name in lower case"#,
        ),
        ("{name: -a}", r#"metadata.name "-a" is not a DNS name in lower case"#),
        ("{name: a..b}", r#"metadata.name "a..b" is not a DNS name in lower case"#),
        ("{name: ''}", "metadata.name is missing"),
        ("{}", "metadata.name is missing"),
        ("{name: , namespace: }", "metadata.name is missing"),
        (
            "{name: a, namespace: b.c}",
            r#"metadata.namespace "b.c" is not a DNS label in lower case"#,
        ),
    ] {
        assert_eq!(refused(&format!("kind: InferenceSet\nmetadata: {metadata}")), [reason]);
    }
    let name = format!("kind: InferenceSet\nmetadata: {{name: {}.4}}", "a".repeat(251));
    assert!(parse(&name, "-").unwrap()[0].is_ok());
    let [reason] = &refused(&name.replace(".4", ".42"))[..] else {
        panic!()
    };
    assert!(reason.ends_with("is not a DNS name in lower case"), "{reason}");
}

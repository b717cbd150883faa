//! `render` over files: what is printed, what is complained of, what cannot be read.

use std::path::PathBuf;

use clap::Parser;

use super::{Error, Rendered, parse, render, render_file};
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
        .map(|object| render(object, &args(flags), &identity))
        .collect()
}

const SET: &str = "apiVersion: kaito.sh/v1alpha1\nkind: InferenceSet\nmetadata:\n  name: phi-4\n  annotations:\n    \
                   scaledobject.kaito.sh/auto-provision: 'true'\n    scaledobject.kaito.sh/threshold: '10'\nspec:\n  nodeCountLimit: 5\n";

#[test]
fn samples_render_without_complaint() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/samples");
    for entry in std::fs::read_dir(folder).unwrap() {
        let mut args = args(&[]);
        args.filename = entry.unwrap().path();
        let rendered = render_file(&args).unwrap();
        assert!(
            rendered
                .iter()
                // Those with a ScaledObject written by hand ask for none.
                .all(|one| (one.is_off || one.scaled_object.is_some()) && one.complaints.is_empty()),
            "{:?}",
            args.filename
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
    let text = "kind: InferenceSet\nmetadata: {name: a}\nspec: {replicas: many}";
    assert!(matches!(parse(text, "-"), Err(Error::Decode { name, .. }) if name == "a"));
    let mut args = args(&[]);
    args.filename = PathBuf::from("/nonexistent/file");
    assert!(matches!(render_file(&args), Err(Error::Read { .. })));
}

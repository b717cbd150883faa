//! `provisioner render` as a process: what goes where, and the exit codes that pipelines read.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};

const GOOD: &str = "apiVersion: kaito.sh/v1beta1\nkind: InferenceSet\nmetadata:\n  name: good\n  annotations:\n    \
                    scaledobject.kaito.sh/auto-provision: 'true'\n    scaledobject.kaito.sh/threshold: '10'\n    \
                    scaledobject.kaito.sh/max-replicas: '3'\n";

/// Exit code, standard output, standard error.
fn render(arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_provisioner"))
        .arg("render")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Wrong flags end it before it reads anything.
    let written = child.stdin.take().unwrap().write_all(input.as_bytes());
    assert!(written.is_ok() || written.is_err_and(|error| error.kind() == ErrorKind::BrokenPipe));
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn exit_codes_say_how_it_went() {
    let off = GOOD.replace("'true'", "'false'");
    let wrong = GOOD.replace("'10'", "ten").replace("name: good", "name: wrong");
    let warned = GOOD.replace("'10'", "'5000'");
    let unquoted = GOOD.replace("'true'", "true").replace("name: good", "name: bad");
    let other = GOOD.replace("kaito.sh/v1beta1", "other.io/v1");
    for (input, code, objects, says) in [
        (GOOD.to_owned(), 0, 1, ""),
        (off, 0, 0, "auto-provision is absent or false"),
        (warned.clone(), 1, 1, "ThresholdUnreachable"),
        (format!("{GOOD}---\n{wrong}"), 1, 1, "default/wrong: InvalidAutoscalePolicy: "),
        (format!("{GOOD}---\n{}", GOOD.replace("good", "better")), 0, 2, ""),
        (
            format!("{unquoted}---\n{GOOD}"),
            1,
            1,
            "default/bad: metadata.annotations[\"scaledobject.kaito.sh/auto-provision\"] is a boolean: quote the value, \"true\"\n",
        ),
        (unquoted, 1, 0, "is a boolean"),
        (
            GOOD.replace("good", "Bad_Name"),
            1,
            0,
            "default/Bad_Name: metadata.name \"Bad_Name\" is not a DNS name",
        ),
        (format!("{GOOD}---\n{other}"), 0, 1, ""),
        (other, 2, 0, "contains no InferenceSet"),
        ("kind: Pod".to_owned(), 2, 0, "contains no InferenceSet"),
        ("a: [".to_owned(), 2, 0, "neither YAML nor JSON"),
    ] {
        let (found, out, err) = render(&["-f", "-"], &input);
        assert_eq!(found, code, "{input}\n{out}\n{err}");
        assert_eq!(out.matches("kind: ScaledObject").count(), objects, "{input}\n{out}");
        assert!(err.contains(says) && (says.is_empty() == err.is_empty()), "{input}\n{err}");
    }
    // Warnings are complaints; what a server takes can be said.
    let (code, _, err) = render(&["-f", "-", "--max-num-seqs=8192"], &warned);
    assert_eq!((code, err.as_str()), (0, ""));
}

#[test]
fn file_that_is_missing_and_wrong_flags_are_no_input() {
    let (code, out, err) = render(&["-f", "/nonexistent/file"], "");
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("/nonexistent/file"), "{err}");
    // Another file is none the worse for it.
    let (code, out, err) = render(&["-f", "/nonexistent/file", "-f", "-"], GOOD);
    assert_eq!((code, out.matches("kind: ScaledObject").count()), (2, 1), "{out}\n{err}");
    assert_eq!(render(&["--nodes-per-replica=0", "-f", "-"], GOOD).0, 2);
    assert_eq!(render(&[], GOOD).0, 2);
}

use std::io::Cursor;

use keda_kaito_core::record::DecisionRecord;

use super::*;

const INPUT: &str = r#"{"now": 100, "trigger": {"aggregation": "sum", "metric": "vllm:num_requests_waiting", "threshold": 10},
    "scale": {"specReplicas": 2, "statusReplicas": 2, "minReplicas": 1, "maxReplicas": 4}}"#;

fn one_line() -> String {
    INPUT.replace('\n', " ")
}

fn run_on(input: &[u8]) -> (String, String, ExitCode) {
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let code = run(Cursor::new(input), &mut out, &mut errors);
    (String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap(), code)
}

#[test]
fn every_good_line_gets_one_record_in_order() {
    let input = format!(
        "{}\n\n{}",
        one_line(),
        one_line().replace("\"threshold\": 10", "\"threshold\": 20")
    );
    let (out, errors, code) = run_on(input.as_bytes());
    assert_eq!(errors, "");
    assert_eq!(code, ExitCode::SUCCESS);
    let records: Vec<DecisionRecord> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 2);
    assert_ne!(records[0].answer, records[1].answer);
}

#[test]
fn bad_lines_are_named_and_the_others_answered() {
    let input = format!("nonsense\n{}\n{{\"now\": true}}\n", one_line());
    let (out, errors, code) = run_on(input.as_bytes());
    assert_eq!(out.lines().count(), 1);
    let named: Vec<_> = errors.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(named, ["line 1", "line 3"]);
    assert_eq!(code, ExitCode::from(2));
}

#[test]
fn line_beyond_the_limit_is_skipped_whole() {
    let mut input = vec![b' '; usize::try_from(MAX_LINE).unwrap()];
    input.extend_from_slice(b"{}{}{}\n");
    input.extend_from_slice(one_line().as_bytes());
    input.push(b'\n');
    let (out, errors, code) = run_on(&input);
    assert_eq!(out.lines().count(), 1);
    assert_eq!(errors, format!("line 1: longer than {MAX_LINE} bytes\n"));
    assert_eq!(code, ExitCode::from(2));
}

#[test]
fn reader_that_fails_ends_the_run() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("gone"))
        }
    }
    let mut errors = Vec::new();
    let code = run(io::BufReader::new(Broken), io::sink(), &mut errors);
    assert_eq!(code, ExitCode::FAILURE);
    assert_eq!(String::from_utf8(errors).unwrap(), "cannot go on: gone\n");
}

#[test]
fn what_no_trigger_and_no_cluster_can_have_is_a_bad_line() {
    let replica = |series: &str| {
        let replicas = format!(
            "\"replicas\": [{{\"workspace\": \"a\", \"created\": 0, \"readySince\": 1, \"series\": {series}}}], \"scale\""
        );
        one_line().replace("\"scale\"", &replicas)
    };
    let points = |points: &str| {
        let metric = r#"{"metric": "vllm:request_queue_time_seconds", "kind": "histogram", "points": "#;
        replica(&format!("{{\"metrics\": [{metric}{points}}}]}}"))
    };
    for (line, says) in [
        (one_line().replace(": 10}", ": 0}"), "threshold 0e0 is not above 0"),
        (one_line().replace(": 10}", ": 1e300}"), "at most 1e12"),
        (one_line().replace(": 10}", ": 10, \"treshold\": 5}"), "treshold"),
        (
            one_line()
                .replace("\"sum\"", "\"service-avg\"")
                .replace("\"threshold\"", "\"t\\n\\u001bx\""),
            "t\u{fffd}\u{fffd}x",
        ),
        (
            one_line().replace("\"maxReplicas\": 4", "\"maxReplicas\": 0"),
            "1 to 0 replicas",
        ),
        (
            one_line().replace("\"minReplicas\": 1", "\"minReplicas\": 5"),
            "5 to 4 replicas",
        ),
        (
            one_line().replace(
                "\"maxReplicas\": 4",
                "\"maxReplicas\": 4, \"tolerance\": {\"up\": -1, \"down\": 0}",
            ),
            "-1 is no fraction",
        ),
        (
            one_line().replace(
                "\"maxReplicas\": 4",
                "\"maxReplicas\": 4, \"tolerance\": {\"up\": 1, \"down\": 0, \"side\": 0}",
            ),
            "side",
        ),
        (replica(r#"{"answered": 101}"#), "replica \"a\": a sample is later than now"),
        (points("[[101, 1, 1, true]]"), "later than now"),
        (points("[[50, 1, 1, true], [40, 2, 2, false]]"), "not in order"),
    ] {
        let (out, errors, code) = run_on(line.as_bytes());
        assert_eq!((out.as_str(), code), ("", ExitCode::from(2)), "{line}");
        assert!(errors.contains(says) && errors.lines().count() == 1, "{line}\n{errors}");
    }
    let (out, _, _) = run_on(points("[[40, 1, 1, true], [50, 2, 2, false]]").as_bytes());
    assert_eq!(out.lines().count(), 1);
    let unbelievable = r#"{"answered": 95, "served": 95, "metrics": [{"metric": "vllm:num_requests_waiting", "kind": "gauge", "latest": {"gauge": 1e13}}]}"#;
    let (out, _, _) = run_on(replica(unbelievable).as_bytes());
    assert!(out.contains("\"desired\":2"), "{out}");
}

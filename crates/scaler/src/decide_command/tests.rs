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

use std::time::Duration;

use super::{counts, read};

fn event(id: &str, stage: &str, verb: &str, code: u16) -> String {
    let status = if code == 0 {
        String::new()
    } else {
        format!(r#","responseStatus":{{"metadata":{{}},"code":{code}}}"#)
    };
    format!(
        r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"{id}","stage":"{stage}","requestURI":"/apis/x","verb":"{verb}","user":{{"username":"admin"}},"impersonatedUser":{{"username":"till-a"}},"sourceIPs":["127.0.0.1"],"userAgent":"shop-till/1.0 (linux)","objectRef":{{"resource":"tills","namespace":"shop","name":"a","subresource":"status"}}{status},"requestReceivedTimestamp":"2026-01-01T00:00:00.{id}00000Z","stageTimestamp":"2026-01-01T00:00:01.000000Z"}}
"#
    )
}

#[test]
fn requests_are_told_by_who_asked_for_what() {
    let log = event("5", "ResponseComplete", "patch", 200);
    let requests = read(log.as_bytes()).unwrap();
    let request = &requests[0];
    assert_eq!((request.user.as_str(), request.agent.as_str()), ("till-a", "shop-till"));
    assert_eq!(request.resource, "tills/status");
    assert!(request.has_written());
    assert_eq!(request.took(), Duration::from_millis(500));
}

#[test]
fn each_request_counts_once_and_a_watch_that_ends_is_no_new_one() {
    let log = [
        event("3", "ResponseStarted", "watch", 0),
        event("2", "ResponseComplete", "get", 404),
        event("3", "ResponseComplete", "watch", 200),
        event("1", "ResponseComplete", "watch", 200),
        event("4", "ResponseComplete", "watch", 410),
    ]
    .concat();
    let requests = read(log.as_bytes()).unwrap();
    let verbs: Vec<_> = requests.iter().map(|request| (request.verb.as_str(), request.code)).collect();
    assert_eq!(verbs, [("get", 404), ("watch", 200), ("watch", 410)]);
    assert_eq!(counts(&requests, |request| request.verb.clone())["watch"], 2);
}

#[test]
fn line_that_is_still_being_written_is_left_for_later() {
    let whole = event("1", "ResponseComplete", "update", 409);
    let log = format!("{whole}{}", &whole[..40]);
    let requests = read(log.as_bytes()).unwrap();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].is_write() && !requests[0].has_written());
}

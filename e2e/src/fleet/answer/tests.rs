use std::collections::BTreeMap;

use super::*;
use crate::fleet::values::Values;

fn ask_in(mode: Mode, fault: &Fault, method: &str, target: &str) -> Answer {
    let template = Template::recorded();
    let mut values = Values::new(1.5e9, |latency| template.ladder(latency));
    values.waiting = 58.0;
    let page = Page {
        mode,
        fault,
        template: &template,
        view: View {
            model: "phi-4-mini",
            values: &values,
            samples: &BTreeMap::new(),
            missing: fault.missing(),
        },
        reversed: false,
    };
    answer(page, method, target)
}

fn get(target: &str) -> Answer {
    ask_in(Mode::Vllm, &Fault::None, "GET", target)
}

fn text(answer: &Answer) -> &str {
    std::str::from_utf8(&answer.body).expect("the body is text")
}

const WAITING: &str = "vllm:num_requests_waiting{engine=\"0\",model_name=\"phi-4-mini\"} 58.0";

#[test]
fn metrics_without_a_slash_ignores_the_filter_and_has_a_length() {
    for target in ["/metrics", "/metrics?name[]=vllm:num_requests_waiting"] {
        let answer = get(target);
        assert_eq!((answer.status, answer.form), (200, Form::Full));
        assert_eq!(answer.delivery, Delivery::Whole);
        assert!(answer.body.len() > 55_000);
        assert!(text(&answer).contains(WAITING));
    }
}

#[test]
fn metrics_with_a_slash_honours_the_filter_and_is_chunked() {
    let plain = get("/metrics/?name[]=vllm:num_requests_waiting");
    let encoded = get("/metrics/?x=1&name%5B%5D=vllm%3Anum_requests_waiting&name[]=");
    for answer in [&plain, &encoded] {
        assert_eq!((answer.status, answer.form), (200, Form::Filtered));
        assert_eq!(answer.delivery, Delivery::Chunked);
        assert_eq!(text(answer).lines().count(), 3);
        assert_eq!(text(answer).lines().last(), Some(WAITING));
    }
    assert_eq!(plain, encoded);
}

#[test]
fn a_filter_for_unknown_names_gives_an_empty_200() {
    let answer = get("/metrics/?name[]=vllm:request_queue_time_seconds");
    assert_eq!((answer.status, answer.body.len()), (200, 0));
}

#[test]
fn metrics_with_a_slash_and_no_filter_gives_everything() {
    for target in ["/metrics/", "/metrics/?name[]=", "/metricsx"] {
        let answer = get(target);
        assert_eq!(answer.form, Form::Unfiltered, "{target}");
        assert_eq!(answer.body, get("/metrics").body);
    }
}

#[test]
fn health_is_empty_and_every_other_path_is_not_found() {
    assert_eq!((get("/health").status, get("/health").body.len()), (200, 0));
    let other = get("/v2/anything");
    assert_eq!((other.status, text(&other)), (404, "{\"detail\":\"Not Found\"}"));
    assert_eq!(ask_in(Mode::Vllm, &Fault::None, "POST", "/metrics").status, 405);
}

#[test]
fn the_download_server_knows_only_metrics_and_no_vllm_family() {
    let ask = |target| ask_in(Mode::Download, &Fault::None, "GET", target);
    let answer = ask("/metrics?name[]=vllm:num_requests_waiting");
    assert!(answer.closing);
    assert!(text(&answer).contains("kaito_model_download_remaining_seconds 30.0"));
    assert!(!text(&answer).contains("vllm:"));
    for target in ["/metrics/", "/health", "/"] {
        assert_eq!(ask(target).status, 404, "{target}");
    }
}

#[test]
fn faults_spoil_metrics_and_leave_health_alone() {
    let faults = [
        Fault::Garbage,
        Fault::Status { code: 500 },
        Fault::Redirect {
            location: "/elsewhere".to_owned(),
        },
        Fault::Body {
            text: "x 1\n".to_owned(),
        },
        Fault::Truncate { bytes: 9 },
        Fault::Huge { bytes: 9 },
        Fault::Drip { bytes: 1, every_ms: 1 },
    ];
    for fault in faults {
        let spoilt = ask_in(Mode::Vllm, &fault, "GET", "/metrics");
        assert_ne!(spoilt, get("/metrics"), "{fault:?}");
        assert_eq!(ask_in(Mode::Vllm, &fault, "GET", "/health"), get("/health"), "{fault:?}");
    }
}

#[test]
fn slow_and_hanging_servers_are_so_on_every_path() {
    for path in ["/metrics", "/health"] {
        let slow = ask_in(Mode::Vllm, &Fault::Slow { ms: 250 }, "GET", path);
        assert_eq!(slow.delay, Duration::from_millis(250));
        let hanging = ask_in(Mode::Vllm, &Fault::Hang, "GET", path);
        assert_eq!(hanging.delivery, Delivery::Withheld);
    }
}

#[test]
fn a_missing_family_is_absent_from_both_forms() {
    let fault = Fault::Missing {
        names: vec!["vllm:num_requests_waiting".to_owned()],
    };
    let full = ask_in(Mode::Vllm, &fault, "GET", "/metrics");
    assert!(!text(&full).contains("vllm:num_requests_waiting{"));
    assert!(text(&full).contains("vllm:num_requests_running{"));
    let filtered = ask_in(Mode::Vllm, &fault, "GET", "/metrics/?name[]=vllm:num_requests_waiting");
    assert_eq!(filtered.body.len(), 0);
}

#[test]
fn a_server_without_the_filter_answers_as_chosen() {
    let ask = |answer, target| ask_in(Mode::Vllm, &Fault::FilterUnsupported { answer }, "GET", target);
    let target = "/metrics/?name[]=vllm:num_requests_waiting";
    assert_eq!(ask(Unfiltered::NotFound, target).status, 404);
    assert_eq!(ask(Unfiltered::Empty, target).body.len(), 0);
    assert_eq!(ask(Unfiltered::Full, target).body, get("/metrics").body);
    assert_eq!(ask(Unfiltered::NotFound, "/metrics"), get("/metrics"));
}

#[test]
fn garbage_is_not_text() {
    let answer = ask_in(Mode::Vllm, &Fault::Garbage, "GET", "/metrics");
    assert!(std::str::from_utf8(&answer.body).is_err());
}

//! Bodies shaped like those of real vLLM servers, compared with what an independent parser made of them, and short
//! awkward inputs with what each must give.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;

use keda_kaito_core::exposition::{Exposition, HistogramTotal, Problem, Selection, read};
use serde_json::Value;

const WAITING: &str = "vllm:num_requests_waiting";
const RUNNING: &str = "vllm:num_requests_running";
const QUEUE_TIME: &str = "vllm:request_queue_time_seconds";

macro_rules! fixture {
    ($name:literal) => {
        ($name, include_bytes!(concat!("fixtures/vllm/", $name)).as_slice())
    };
}

const FILES: [(&str, &[u8]); 16] = [
    fixture!("awkward_models.prom"),
    fixture!("awkward_models_openmetrics.prom"),
    fixture!("busy_all_features.prom"),
    fixture!("busy_dp8.prom"),
    fixture!("busy_dp8_multiproc.prom"),
    fixture!("busy_dp8_multiproc_mount.prom"),
    fixture!("busy_dp8_name_filter.prom"),
    fixture!("busy_lora.prom"),
    fixture!("busy_single.prom"),
    fixture!("busy_single_name_filter.prom"),
    fixture!("busy_single_name_filter_buckets.prom"),
    fixture!("busy_single_no_created.prom"),
    fixture!("busy_single_openmetrics.prom"),
    fixture!("busy_v0_12.prom"),
    fixture!("busy_v0_20.prom"),
    fixture!("fresh_single.prom"),
];

#[track_caller]
fn assert_close(actual: f64, expected: f64, what: &str) {
    assert!(
        (actual - expected).abs() <= expected.abs() * 1e-12,
        "{what}: {actual} is not {expected}"
    );
}

#[test]
fn every_server_body_gives_what_an_independent_parser_gave() {
    let expected: BTreeMap<String, Value> = serde_json::from_str(include_str!("fixtures/vllm/expected.json")).unwrap();
    assert_eq!(expected.len(), FILES.len());
    let selection = Selection::new([WAITING, RUNNING, QUEUE_TIME]);
    for (file, body) in FILES {
        let expected = &expected[file];
        let number = |family: &str, field: &str| expected[family][field].as_f64().unwrap();
        let exposition = read(body, &selection).unwrap();
        assert_eq!(exposition.rejected, 0, "{file}");
        assert_eq!(Some(exposition.samples as u64), expected["samples"].as_u64(), "{file}");
        for (index, family) in [WAITING, RUNNING].into_iter().enumerate() {
            let what = format!("{file} {family}");
            let scalar = exposition.family(index).unwrap().scalar().unwrap();
            assert_eq!(
                scalar.map_or(0, |scalar| scalar.series) as u64,
                expected[family]["series"].as_u64().unwrap(),
                "{what}"
            );
            assert_close(scalar.map_or(0.0, |scalar| scalar.total), number(family, "sum"), &what);
        }
        let total = exposition.family(2).unwrap().histogram().unwrap();
        assert_eq!(total.is_some(), number(QUEUE_TIME, "series") > 0.0, "{file}");
        let HistogramTotal { sum, count } = total.unwrap_or(HistogramTotal { sum: 0.0, count: 0.0 });
        assert_close(sum, number(QUEUE_TIME, "sum"), file);
        assert_close(count, number(QUEUE_TIME, "count"), file);
    }
}

#[derive(Clone, Copy)]
enum Expect {
    Scalar(&'static str, f64, usize),
    Histogram(&'static str, f64, f64),
    Problem(&'static str, Problem),
    Absent(&'static str),
}

use Expect::{Absent, Histogram, Problem as Broken, Scalar};

const EDGES: [(&str, Expect); 53] = [
    ("01_colon_name", Scalar(WAITING, 3.0, 1)),
    ("02_comma_in_value", Scalar("g", 3.0, 1)),
    ("03_brace_in_value", Scalar("g", 3.0, 1)),
    ("04_equals_in_value", Scalar("g", 3.0, 1)),
    ("05_escaped_quote", Scalar("g", 3.0, 1)),
    ("06_escaped_backslash", Scalar("g", 3.0, 1)),
    ("07_escaped_newline", Scalar("g", 3.0, 1)),
    ("08_value_is_quotes", Scalar("g", 3.0, 1)),
    ("09_empty_label_value", Scalar("g", 3.0, 1)),
    ("10_empty_braces", Scalar("g", 3.0, 1)),
    ("11_spaces_in_value", Scalar("g", 3.0, 1)),
    ("12_trailing_comma", Scalar("g", 3.0, 1)),
    ("13_space_before_brace", Scalar("g", 3.0, 1)),
    ("14_spaces_around_labels", Scalar("g", 3.0, 1)),
    ("15_tabs", Scalar("g", 3.0, 1)),
    ("16_timestamp", Scalar("g", 3.0, 1)),
    ("17_negative_timestamp", Scalar("g", 3.0, 1)),
    ("18_nan_inf", Broken("g", Problem::NotFinite)),
    ("19_exponents", Broken("g", Problem::Negative)),
    ("20_bad_values_rest_ok", Broken("g", Problem::Malformed)),
    ("21_utf8_value", Scalar("g", 3.0, 1)),
    ("22_utf8_quoted_name", Absent("my.metric")),
    ("23_utf8_quoted_label", Scalar("g", 3.0, 1)),
    ("24_crlf", Scalar("g", 3.0, 1)),
    ("25_no_final_newline", Scalar("g", 3.0, 1)),
    ("26_duplicate_series", Scalar("g", 3.0, 1)),
    ("27_histogram", Histogram("h", 0.9, 2.0)),
    ("28_histogram_sum_first", Histogram("h", 0.9, 2.0)),
    ("29_histogram_only_sum_count", Histogram("h", 0.9, 2.0)),
    ("30_histogram_two_models_with_comma", Absent("h")),
    ("31_histogram_brace_name", Histogram("h", 3.0, 2.0)),
    ("32_histogram_empty", Absent("h")),
    ("33_summary", Histogram("s", 4.0, 2.0)),
    ("34_summary_no_quantile", Histogram("http_request_size_bytes", 4.0, 2.0)),
    ("35_help_escapes", Scalar("g", 1.0, 1)),
    ("36_comments", Scalar("g", 1.0, 1)),
    ("37_type_after_sample", Scalar("g", 3.0, 2)),
    ("38_second_type_line", Scalar("g", 3.0, 2)),
    ("39_label_looks_like_line", Scalar("g", 3.0, 2)),
    ("40_prefix_names", Scalar("vllm_num_requests_waiting", 3.0, 1)),
    ("41_untyped", Scalar("u", 2.0, 1)),
    ("42_big_int", Broken("g", Problem::TooLarge)),
    ("43_openmetrics", Scalar("vllm:prompt_tokens_total", 5.0, 1)),
    ("44_openmetrics_exemplar", Histogram("h", 3.0, 2.0)),
    ("45_openmetrics_float_ts", Scalar("g", 1.0, 1)),
    ("46_info_labels_none", Scalar("vllm_cache_config_info", 1.0, 1)),
    ("47_lora_commas", Scalar("vllm_lora_requests_info", 1.790_000_000_25e9, 1)),
    ("48_dup_type_multiproc", Scalar("http_requests_total", 1.0, 1)),
    ("49_empty_body", Absent("g")),
    ("50_html_body", Absent("html")),
    ("51_truncated", Broken("g", Problem::Malformed)),
    ("53_brace_forges_value", Scalar("g", 2.0, 1)),
    ("54_brace_forges_ts", Scalar("g", 2.0, 1)),
];

#[test]
fn every_awkward_input_gives_its_number_or_says_why_not() {
    let inputs: BTreeMap<String, String> = serde_json::from_str(include_str!("fixtures/vllm/edge_cases.json")).unwrap();
    assert_eq!(inputs.len(), EDGES.len());
    for (name, expect) in EDGES {
        let body = inputs[name].as_bytes();
        match expect {
            Scalar(family, total, series) => {
                let scalar = one(body, family).family(0).unwrap().scalar().unwrap().expect(name);
                assert_eq!(scalar.series, series, "{name}");
                assert_close(scalar.total, total, name);
            }
            Histogram(family, sum, count) => {
                let total = one(body, family).family(0).unwrap().histogram().unwrap().expect(name);
                assert_close(total.sum, sum, name);
                assert_close(total.count, count, name);
            }
            Broken(family, problem) => assert_eq!(one(body, family).family(0).unwrap().scalar(), Err(problem), "{name}"),
            Absent(family) => assert!(!one(body, family).has_wanted(), "{name}"),
        }
    }
}

#[test]
fn text_that_is_no_exposition_is_counted_as_rejected() {
    assert_eq!(one(b"<html><body>404 not found</body></html>\n", "g").rejected, 1);
    assert_eq!(one(b"{\"error\": \"not found\"}\n", "g").rejected, 1);
}

fn one(body: &[u8], family: &str) -> Exposition {
    read(body, &Selection::new([family])).unwrap()
}

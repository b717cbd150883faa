use std::collections::BTreeSet;

use super::*;
use crate::fleet::histogram::Histogram;

const MODEL: &str = "meta-llama/Llama-3.1-8B-Instruct";
const FILTERED: &str = include_str!("../../../fixtures/vllm/busy_single_name_filter.prom");
const FILTERED_BUCKETS: &str = include_str!("../../../fixtures/vllm/busy_single_name_filter_buckets.prom");

fn sample(series_start: &str) -> f64 {
    RECORDED
        .lines()
        .find(|line| line.starts_with(series_start))
        .and_then(|line| line.rsplit_once(' '))
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or_else(|| panic!("{series_start} is recorded"))
}

/// The recorded server's own values, the start time apart: the recording gives the process and its series two.
fn recorded_values(template: &Template) -> Values {
    let mut values = Values::new(1_790_000_000.25, |latency| template.ladder(latency));
    values.waiting = sample("vllm:num_requests_waiting{");
    values.running = sample("vllm:num_requests_running{");
    values.kv_usage = sample("vllm:kv_cache_usage_perc{");
    values.succeeded = sample("vllm:request_success_total{engine=\"0\",finished_reason=\"stop\"");
    for latency in Latency::ALL {
        let family = latency.family();
        let bounds = template.ladder(latency);
        let mut histogram = Histogram::new(Arc::clone(&bounds));
        let mut below = 0.0;
        let buckets: Vec<f64> = RECORDED
            .lines()
            .filter(|line| line.starts_with(&format!("{family}_bucket{{")))
            .map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
            .collect();
        assert_eq!(buckets.len(), bounds.len());
        for (bound, cumulative) in bounds.iter().zip(buckets) {
            // Sums are compared apart: a bucket does not know its values.
            if bound.is_finite() {
                histogram.observe(*bound, whole(cumulative - below));
            } else {
                histogram.observe(1e9, whole(cumulative - below));
            }
            below = cumulative;
        }
        values.latencies.insert(latency, histogram);
    }
    values
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "recorded counts are small and whole"
)]
fn whole(count: f64) -> u64 {
    count as u64
}

fn sums() -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, f64> = Latency::ALL
        .iter()
        .map(|latency| format!("{}_sum", latency.family()))
        .map(|name| (name.clone(), sample(&format!("{name}{{"))))
        .collect();
    let start = "process_start_time_seconds";
    sums.insert(start.to_owned(), sample(&format!("{start} ")));
    sums
}

fn render(draw: impl Fn(&Template, View<'_>) -> String) -> String {
    let template = Template::recorded();
    let values = recorded_values(&template);
    let view = View {
        model: MODEL,
        values: &values,
        samples: &sums(),
        missing: &[],
    };
    draw(&template, view)
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

/// The families of a body, each with its HELP and TYPE, in no order.
fn families(body: &str) -> BTreeSet<String> {
    body.split("# HELP ")
        .filter(|block| !block.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_full_body_with_the_recorded_values_is_the_recorded_body() {
    let body = render(|template, view| template.full(view));
    for (ours, recorded) in body.lines().zip(RECORDED.lines()) {
        assert_eq!(ours, recorded);
    }
    assert_eq!(body, RECORDED);
}

#[test]
fn a_filtered_body_has_the_recorded_families_byte_for_byte() {
    let wanted = [
        "vllm:num_requests_waiting",
        "vllm:request_queue_time_seconds_sum",
        "vllm:request_queue_time_seconds_count",
    ];
    for reversed in [false, true] {
        let body = render(|template, view| template.filtered(view, &names(&wanted), reversed));
        assert_eq!(body.len(), FILTERED.len());
        assert_eq!(families(&body), families(FILTERED));
    }
    let with_buckets = [&wanted[..], &["vllm:request_queue_time_seconds_bucket"]].concat();
    let body = render(|template, view| template.filtered(view, &names(&with_buckets), false));
    assert_eq!(families(&body), families(FILTERED_BUCKETS));
}

#[test]
fn the_two_orders_of_a_filtered_body_differ() {
    let wanted = names(&["vllm:num_requests_waiting", "vllm:num_requests_running"]);
    let forward = render(|template, view| template.filtered(view, &wanted, false));
    let backward = render(|template, view| template.filtered(view, &wanted, true));
    assert_ne!(forward, backward);
    assert_eq!(families(&forward), families(&backward));
}

#[test]
fn a_histograms_base_name_and_unknown_names_give_nothing() {
    let asked = names(&[
        "vllm:request_queue_time_seconds",
        "vllm:no_such_metric",
        "vllm:num_requests_wait",
    ]);
    assert_eq!(render(|template, view| template.filtered(view, &asked, false)), "");
}

#[test]
fn a_name_that_is_a_prefix_of_another_selects_only_itself() {
    let asked = names(&["vllm:num_requests_waiting"]);
    let body = render(|template, view| template.filtered(view, &asked, false));
    assert_eq!(body.lines().filter(|line| !line.starts_with('#')).count(), 1);
}

#[test]
fn values_models_and_missing_families_show_in_the_body() {
    let template = Template::recorded();
    let mut values = Values::new(1.5e9, |latency| template.ladder(latency));
    values.waiting = 58.0;
    values.finished(3.0, 10.0, 2);
    let missing = names(&["vllm:kv_cache_usage_perc"]);
    let samples = BTreeMap::from([("vllm:num_preemptions_total".to_owned(), 7.0)]);
    let body = template.full(View {
        model: "phi-4-mini",
        values: &values,
        samples: &samples,
        missing: &missing,
    });
    for line in [
        "vllm:num_requests_waiting{engine=\"0\",model_name=\"phi-4-mini\"} 58.0",
        "vllm:num_requests_waiting_by_reason{engine=\"0\",model_name=\"phi-4-mini\",reason=\"capacity\"} 58.0",
        "vllm:request_queue_time_seconds_bucket{engine=\"0\",le=\"2.5\",model_name=\"phi-4-mini\"} 0.0",
        "vllm:request_queue_time_seconds_bucket{engine=\"0\",le=\"5.0\",model_name=\"phi-4-mini\"} 2.0",
        "vllm:request_queue_time_seconds_sum{engine=\"0\",model_name=\"phi-4-mini\"} 6.0",
        "vllm:num_preemptions_total{engine=\"0\",model_name=\"phi-4-mini\"} 7.0",
        "process_start_time_seconds 1.5e+09",
    ] {
        assert!(body.lines().any(|ours| ours == line), "{line} is missing");
    }
    assert!(!body.contains(MODEL));
    assert!(!body.contains("vllm:kv_cache_usage_perc "));
    assert!(!body.contains("vllm:kv_cache_usage_perc{"));
}

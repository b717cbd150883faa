//! What we know of metric families by name: which ones mean the same under vLLM v0, v1 and SGLang, and how several
//! engine series of one pod combine. It holds names only; reading them is `exposition`'s business.

/// Requests accepted and not yet scheduled.
pub const WAITING: &str = "vllm:num_requests_waiting";
/// Requests being computed.
pub const RUNNING: &str = "vllm:num_requests_running";

/// How the series of several engines in one pod become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Counts and histograms add up.
    Sum,
    /// Ratios are averaged: eight engines at 60 % are at 60 %, not at 480 %.
    Mean,
}

/// Names of one quantity, the current vLLM name first, then what older versions and SGLang call it.
const SAME_QUANTITY: [&[&str]; 7] = [
    &[WAITING, "sglang:num_queue_reqs"],
    &[RUNNING, "sglang:num_running_reqs"],
    &["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "sglang:token_usage"],
    &["vllm:request_queue_time_seconds", "sglang:queue_time_seconds"],
    &["vllm:time_to_first_token_seconds", "sglang:time_to_first_token_seconds"],
    &[
        "vllm:inter_token_latency_seconds",
        "vllm:time_per_output_token_seconds",
        "sglang:inter_token_latency_seconds",
        "sglang:time_per_output_token_seconds",
    ],
    &["vllm:e2e_request_latency_seconds", "sglang:e2e_request_latency_seconds"],
];

/// How the names of ratios end: vLLM's, SGLang's, and the usual ones.
const RATIO_ENDINGS: [&str; 8] = [
    "_perc",
    "_percent",
    "_ratio",
    "_hit_rate",
    "_acceptance_rate",
    "_efficiency",
    "_utilization",
    ":token_usage",
];

/// Other names under which a pod may expose the quantity `name` stands for, the likeliest first; empty when none is known.
pub fn aliases(name: &str) -> impl Iterator<Item = &str> {
    SAME_QUANTITY
        .iter()
        .find(|names| names.contains(&name))
        .copied()
        .unwrap_or_default()
        .iter()
        .copied()
        .filter(move |alias| *alias != name)
}

/// How `name`'s series of several engines combine.
pub fn merge(name: &str) -> Merge {
    if RATIO_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
        Merge::Mean
    } else {
        Merge::Sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renamed_metric_is_found_under_its_other_names() {
        let of = |name| aliases(name).collect::<Vec<_>>();
        assert_eq!(
            of("vllm:gpu_cache_usage_perc"),
            ["vllm:kv_cache_usage_perc", "sglang:token_usage"]
        );
        assert_eq!(of(WAITING), ["sglang:num_queue_reqs"]);
        assert!(of("my:own_metric").is_empty());
    }

    #[test]
    fn ratios_are_averaged_and_counts_are_summed() {
        assert_eq!(merge("vllm:kv_cache_usage_perc"), Merge::Mean);
        for ratio in [
            "sglang:token_usage",
            "sglang:cache_hit_rate",
            "vllm:gpu_prefix_cache_hit_rate",
            "vllm:spec_decode_draft_acceptance_rate",
            "own:busy_ratio",
        ] {
            assert_eq!(merge(ratio), Merge::Mean, "{ratio}");
        }
        for count in [WAITING, RUNNING, "sglang:num_queue_reqs", "own:request_rate"] {
            assert_eq!(merge(count), Merge::Sum, "{count}");
        }
    }

    #[test]
    fn every_name_appears_once_and_aliases_share_their_merge_rule() {
        let all: Vec<_> = SAME_QUANTITY.iter().copied().flatten().collect();
        for (index, name) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(name), "{name}");
            assert!(crate::policy::is_metric_name(name), "{name}");
            for alias in aliases(name) {
                assert_eq!(merge(name), merge(alias), "{name} {alias}");
            }
        }
    }
}

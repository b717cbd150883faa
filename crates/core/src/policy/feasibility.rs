//! What is valid and cannot work as it is written: a threshold that no server's metric passes.
//! It warns and blocks nothing; what a server really exposes is the scaler's business.

use super::complaint::{Complaint, Reason};
use super::{Combine, MetricKind, Rule};
use crate::families::{self, Merge, RUNNING, WAITING};
use crate::names;

/// The HPA goes up only beyond this part of a simple threshold.
const SIMPLE_TOLERANCE: f64 = 0.1;

/// Most that one replica's metric shows, and why.
struct Ceiling {
    most: f64,
    because: String,
}

/// Complains of thresholds above which no replica can ever be. `max_num_seqs` is how many requests one model server runs
/// at a time; it lets about as many wait and turns the others away. Zero: not known.
pub(crate) fn unreachable_thresholds(rule: &Rule, max_num_seqs: u32, complaints: &mut Vec<Complaint>) {
    match rule {
        Rule::Simple(simple) => {
            let Some(Ceiling { most, because }) = ceiling(&simple.metric_name, max_num_seqs) else {
                return;
            };
            // The HPA compares a ratio, in which ten per cent are tolerated, with the average over all replicas.
            if simple.threshold * (1.0 + SIMPLE_TOLERANCE) < most {
                return;
            }
            let problem = format!(
                "is never passed by the ten per cent that a step up takes: {} is at most {most}, since {because}; the replicas \
                 can only become fewer",
                simple.metric_name
            );
            let value = simple.threshold.to_string();
            complaints.push(Complaint::about(
                Reason::ThresholdUnreachable,
                names::THRESHOLD,
                &value,
                problem,
            ));
        }
        Rule::Policy(policy) => {
            let consequence = match policy.combine {
                Combine::And => "with AND the replicas can only become fewer",
                Combine::Or => "it never asks for a replica",
            };
            for metric in policy.metrics.iter().filter(|metric| metric.kind == MetricKind::Gauge) {
                let Some(Ceiling { most, because }) = ceiling(&metric.name, max_num_seqs) else {
                    continue;
                };
                if metric.up_threshold < most {
                    continue;
                }
                let problem = format!(
                    "has upthreshold {}, which is never passed: it is at most {most}, since {because}; {consequence}",
                    metric.up_threshold
                );
                complaints.push(Complaint::about(
                    Reason::ThresholdUnreachable,
                    names::METRICS,
                    &metric.name,
                    problem,
                ));
            }
        }
    }
}

fn ceiling(metric: &str, max_num_seqs: u32) -> Option<Ceiling> {
    if families::merge(metric) == Merge::Mean {
        return Some(Ceiling {
            most: 1.0,
            because: "it is a ratio".to_owned(),
        });
    }
    let is = |name: &str| metric == name || families::aliases(name).any(|alias| alias == metric);
    let (most, does) = if is(RUNNING) {
        (f64::from(max_num_seqs), "runs at most that many requests")
    } else if is(WAITING) {
        // KAITO turns requests away once more than max-num-seqs wait, so one more can be seen.
        (f64::from(max_num_seqs) + 1.0, "turns requests away (429) beyond that")
    } else {
        return None;
    };
    (max_num_seqs > 0).then(|| Ceiling {
        most,
        because: format!("a server with max-num-seqs {max_num_seqs} {does}"),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::unreachable_thresholds;
    use crate::policy::{Combine, MetricKind, MetricRule, Rule, ScalingPolicy, SimpleRule};

    fn said(rule: &Rule, max_num_seqs: u32) -> Vec<String> {
        let mut complaints = Vec::new();
        unreachable_thresholds(rule, max_num_seqs, &mut complaints);
        assert!(complaints.iter().all(|complaint| !complaint.reason.is_blocking()));
        complaints.iter().map(ToString::to_string).collect()
    }

    fn simple(metric_name: &str, threshold: f64) -> Rule {
        Rule::Simple(SimpleRule {
            metric_name: metric_name.to_owned(),
            threshold,
        })
    }

    fn policy(combine: Combine, kind: MetricKind, name: &str, up_threshold: f64) -> Rule {
        Rule::Policy(ScalingPolicy {
            metrics: vec![MetricRule {
                name: name.to_owned(),
                kind,
                up_threshold,
                down_threshold: 0.0,
                window: Duration::ZERO,
            }],
            combine,
            evaluation_window: Duration::from_secs(60),
            scale_up_cooldown: Duration::from_secs(300),
            scale_down_cooldown: Duration::from_secs(300),
        })
    }

    #[test]
    fn threshold_is_unreachable_once_its_step_up_lies_beyond_what_a_server_can_show() {
        for (metric, threshold, max_num_seqs, warned) in [
            ("vllm:num_requests_waiting", 10.0, 256, false),
            ("vllm:num_requests_waiting", 233.0, 256, false),
            ("vllm:num_requests_waiting", 234.0, 256, true),
            ("vllm:num_requests_waiting", 1e6, 0, false),
            ("sglang:num_queue_reqs", 300.0, 256, true),
            ("vllm:num_requests_running", 232.0, 256, false),
            ("vllm:num_requests_running", 233.0, 256, true),
            ("vllm:kv_cache_usage_perc", 0.9, 256, false),
            ("vllm:kv_cache_usage_perc", 0.91, 256, true),
            ("vllm:kv_cache_usage_perc", 80.0, 0, true),
            ("vllm:request_queue_time_seconds", 1e6, 256, false),
            ("my:own", 1e6, 256, false),
        ] {
            let said = said(&simple(metric, threshold), max_num_seqs);
            assert_eq!(!said.is_empty(), warned, "{metric} {threshold}: {said:?}");
            assert!(
                said.iter()
                    .all(|text| text.contains(&format!("{threshold:?}").replace(".0", ""))),
                "{said:?}"
            );
        }
    }

    #[test]
    fn up_threshold_has_to_lie_below_the_ceiling() {
        let gauge = |combine, name: &str, up| said(&policy(combine, MetricKind::Gauge, name, up), 256);
        assert!(gauge(Combine::And, "vllm:num_requests_waiting", 256.0).is_empty());
        assert!(gauge(Combine::And, "vllm:kv_cache_usage_perc", 0.95).is_empty());
        let and = gauge(Combine::And, "vllm:num_requests_waiting", 257.0);
        assert!(
            matches!(&and[..], [text] if text.contains("upthreshold 257") && text.contains("only become fewer")),
            "{and:?}"
        );
        let or = gauge(Combine::Or, "vllm:kv_cache_usage_perc", 1.0);
        assert!(
            matches!(&or[..], [text] if text.contains("ratio") && text.contains("never asks")),
            "{or:?}"
        );
        assert!(
            said(
                &policy(Combine::And, MetricKind::Histogram, "vllm:num_requests_waiting", 1e6),
                256
            )
            .is_empty()
        );
    }
}

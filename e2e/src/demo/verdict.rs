//! The one-screen summary and the judgement: success only if the replicas went through exactly the counts expected.

use super::acts::Act;
use super::story::Story;
use crate::programs::Usage;

/// Prints the summary; whether every act went as it should.
pub(super) fn print(story: &Story, acts: &[Act], usage: &[(&str, Usage)]) -> bool {
    story.chapter("summary");
    for act in acts {
        let counts = counts(act);
        let verdict = if counts == act.expected {
            "as it should"
        } else {
            "NOT as it should"
        };
        story.sum_up(&format!(
            "{}: replicas {} {verdict} (expected {})",
            act.title,
            joined(&counts),
            joined(&act.expected)
        ));
        let latencies: Vec<String> = act
            .latencies
            .iter()
            .map(|(what, took)| format!("{what} {:.2} s", took.as_secs_f64()))
            .collect();
        story.sum_up(&format!("  {}", latencies.join(", ")));
        for change in &act.changes {
            let at = act.begun.0.as_secs_f64() + change.at.duration_since(act.begun.1).as_secs_f64();
            let cause = change.cause.as_deref().unwrap_or("no Event of the HPA was seen");
            story.sum_up(&format!("  {at:>6.1}s  {} -> {}  {}", change.from, change.to, brief(cause)));
        }
    }
    for (program, usage) in usage {
        story.sum_up(&format!(
            "{program}: {:.1} MiB resident, {:.2} s of processor time",
            usage.rss_mib,
            usage.cpu_seconds()
        ));
    }
    let succeeded = acts.iter().all(|act| counts(act) == act.expected);
    let took = story.elapsed().as_secs_f64();
    story.sum_up(&format!(
        "\n{} after {took:.0} s",
        if succeeded {
            "the replicas moved as they should,"
        } else {
            "FAILED:"
        }
    ));
    succeeded
}

/// Every count `spec.replicas` had, the first included.
fn counts(act: &Act) -> Vec<i64> {
    let first = act.changes.first().map(|change| change.from);
    first.into_iter().chain(act.changes.iter().map(|change| change.to)).collect()
}

fn joined(counts: &[i64]) -> String {
    let words: Vec<String> = counts.iter().map(i64::to_string).collect();
    words.join(" -> ")
}

/// The HPA's words without the selector it repeats every time.
fn brief(cause: &str) -> String {
    match (cause.find("(&LabelSelector"), cause.rfind(") ")) {
        (Some(begin), Some(end)) if begin < end => {
            let (head, _) = cause.split_at(begin);
            let (_, tail) = cause.split_at(end + 1);
            format!("{head}{tail}")
        }
        _ => cause.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::brief;

    #[test]
    fn the_selector_is_left_out_of_a_cause() {
        let cause = "New size: 2; reason: external metric s0-vllm:num_requests_waiting(&LabelSelector{MatchLabels:map[string]string{a: b,},}) above target";
        assert_eq!(
            brief(cause),
            "New size: 2; reason: external metric s0-vllm:num_requests_waiting above target"
        );
        assert_eq!(
            brief("New size: 1; reason: All metrics below target"),
            "New size: 1; reason: All metrics below target"
        );
    }
}

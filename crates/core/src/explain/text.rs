//! An explanation for a terminal of 80 columns or more. Names and sentences come from tenants: control characters are not
//! passed on.

mod plot;

use std::fmt::Write;

use jiff::Timestamp;

use super::{Explanation, Overview, TriggerStory};
use crate::history::Lean;
use crate::journal::{Entry, Move, Part};
use crate::legible::printable;
use crate::record::{Answer, Clamp, MetricRecord};

/// Most replicas of the current decision that are listed.
const MOST_REPLICAS: usize = 40;

/// The whole page.
pub fn page(explanation: &Explanation) -> String {
    let mut page = Page(String::new());
    let Explanation {
        namespace,
        name,
        at,
        told_by,
        spec_replicas,
        status_replicas,
        triggers,
    } = explanation;
    page.line(format_args!("{namespace}/{name} at {}, as {told_by} knows it", second(*at)));
    match (spec_replicas, status_replicas) {
        (Some(spec), Some(status)) => page.entry("replicas", format_args!("{spec} ordered, {status} counted by KAITO")),
        _ => page.entry("replicas", format_args!("there is no such InferenceSet")),
    }
    if triggers.is_empty() {
        page.entry("triggers", format_args!("no ScaledObject asks us about it"));
    }
    for story in triggers {
        page.story(story, *at);
    }
    page.0
}

/// All InferenceSets, a line each.
pub fn table(overview: &Overview) -> String {
    let mut page = Page(String::new());
    let title = |name: &str| format!("{name:<48}");
    page.line(format_args!(
        "{} {:>8} {:>6}  why",
        title("inferenceset"),
        "replicas",
        "wanted"
    ));
    let number = |count: Option<u32>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
    for line in &overview.inference_sets {
        page.line(format_args!(
            "{} {:>8} {:>6}  {}",
            title(&format!("{}/{}", line.namespace, line.name)),
            number(line.spec_replicas),
            number(line.desired),
            line.reason.as_deref().unwrap_or("no decision yet"),
        ));
    }
    if overview.more > 0 {
        page.line(format_args!("and {} more", overview.more));
    }
    page.0
}

struct Page(String);

impl Page {
    fn story(&mut self, story: &TriggerStory, now: Timestamp) {
        let TriggerStory {
            scaled_object,
            aggregation,
            metric,
            ..
        } = story;
        self.line(format_args!(""));
        self.entry(
            "trigger",
            format_args!("{aggregation} of ScaledObject {scaled_object}, metric {metric}"),
        );
        self.entry(
            "bounds",
            format_args!("{} to {} replicas", story.min_replicas, story.max_replicas),
        );
        match &story.current {
            Some(current) => self.current(story, current, now),
            None => self.entry("now", format_args!("no decision can be made")),
        }
        match &story.last_call {
            Some(call) => {
                let (told, ago) = (answer(&call.answer), ago(call.at, now));
                let id = call.id.map_or_else(String::new, |id| format!(", decision {id}"));
                self.entry("keda", format_args!("was told {told} {ago}{id}; {} calls so far", call.calls));
            }
            None => self.entry("keda", format_args!("has not asked this replica of the scaler")),
        }
        self.plots(story);
        if !story.decisions.is_empty() {
            self.entry("decisions", format_args!("newest first"));
        }
        let newer = std::iter::once(None).chain(story.decisions.iter().map(Some));
        for (decision, newer) in story.decisions.iter().zip(newer) {
            self.decision(decision, newer, now);
        }
    }

    fn current(&mut self, story: &TriggerStory, current: &Entry<Timestamp>, now: Timestamp) {
        self.entry("now", format_args!("{}", verdict(current)));
        let same = story.decisions.iter().take_while(|one| goes_on(one, current));
        if let Some(first) = same.last() {
            let window = match first.wish() {
                Lean::Up => story.up_window_seconds,
                Lean::Down | Lean::Hold => story.down_window_seconds,
            };
            let since = ago(first.since, now);
            self.entry(
                "",
                format_args!("wanted first {since}; the HPA's window is {window} s, then its policies apply"),
            );
        }
        for clamp in &current.clamps {
            self.entry("held by", format_args!("{}", clamp_meaning(*clamp)));
        }
        for (record, threshold) in current.metrics.iter().zip(&story.thresholds) {
            let (low, high) = (record.low, record.high);
            let compared = |value: Option<f64>| value.map(|value| threshold.compared(value, current.spec_replicas));
            let limits = match threshold.down {
                Some(down) => format!("up above {}, down below {}", short(threshold.up), short(down)),
                None => format!("target {}", short(threshold.up)),
            };
            let per = if threshold.shared { "per replica " } else { "" };
            let range = range(compared(low), compared(high));
            self.entry(
                "metric",
                format_args!("{}: {per}{range}; {limits}{}", record.name, votes(record)),
            );
        }
        for part in current.replicas.iter().take(MOST_REPLICAS) {
            self.entry("replica", format_args!("{}", replica(part)));
        }
        let more = current.replicas.len().saturating_sub(MOST_REPLICAS);
        let more = u32::try_from(more).unwrap_or(u32::MAX).saturating_add(current.more_replicas);
        if more > 0 {
            self.entry("", format_args!("and {more} more"));
        }
        if current.unborn_pending + current.unborn_lost > 0 {
            let (pending, lost) = (current.unborn_pending, current.unborn_lost);
            self.entry("", format_args!("without a Workspace: {pending} awaited, {lost} given up"));
        }
    }

    fn decision(&mut self, decision: &Entry<Timestamp>, newer: Option<&Entry<Timestamp>>, now: Timestamp) {
        let times = if decision.count > 1 {
            format!(", {} times until {}", decision.count, clock(decision.until))
        } else {
            String::new()
        };
        let since = second(decision.since);
        self.line(format_args!("  {since}  {}  {}{times}", decision.id, verdict(decision)));
        for clamp in &decision.clamps {
            self.line(format_args!("    held by: {}", clamp_meaning(*clamp)));
        }
        let told = answer(decision.latest_answer());
        let times = if decision.calls == 1 {
            "once".to_owned()
        } else {
            format!("{} times", decision.calls)
        };
        self.line(format_args!("    answer {told}, given to KEDA {times}"));
        for step in &decision.moves {
            self.line(format_args!("    {}", outcome(decision, step)));
        }
        let is_over = newer.map_or_else(|| ago_seconds(decision.until, now) > 60, |newer| !goes_on(decision, newer));
        if decision.moves.is_empty() && decision.wish() != Lean::Hold && is_over {
            self.line(format_args!("    called off before spec.replicas changed"));
        }
    }

    fn entry(&mut self, name: &str, what: std::fmt::Arguments<'_>) {
        self.line(format_args!("{name:<10} {what}"));
    }

    fn line(&mut self, what: std::fmt::Arguments<'_>) {
        let begin = self.0.len();
        // A String takes everything.
        let written = self.0.write_fmt(what);
        debug_assert!(written.is_ok(), "a String takes everything");
        let clean: String = self.0.split_off(begin).chars().map(printable).collect();
        self.0.push_str(clean.trim_end());
        self.0.push('\n');
    }
}

/// Whether what `decision` wishes, and has not got, is what `newer` wishes still.
fn goes_on(decision: &Entry<Timestamp>, newer: &Entry<Timestamp>) -> bool {
    let wish = decision.wish();
    wish != Lean::Hold && decision.moves.is_empty() && (wish, decision.spec_replicas) == (newer.wish(), newer.spec_replicas)
}

fn verdict(decision: &Entry<Timestamp>) -> String {
    let last = decision
        .last_desired
        .map_or_else(String::new, |last| format!(" ({last} at last)"));
    let wish = match (decision.wish(), decision.desired) {
        (Lean::Up | Lean::Down, Some(desired)) => {
            format!("wants {desired} replicas{last} instead of {}", decision.spec_replicas)
        }
        (Lean::Hold, Some(desired)) if matches!(decision.answer, Answer::Value(_)) => format!("keeps {desired} replicas"),
        _ => "wants no count".to_owned(),
    };
    format!("{wish}: {}", decision.reason)
}

/// What was seen to happen, and whether it is what was wanted.
pub(super) fn outcome(decision: &Entry<Timestamp>, step: &Move<Timestamp>) -> String {
    let after = ago_seconds(decision.since, step.at);
    let wanted = if decision.wish() == step.direction() {
        "as wanted"
    } else {
        "which this trigger did not ask for"
    };
    let (from, to) = (step.from, step.to);
    format!(
        "spec.replicas went from {from} to {to} at {}, after {after} s, {wanted}",
        clock(step.at)
    )
}

fn answer(answer: &Answer) -> String {
    match answer {
        Answer::Value(value) => short(*value),
        Answer::Unavailable(why) => format!("nothing ({why})"),
    }
}

fn votes(record: &MetricRecord) -> String {
    let lean = match record.lean {
        Lean::Up => ", points up",
        Lean::Down => ", points down",
        Lean::Hold => "",
    };
    let note = record.note.as_ref().map_or_else(String::new, |note| format!(" ({note})"));
    format!("{lean}{note}")
}

fn range(low: Option<f64>, high: Option<f64>) -> String {
    match (low, high) {
        (None, _) => "not known".to_owned(),
        (Some(low), None) => format!("{} or more", short(low)),
        (Some(low), Some(high)) if short(low) == short(high) => short(low),
        (Some(low), Some(high)) => format!("{} to {}", short(low), short(high)),
    }
}

fn replica(part: &Part) -> String {
    let value = |value: &Option<f64>| value.map_or_else(|| "?".to_owned(), short);
    let values: Vec<_> = part.values.iter().map(value).collect();
    let heard = part.sample_seconds.map_or_else(
        || "never heard".to_owned(),
        |age| format!("heard {} s ago", short(age.into())),
    );
    let since = part
        .state_seconds
        .map_or_else(String::new, |seconds| format!(" for {} s", short(seconds.into())));
    let values = if values.is_empty() {
        String::new()
    } else {
        format!(", has {}", values.join(", "))
    };
    format!("{} {}{since}, {heard}{values}", part.workspace, part.state.word())
}

fn clamp_meaning(clamp: Clamp) -> &'static str {
    match clamp {
        Clamp::MinReplicas => "the fewest replicas allowed",
        Clamp::MaxReplicas => "the most replicas allowed",
        Clamp::Window => "our own samples do not cover the window yet",
        Clamp::FreshProcess => "this scaler is younger than the longest window",
        Clamp::NewCapacity => "a replica that has never served is on its way",
        Clamp::Unknown => "a silent or pending replica forbids a move down",
        Clamp::StatusLags => "the HPA would move another way once status.replicas has caught up",
        Clamp::Cooldown => "the HPA's policies: the last step this way was too recent for another",
        Clamp::Tolerance => "the HPA's tolerance: the value is too near the target to move for",
        Clamp::Beyond => "the HPA's tolerance: no value makes it return the wanted count, so the next one beyond is told",
    }
}

/// Three decimals at most.
pub(super) fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn second(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

/// The time of day.
pub(super) fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

fn ago(at: Timestamp, now: Timestamp) -> String {
    format!("{} s ago", ago_seconds(at, now))
}

fn ago_seconds(at: Timestamp, now: Timestamp) -> i64 {
    now.duration_since(at).as_secs().max(0)
}

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::families::WAITING;
use crate::fixture::{Bed, NOW, gauge, policy, sum};
use crate::journal::{Journal, Limits, Occasion};
use crate::moment::Moment;
use crate::policy::Combine;
use crate::record::decide;

fn wall(moment: Moment) -> Timestamp {
    let start: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
    start + SignedDuration::from_millis(moment.millis() - NOW.millis())
}

/// What rounds 15 s apart left behind; the count follows every wish, one round later.
fn story(beds: Vec<Bed>) -> TriggerStory {
    told(beds, true)
}

/// The same, where the count may stay as it is.
fn told(beds: Vec<Bed>, follows: bool) -> TriggerStory {
    let limits = Limits {
        entries: 50,
        bytes: 1 << 20,
    };
    let mut journal = Journal::new(DecisionId::new(0x00f0_67aa_0ba9_02b6).unwrap());
    let trigger = beds[0].input.trigger.clone().into_owned();
    let mut current = None;
    let mut now = NOW;
    for bed in beds {
        let record = decide(&bed.input);
        let mut input = bed.input;
        input.now = now;
        journal.note(&input, &record, Occasion::Round, limits);
        journal.note(&input, &record, Occasion::Call, limits);
        current = Some(Entry::new(journal.latest(), &input, &record, 500).told(wall));
        let spec = input.scale.spec_replicas;
        if let Some(desired) = record.desired.filter(|desired| follows && *desired != spec) {
            journal.moved(now.plus(Duration::from_secs(5)), spec, desired);
        }
        now = now.plus(Duration::from_secs(15));
    }
    let latest = current.as_ref().unwrap();
    TriggerStory {
        scaled_object: "phi".to_owned(),
        aggregation: "sum".to_owned(),
        metric: trigger.metric_name().to_owned(),
        target: trigger.target(),
        thresholds: Threshold::of(&trigger),
        min_replicas: 1,
        max_replicas: 10,
        up_window_seconds: 60,
        down_window_seconds: 300,
        last_call: Some(Call {
            at: latest.until,
            answer: latest.answer.clone(),
            id: Some(journal.latest()),
            calls: 5,
        }),
        current,
        decisions: journal.entries().rev().map(|entry| entry.told(wall)).collect(),
        timeline: journal.points().map(|point| point.told(wall)).collect(),
    }
}

fn explained(story: TriggerStory) -> Explanation {
    let current = story.current.as_ref().unwrap();
    Explanation {
        namespace: "ns".to_owned(),
        name: "phi".to_owned(),
        at: current.since + SignedDuration::from_secs(4),
        told_by: "scaler-0".to_owned(),
        spec_replicas: Some(current.spec_replicas),
        status_replicas: Some(current.status_replicas),
        triggers: vec![story],
    }
}

fn fleet(spec: u32, each: f64) -> Bed {
    (0..spec).fold(Bed::new(sum(10.0), spec), |bed, _| bed.serving(each))
}

fn scale_up() -> Explanation {
    explained(story(vec![
        fleet(1, 4.0),
        fleet(1, 6.0),
        fleet(1, 25.0),
        fleet(3, 9.0).status(1),
        fleet(3, 8.0),
    ]))
}

#[test]
fn scale_up_reads_as_a_person_would_tell_it() {
    insta::assert_snapshot!(text::page(&scale_up()));
}

#[test]
fn policy_shows_both_thresholds_and_who_blocks() {
    let rules = || policy(vec![gauge(WAITING, 10.0, 4.0)], Combine::And);
    let calm = Bed::new(rules(), 2).serving(3.0).silent(60);
    let pending = Bed::new(rules(), 2).serving(30.0).pending(60);
    insta::assert_snapshot!(text::page(&explained(story(vec![calm, pending]))));
}

#[test]
fn wish_that_goes_on_is_not_called_off_and_counts_from_its_first_decision() {
    let wishes = || vec![fleet(2, 15.0), fleet(2, 15.0).bounds(2, 10), fleet(2, 15.0).bounds(1, 9)];
    let lasting = text::page(&explained(told(wishes(), false)));
    assert!(!lasting.contains("called off"), "{lasting}");
    assert!(lasting.contains("wanted first 34 s ago"), "{lasting}");
    let beds = wishes().into_iter().chain([fleet(2, 9.0)]).collect();
    let over = text::page(&explained(told(beds, false)));
    assert_eq!(over.matches("called off").count(), 1, "{over}");
}

#[test]
fn what_was_not_known_is_drawn_as_such() {
    let known = story(vec![fleet(1, 4.0), fleet(1, 6.0), fleet(1, 5.0)]);
    let mut abstains = known.clone();
    abstains.timeline[1].bands[0].low = None;
    let mut silence = known.clone();
    silence.timeline[2].until += SignedDuration::from_secs(3000);
    silence.timeline[2].since = silence.timeline[2].until;
    for (what, story, unknown) in [
        ("all", known, false),
        ("a value", abstains, true),
        ("nothing for long", silence, true),
    ] {
        let told = explained(story);
        assert_eq!(text::page(&told).contains('?'), unknown, "{what}: {}", text::page(&told));
        assert_eq!(svg::picture(&told).contains("not known"), unknown, "{what}");
    }
}

#[test]
fn explanation_reads_back_as_it_was_written() {
    let told = scale_up();
    let text = serde_json::to_string_pretty(&told).unwrap();
    assert_eq!(serde_json::from_str::<Explanation>(&text).unwrap(), told);
    insta::assert_snapshot!(text);
}

#[test]
fn picture_holds_every_threshold_and_loads_nothing() {
    let picture = svg::picture(&scale_up());
    for part in [
        "ns/phi",
        "vllm:num_requests_waiting per replica",
        "up 10",
        "replicas:",
        "12:00:00",
        "12:01:00",
    ] {
        assert!(picture.contains(part), "{part} is missing");
    }
    for loads in ["href", "script", "url(", "@import"] {
        assert!(!picture.contains(loads), "{loads}");
    }
}

#[test]
fn nothing_a_tenant_wrote_is_markup_or_moves_the_cursor() {
    let mut told = scale_up();
    let hostile = "<script>\u{1b}[2J&\"'\u{202e}\n";
    told.name = hostile.to_owned();
    told.triggers[0].thresholds[0].metric = hostile.to_owned();
    told.triggers[0].scaled_object = hostile.to_owned();
    told.triggers[0].decisions[0].reason = hostile.into();
    let picture = svg::picture(&told);
    assert!(!picture.contains("<script") && !picture.contains('\u{1b}') && picture.contains("&lt;script&gt;"));
    let text = text::page(&told);
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'));
    assert_eq!(
        text.lines().count(),
        text::page(&scale_up()).lines().count(),
        "no line is added"
    );
}

#[test]
fn nothing_recorded_is_said_too() {
    let mut told = scale_up();
    told.triggers[0].decisions.clear();
    told.triggers[0].timeline.clear();
    told.triggers[0].current = None;
    told.triggers[0].last_call = None;
    let text = text::page(&told);
    assert!(
        text.contains("no decision can be made") && text.contains("has not asked"),
        "{text}"
    );
    assert!(svg::picture(&told).contains("nothing was recorded yet"));
    told.triggers.clear();
    told.spec_replicas = None;
    let text = text::page(&told);
    assert!(
        text.contains("no such InferenceSet") && text.contains("no ScaledObject asks"),
        "{text}"
    );
}

#[test]
fn table_has_a_line_for_each_and_counts_the_rest() {
    let line = Line {
        namespace: "ns".to_owned(),
        name: "phi".to_owned(),
        spec_replicas: Some(2),
        status_replicas: Some(2),
        desired: Some(3),
        lean: Some(Lean::Up),
        reason: Some("busy".to_owned()),
        id: None,
        moved: None,
    };
    let fresh = Line {
        name: "llama".to_owned(),
        spec_replicas: None,
        desired: None,
        reason: None,
        ..line.clone()
    };
    let table = text::table(&Overview {
        at: wall(NOW),
        told_by: "scaler-0".to_owned(),
        inference_sets: vec![line, fresh],
        more: 7,
    });
    let lines: Vec<_> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(lines[1..], ["ns/phi 2 3 busy", "ns/llama - - no decision yet", "and 7 more"]);
}

#[test]
fn every_field_is_documented() {
    fn fields(value: &serde_json::Value, known: &mut std::collections::BTreeSet<String>) {
        for (key, value) in value.as_object().into_iter().flatten() {
            known.insert(key.clone());
            fields(value, known);
        }
        for value in value.as_array().into_iter().flatten() {
            fields(value, known);
        }
    }
    let mut known = std::collections::BTreeSet::new();
    fields(&serde_json::to_value(scale_up()).unwrap(), &mut known);
    assert!(known.len() > 40, "{known:?}");
    let document = include_str!("../../../../docs/explain.md");
    let missing: Vec<_> = known
        .iter()
        .filter(|field| !document.contains(&format!("`{field}`")))
        .collect();
    assert!(missing.iter().all(|field| *field == "value"), "{missing:?}");
}

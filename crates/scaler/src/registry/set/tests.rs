use keda_kaito_core::record::{Answer, WarningReason};
use keda_kaito_core::window::Reading;
use serde_json::json;

use super::*;
use crate::scrape::Form;

mod bed;

use bed::{Bed, objects, plain, pod_of, policy_of_sixteen, trigger, workspace};

#[test]
fn samples_of_every_replica_become_the_answer() {
    let mut bed = Bed::new();
    bed.refresh(plain(2, &[("phi-a", "p1"), ("phi-b", "p2")]));
    bed.seconds = 10;
    bed.scrape(10.25);
    assert_eq!(bed.answer(), Answer::Value(20.5));
    assert_eq!(bed.state.fresh(&bed.timing, bed.now()), 2);
    bed.seconds = 60;
    assert_eq!(bed.state.fresh(&bed.timing, bed.now()), 0);
}

#[test]
fn a_workspace_of_another_owner_is_no_replica() {
    let mut bed = Bed::new();
    let mut objects = plain(1, &[("phi-a", "p1")]);
    objects
        .workspaces
        .push((workspace("phi-x", "somebody else"), Some(pod_of("phi-x", "p9"))));
    bed.refresh(objects);
    assert_eq!(bed.state.scrapeable().count(), 1);
}

#[test]
fn job_says_where_and_what_to_ask() {
    let mut bed = Bed::new();
    bed.refresh(plain(1, &[("phi-a", "p1")]));
    let id = bed.state.scrapeable().next().unwrap();
    let job = bed.state.job(id, bed.now()).unwrap();
    assert_eq!(job.address.port(), 5000, "80 is the Service's port");
    assert_eq!((job.pod_name.as_str(), job.pod_uid.as_str()), ("phi-a-0", "p1"));
    assert_eq!(job.form, None);
    bed.seconds = 1;
    bed.finish(&job, &Reading::Gauge(1.0));
    assert_eq!(bed.state.job(id, bed.now()).unwrap().form, Some(Form::Filtered));
}

#[test]
fn sample_of_a_pod_that_was_replaced_meanwhile_is_dropped_and_the_form_forgotten() {
    let mut bed = Bed::new();
    bed.refresh(plain(1, &[("phi-a", "p1")]));
    let id = bed.state.scrapeable().next().unwrap();
    let job = bed.state.job(id, bed.now()).unwrap();
    bed.seconds = 1;
    bed.finish(&job, &Reading::Gauge(9.0));
    let job = bed.state.job(id, bed.now()).unwrap();
    bed.seconds = 2;
    bed.refresh(plain(1, &[("phi-a", "p2")]));
    bed.seconds = 3;
    bed.finish(&job, &Reading::Gauge(500.0));
    let next = bed.state.job(id, bed.now()).unwrap();
    assert_eq!((next.form, next.pod_uid.as_str()), (None, "p2"));
    bed.finish(&next, &Reading::Gauge(2.0));
    assert_eq!(bed.answer(), Answer::Value(2.0));
}

#[test]
fn inference_set_recreated_under_its_name_shares_nothing() {
    let mut bed = Bed::new();
    bed.refresh(plain(1, &[("phi-a", "p1")]));
    bed.seconds = 1;
    bed.scrape(9.0);
    let before: Vec<_> = bed.state.scrapeable().collect();
    bed.refresh(objects("u2", 1, &[trigger(&json!({}))], &[("phi-a", "p1")]));
    assert!(bed.state.scrapeable().all(|id| !before.contains(&id)));
    assert_eq!(bed.state.fresh(&bed.timing, bed.now()), 0);
}

#[test]
fn triggers_of_one_endpoint_share_its_page_and_its_samples() {
    let mut bed = Bed::new();
    let queue =
        json!({"metricName": "vllm:request_queue_time_seconds", "aggregation": "windowed-avg", "metricCacheWindow": "60"});
    let both = [trigger(&json!({})), trigger(&queue)];
    bed.refresh(objects("u1", 1, &both[..1], &[("phi-a", "p1")]));
    bed.seconds = 1;
    bed.scrape(3.0);
    bed.refresh(objects("u1", 1, &both, &[("phi-a", "p1")]));
    assert_eq!(bed.state.scrapeable().count(), 1);
    let id = bed.state.scrapeable().next().unwrap();
    let job = bed.state.job(id, bed.now()).unwrap();
    let wanted: Vec<_> = job.page.wanted.iter().map(|wanted| wanted.metric.as_str()).collect();
    assert_eq!(
        wanted,
        [
            "vllm:num_requests_waiting",
            "vllm:num_requests_running",
            "vllm:request_queue_time_seconds"
        ]
    );
    assert_eq!(bed.answer(), Answer::Value(3.0), "what was known before stays known");
}

#[test]
fn every_endpoint_is_a_target_and_more_than_four_are_too_many() {
    let mut bed = Bed::new();
    let ports = ["80", "443", "8000"].map(|port| trigger(&json!({"metricPort": port})));
    let paths = ["/a", "/b"].map(|path| trigger(&json!({"metricPath": path})));
    let triggers = [&ports[..], &paths[..]].concat();
    bed.refresh(objects("u1", 1, &triggers, &[("phi-a", "p1")]));
    assert_eq!(bed.state.triggers.len(), 5);
    assert_eq!(bed.state.scrapeable().count(), MAX_ENDPOINTS);
    let inputs = bed
        .state
        .triggers
        .iter()
        .map(|trigger| bed.state.input(trigger, &bed.timing, bed.now()).is_some());
    assert_eq!(inputs.collect::<Vec<_>>(), [true, true, true, true, false]);
}

#[test]
fn triggers_and_metrics_of_one_inference_set_are_limited() {
    let mut bed = Bed::new();
    let triggers: Vec<_> = (0..40)
        .map(|index| trigger(&json!({"threshold": format!("{}", 10 + index)})))
        .collect();
    bed.refresh(objects("u1", 1, &triggers[..MAX_TRIGGERS], &[("phi-a", "p1")]));
    assert!(!bed.state.too_many_triggers);
    bed.refresh(objects("u1", 1, &triggers, &[("phi-a", "p1")]));
    assert!(bed.state.too_many_triggers);
    assert_eq!(bed.state.triggers.len(), MAX_TRIGGERS);

    let triggers: Vec<_> = (0..5).map(policy_of_sixteen).collect();
    bed.refresh(objects("u1", 1, &triggers, &[("phi-a", "p1")]));
    let answered = |trigger: &TriggerState| bed.state.input(trigger, &bed.timing, bed.now()).is_some();
    let answered: Vec<_> = bed.state.triggers.iter().map(answered).collect();
    assert_eq!(
        answered,
        [true, true, true, false, false],
        "16 each, and the two that are always read"
    );
    let id = bed.state.scrapeable().next().unwrap();
    let job = bed.state.job(id, bed.now()).unwrap();
    assert_eq!(job.page.wanted.len(), 3 * 16 + 2);
}

#[test]
fn endpoint_that_stays_keeps_its_samples_when_another_goes() {
    let mut bed = Bed::new();
    let triggers = [trigger(&json!({"metricPort": "8000"})), trigger(&json!({}))];
    bed.refresh(objects("u1", 1, &triggers, &[("phi-a", "p1")]));
    bed.seconds = 1;
    bed.scrape(6.0);
    bed.refresh(objects("u1", 1, &triggers[1..], &[("phi-a", "p1")]));
    assert_eq!(bed.answer(), Answer::Value(6.0));
}

#[test]
fn trigger_that_asks_the_same_keeps_its_history_and_another_starts_anew() {
    let mut bed = Bed::new();
    bed.refresh(plain(2, &[("phi-a", "p1"), ("phi-b", "p2")]));
    for round in 1..=25 {
        bed.seconds = round * 15;
        bed.scrape(0.0);
        bed.end_round();
    }
    let supported = bed.answer();
    bed.refresh(objects(
        "u1",
        2,
        &[trigger(&json!({"credentialEpoch": "2"}))],
        &[("phi-a", "p1"), ("phi-b", "p2")],
    ));
    assert_eq!(bed.answer(), supported, "a new epoch is no new question");
    bed.refresh(objects(
        "u1",
        2,
        &[trigger(&json!({"threshold": "11"}))],
        &[("phi-a", "p1"), ("phi-b", "p2")],
    ));
    assert_ne!(bed.answer(), supported, "a new threshold is one");
}

#[test]
fn rounds_while_replica_counts_are_unconfirmed_are_no_part_of_a_window() {
    let answer = |confirmed: fn(i64) -> Option<Duration>| {
        let mut bed = Bed::new();
        bed.refresh(plain(2, &[("phi-a", "p1"), ("phi-b", "p2")]));
        for round in 1..=25 {
            bed.seconds = round * 15;
            bed.scrape(if round == 25 { 0.0 } else { 10.0 });
            bed.state.end_round(&bed.timing, confirmed(round), bed.now());
        }
        bed.answer()
    };
    assert_eq!(answer(|_| Some(Duration::from_secs(150))), Answer::Value(0.0));
    for unconfirmed in [None, Some(Duration::from_secs(151))] {
        let held = match unconfirmed {
            None => answer(|round| (round != 20).then_some(Duration::ZERO)),
            Some(_) => answer(|round| Some(Duration::from_secs(if round == 20 { 151 } else { 0 }))),
        };
        assert_ne!(
            held,
            Answer::Value(0.0),
            "{unconfirmed:?}: the HPA was told nothing in that round"
        );
    }
}

#[test]
fn missing_metric_is_looked_for_on_the_whole_page_once_and_its_hint_stays() {
    let mut bed = Bed::new();
    let objects = || {
        let missing = trigger(&json!({"metricName": "vllm:queue_size"}));
        objects("u1", 1, &[missing], &[("phi-a", "p1")])
    };
    bed.refresh(objects());
    let id = bed.state.scrapeable().next().unwrap();
    let take = |bed: &mut Bed, nearest: Option<&str>| {
        bed.seconds += 15;
        let job = bed.state.job(id, bed.now()).unwrap();
        let absent = Reading::Absent {
            nearest: nearest.map(Into::into),
        };
        let readings = vec![absent, Reading::Gauge(1.0), Reading::Gauge(1.0)];
        let sample = Sample {
            readings,
            form: Some(if job.for_hint { Form::Full } else { Form::Filtered }),
            rejected: 0,
            at: bed.now(),
        };
        let asked = (job.form, job.for_hint);
        bed.state.finish(&job, Ok(sample), bed.now());
        asked
    };
    assert_eq!(take(&mut bed, None), (None, false));
    assert_eq!(take(&mut bed, Some("vllm:num_requests_waiting")), (Some(Form::Full), true));
    assert_eq!(take(&mut bed, None), (Some(Form::Filtered), false));
    let decisions = bed.end_round();
    let warning = decisions[0]
        .record
        .warnings
        .iter()
        .find(|warning| warning.reason == WarningReason::MetricNotFound);
    let message = &warning.unwrap().message;
    assert!(message.contains("vllm:num_requests_waiting"), "{message}");
}

#[test]
fn target_that_is_not_asked_says_why() {
    let mut bed = Bed::new();
    bed.refresh(plain(1, &[("phi-a", "p1")]));
    let id = bed.state.scrapeable().next().unwrap();
    bed.state.refuse(id, "not scraped: the limit is reached", bed.now());
    let failure = bed.state.replicas["phi-a"].targets[0].series.failure().unwrap();
    assert_eq!(&*failure.reason, "not scraped: the limit is reached");
}

#[test]
fn without_the_inference_set_there_is_nothing_to_decide() {
    let mut bed = Bed::new();
    let mut objects = plain(1, &[("phi-a", "p1")]);
    objects.object = None;
    bed.refresh(objects);
    assert!(bed.state.object.is_none());
    assert!(bed.end_round().is_empty());
    assert_eq!(bed.state.scrapeable().count(), 0);
}

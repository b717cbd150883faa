use super::*;
use crate::families::WAITING;
use crate::fixture::{Bed, NOW, ago, gauge, policy, sum};
use crate::policy::{Combine, MetricKind};
use crate::situation::Situation;
use crate::window::{Reading, Segment};

fn classes(bed: &Bed) -> Vec<Class> {
    Situation::of(&bed.input)
        .fleet
        .members
        .iter()
        .map(|member| member.class)
        .collect()
}

fn one() -> Bed {
    Bed::new(sum(10.0), 1)
}

#[test]
fn ready_replica_with_a_fresh_sample_serves() {
    assert_eq!(classes(&one().serving(3.0)), [Class::Serving]);
}

#[test]
fn one_failed_scrape_does_not_make_a_replica_missing() {
    for (age, serves) in [(33, true), (34, false)] {
        let silent = one().silent(age);
        let expected = if serves {
            Class::Serving
        } else {
            Class::Silent { since: ago(age) }
        };
        assert_eq!(classes(&silent), [expected], "{age}");
    }
}

#[test]
fn ready_replica_without_any_sample_is_silent_from_when_it_became_ready() {
    let mut bed = one().pending(500);
    bed.last().ready_since = Some(ago(20));
    assert_eq!(classes(&bed), [Class::Silent { since: ago(20) }]);
}

#[test]
fn sample_of_an_earlier_ready_period_is_not_fresh() {
    let mut bed = one().serving(3.0);
    bed.last().ready_since = Some(ago(2));
    assert_eq!(classes(&bed), [Class::Silent { since: ago(2) }]);
}

#[test]
fn replica_that_is_not_ready_is_pending_from_the_latest_sign_of_life() {
    let pending = |since, served| Class::Pending {
        since,
        served,
        answering: false,
    };
    let mut bed = one().pending(500);
    assert_eq!(classes(&bed), [pending(ago(500), false)]);
    bed.last().lost_ready = Some(ago(400));
    assert_eq!(classes(&bed), [pending(ago(400), true)]);
    let mut served = one().serving(3.0);
    served.last().ready_since = None;
    assert_eq!(classes(&served), [pending(ago(5), true)]);
    bed.input.timing.process_started = ago(100);
    assert_eq!(classes(&bed), [pending(ago(100), true)]);
}

#[test]
fn replica_that_answers_without_the_wanted_metric_is_pending() {
    let expected = Class::Pending {
        since: ago(5),
        served: false,
        answering: true,
    };
    assert_eq!(classes(&one().without_metrics()), [expected]);
}

#[test]
fn replica_with_one_of_two_wanted_metrics_serves() {
    let trigger = policy(
        vec![gauge(WAITING, 10.0, 1.0), gauge("vllm:kv_cache_usage_perc", 0.8, 0.2)],
        Combine::And,
    );
    let half = Bed::new(trigger, 1).replica(|metric, _| match metric {
        WAITING => Reading::Gauge(1.0),
        _ => Reading::Absent { nearest: None },
    });
    assert_eq!(classes(&half), [Class::Serving]);
}

#[test]
fn value_that_cannot_be_believed_is_no_sample() {
    for value in [f64::NAN, f64::INFINITY, -1.0] {
        let bed = one().serving(value);
        assert_eq!(classes(&bed), [Class::Silent { since: ago(5) }], "{value}");
    }
}

#[test]
fn replica_pending_past_its_deadline_is_lost() {
    for (age, lost) in [(1800, false), (1801, true)] {
        let mut bed = one().pending(age);
        bed.input.timing.process_started = ago(10_000);
        let class = classes(&bed)[0];
        assert_eq!(matches!(class, Class::Lost { .. }), lost, "{age}: {class:?}");
    }
}

#[test]
fn replica_silent_for_long_is_not_given_up_with_its_first_answer() {
    let mut bed = one().serving(3.0);
    bed.input.timing.process_started = ago(10_000);
    let view = bed.last();
    view.created = ago(10_000);
    view.ready_since = Some(ago(9000));
    let mut series = crate::window::ReplicaSeries::new(&crate::situation::wanted(&sum(10.0)));
    series.push(ago(8000), Segment::of("uid", 0, 0), |_, _| Reading::Gauge(3.0));
    for age in [40, 25, 10] {
        series.push(ago(age), Segment::of("uid", 0, 1), |_, _| Reading::Absent { nearest: None });
    }
    view.series = Cow::Owned(series);
    let expected = Class::Pending {
        since: ago(40),
        served: true,
        answering: true,
    };
    assert_eq!(classes(&bed), [expected]);
}

#[test]
fn metric_that_vanishes_from_a_loaded_server_leaves_it_silent_and_never_lost() {
    for wanted_gone in [true, false] {
        let mut bed = one().serving(3.0);
        bed.input.timing.process_started = ago(10_000);
        let view = bed.last();
        let mut series = crate::window::ReplicaSeries::new(&crate::situation::wanted(&sum(10.0)));
        for age in (10..9000).rev().step_by(15) {
            series.push(ago(age), Segment::of("uid", 0, 0), |metric, _| match metric {
                // All gone, or only the one asked for.
                _ if age < 3000 && (wanted_gone || metric == crate::families::WAITING) => Reading::Absent { nearest: None },
                _ => Reading::Gauge(3.0),
            });
        }
        view.series = Cow::Owned(series);
        let [Class::Silent { since }] = classes(&bed)[..] else {
            panic!("{:?}", classes(&bed));
        };
        assert!((2995..=3015).contains(&bed.input.now.since(since).as_secs()), "{since:?}");
    }
}

#[test]
fn deadline_does_not_run_before_this_process_watched() {
    let mut bed = one().pending(100_000);
    bed.input.timing.process_started = ago(1800);
    assert!(matches!(classes(&bed)[0], Class::Pending { .. }));
}

#[test]
fn replica_that_is_ready_is_never_lost_however_long_it_loads() {
    let bare_for = |seconds| {
        let mut bed = one().without_metrics();
        bed.input.timing.process_started = ago(10_000);
        let mut series = crate::window::ReplicaSeries::new(&crate::situation::wanted(&sum(10.0)));
        for age in (10..=seconds).rev().step_by(15) {
            series.push(ago(age), Segment::of("uid", 0, 0), |_, _| Reading::Absent { nearest: None });
        }
        bed.last().series = Cow::Owned(series);
        classes(&bed)[0]
    };
    assert!(matches!(bare_for(1800), Class::Pending { answering: true, .. }));
    assert_eq!(bare_for(1801), Class::Silent { since: ago(1801) });
}

#[test]
fn deadline_runs_from_what_the_pod_says_although_this_process_is_young() {
    let after_restart = |unready: Option<u64>, lost: Option<u64>| {
        let mut bed = one().pending(100_000);
        bed.input.timing.process_started = ago(20);
        (bed.last().unready_since, bed.last().lost_ready) = (unready.map(ago), lost.map(ago));
        classes(&bed)[0]
    };
    let pending = |since, served| Class::Pending {
        since: ago(since),
        served,
        answering: false,
    };
    assert_eq!(after_restart(Some(1801), None), Class::Lost { since: ago(1801) });
    assert_eq!(after_restart(Some(1801), Some(1801)), Class::Lost { since: ago(1801) });
    assert_eq!(after_restart(Some(600), None), pending(600, false));
    assert_eq!(after_restart(Some(600), Some(600)), pending(600, true));
    assert_eq!(after_restart(None, None), pending(20, false), "nothing says since when");
}

#[test]
fn terminating_replica_leaves_whether_it_answers_or_not() {
    assert_eq!(
        classes(&one().serving(3.0).terminating()),
        [Class::Leaving { answering: true }]
    );
    assert_eq!(
        classes(&one().silent(60).terminating()),
        [Class::Leaving { answering: false }]
    );
    assert_eq!(
        classes(&one().pending(60).terminating()),
        [Class::Leaving { answering: false }]
    );
}

#[test]
fn extras_above_the_ordered_count_leave_newest_that_does_not_serve_first() {
    let two_serve = Bed::new(sum(10.0), 2).serving(1.0).pending(100).serving(2.0);
    assert_eq!(
        classes(&two_serve),
        [Class::Serving, Class::Leaving { answering: false }, Class::Serving]
    );
    let all_serve = Bed::new(sum(10.0), 2).serving(1.0).serving(2.0).serving(3.0);
    assert_eq!(
        classes(&all_serve),
        [Class::Serving, Class::Serving, Class::Leaving { answering: true }]
    );
}

#[test]
fn terminating_replica_is_no_extra() {
    let bed = Bed::new(sum(10.0), 2).serving(1.0).serving(2.0).serving(3.0).terminating();
    assert_eq!(
        classes(&bed),
        [Class::Serving, Class::Serving, Class::Leaving { answering: true }]
    );
}

#[test]
fn ordered_replica_without_a_workspace_is_pending_and_in_time_lost() {
    let mut bed = Bed::new(sum(10.0), 4).serving(1.0);
    bed.input.timing.process_started = ago(10_000);
    assert_eq!(Situation::of(&bed.input).fleet.unborn, Unborn { pending: 3, lost: 0 });
    let missing_since = [ago(2000), ago(1801), ago(1800)];
    let fleet = classify(
        &bed.input.replicas,
        &[(WAITING, MetricKind::Gauge)],
        4,
        &missing_since,
        &bed.input.timing,
        NOW,
    );
    assert_eq!(fleet.unborn, Unborn { pending: 1, lost: 2 });
    let fewer = classify(
        &bed.input.replicas,
        &[(WAITING, MetricKind::Gauge)],
        2,
        &missing_since,
        &bed.input.timing,
        NOW,
    );
    assert_eq!(fewer.unborn, Unborn { pending: 0, lost: 1 });
}

#[test]
fn only_capacity_that_never_served_is_awaited() {
    let awaits = |bed: &Bed| Situation::of(&bed.input).fleet.awaits_new_capacity();
    assert!(awaits(&one().pending(60)));
    assert!(awaits(&Bed::new(sum(10.0), 2).serving(1.0)));
    assert!(!awaits(&one().serving(1.0)));
    let mut crashed = one().serving(1.0);
    crashed.last().ready_since = None;
    assert!(!awaits(&crashed));
    let mut lost = one().pending(4000);
    lost.input.timing.process_started = ago(5000);
    assert!(!awaits(&lost));
}

#[test]
fn replica_serves_without_samples_where_no_metric_is_wanted() {
    let mut bed = one().pending(60);
    bed.last().ready_since = Some(ago(1));
    let fleet = classify(&bed.input.replicas, &[], 1, &[], &bed.input.timing, NOW);
    assert_eq!(fleet.members[0].class, Class::Serving);
}

#[test]
fn new_pod_of_the_same_replica_serves_again_with_its_first_sample() {
    let mut bed = one().serving(3.0);
    let view = bed.last();
    view.ready_since = Some(ago(4));
    view.series
        .to_mut()
        .push(ago(1), Segment::of("other", 0, 0), |_, _| Reading::Gauge(0.0));
    assert_eq!(classes(&bed), [Class::Serving]);
}

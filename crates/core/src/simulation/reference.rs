//! Failures of the reference that must not happen here; the numbers are those of its fault list.

use super::faults::Trouble;
use super::*;
use crate::families::WAITING;
use crate::fixture::QUEUE_TIME;
use crate::hpa::{Arithmetic, milli};
use crate::record::Answer;

fn trouble(world: &World, trouble: Trouble, after: u64, duration: u64, victim: usize) -> Fault {
    Fault {
        trouble,
        from: world.now.plus(Duration::from_secs(after)),
        duration: Duration::from_secs(duration),
        victim,
    }
}

fn policies() -> [Setting; 3] {
    [
        vec![gauge(WAITING, 10.0, 4.0)],
        vec![histogram(QUEUE_TIME, 300, 10.0, 4.0)],
        vec![gauge(WAITING, 10.0, 4.0), histogram(QUEUE_TIME, 300, 10.0, 4.0)],
    ]
    .map(Setting::policy)
}

#[test]
fn several_pods_to_a_replica_multiply_nothing() {
    // A1: the reference's idle vote asked for ceil(0.5 * pods * replicas): never fewer with 2 pods, more with 3.
    let reference = |pods: u32, replicas: u32| (f64::from(pods * replicas) * 0.5).ceil();
    assert!(reference(2, 3) >= 3.0 && reference(3, 3) > 3.0);
    let mut world = World::new(
        Setting {
            start: 3,
            ..Setting::policy(vec![gauge(WAITING, 10.0, 4.0)])
        },
        0.0,
    );
    world.run(1000);
    let before = world.moves.first().copied().unwrap();
    assert_eq!(
        (before.from, before.to),
        (3, 2),
        "our number and status.replicas are all the HPA computes with"
    );
}

#[test]
fn three_busy_replicas_stay_busy_when_one_restarts() {
    // A2: the difference of fleet sums fell below zero and was read as idle.
    for setting in policies() {
        let mut world = World::new(Setting { start: 3, ..setting }, 24.0);
        world.faults.push(trouble(&world, Trouble::CrashLoop, 1200, 60, 1));
        world.run(2 * 3600);
        let lowest = world.moves.iter().map(|step| step.to).min().unwrap_or(3);
        assert_eq!(lowest, 3, "{}", world.why());
    }
}

#[test]
fn scrape_that_fails_and_comes_back_adds_no_lifetime() {
    // A2: a replica absent at the baseline and back at the end added its whole past.
    for setting in policies() {
        let mut world = World::new(Setting { start: 3, ..setting }, 24.0);
        world.faults.push(trouble(&world, Trouble::ScrapesFail, 1200, 90, 1));
        world.run(2 * 3600);
        assert!(world.moves.is_empty(), "{}", world.why());
    }
}

#[test]
fn total_outage_is_not_idleness() {
    // A3: with histograms alone an outage scaled to the minimum.
    for setting in policies() {
        let mut world = World::new(Setting { start: 4, ..setting }, 28.0);
        world.faults.push(trouble(&world, Trouble::Outage, 1200, 7200, 0));
        world.run(1200 + 7200);
        assert!(world.moves.is_empty(), "{}", world.why());
        let answer = &world.last.as_ref().unwrap().answer;
        let Answer::Value(value) = answer else { panic!("{answer:?}") };
        let hpa = Arithmetic::new(1.0, 4, Tolerance { up: 0.0, down: 0.0 });
        assert_eq!(
            hpa.recommends(milli(*value)),
            4,
            "a hold, so that the HPA's memory does not run out"
        );
    }
}

#[test]
fn stalled_fleet_still_grows_on_its_gauges() {
    // A5: without completions the histogram read 0 and vetoed growth exactly when it was needed.
    let metrics = vec![gauge(WAITING, 10.0, 4.0), histogram(QUEUE_TIME, 120, 10.0, 1.0)];
    let mut world = World::new(
        Setting {
            start: 2,
            ..Setting::policy(metrics)
        },
        16.0,
    );
    world.run(1800);
    world.kaito.stalled = true;
    world.load = 40.0;
    world.run(900);
    assert!(world.spec() > 2, "{}", world.why());
}

#[test]
fn replica_that_still_downloads_neither_halves_the_mean_nor_is_removed() {
    // A8: the download server answers without the metric, which was averaged as 0.
    for setting in policies() {
        let mut world = World::new(Setting { start: 2, ..setting }, 14.0);
        world.faults.push(trouble(&world, Trouble::WithoutMetrics, 900, 1500, 1));
        world.run(900 + 1500);
        assert!(!world.moved(Lean::Down), "{}", world.why());
    }
}

#[test]
fn benchmark_of_a_new_replica_is_not_demand() {
    // A9: about a minute of saturation on each new replica called for the next one.
    for window in [60, 300, 900] {
        let setting = Setting {
            start: 1,
            ..Setting::policy(vec![histogram(QUEUE_TIME, window, 10.0, 4.0)])
        };
        let mut world = World::new(setting, 16.0);
        world.run(3 * 3600);
        let counts: Vec<_> = world.moves.iter().map(|step| step.to).collect();
        assert_eq!(counts, [2], "{}", world.why());
    }
}

//! Situations told by hand.

use super::faults::Trouble;
use super::*;
use crate::families::WAITING;
use crate::fixture::QUEUE_TIME;

fn hour() -> Duration {
    Duration::from_secs(3600)
}

/// Seconds from the change of load to each move, and where it went.
fn moves_after(setting: Setting, before: f64, after: f64) -> Vec<(u64, u32)> {
    let mut world = World::new(setting, before);
    world.run(3600);
    let changed = world.now;
    world.load = after;
    world.run(4 * 3600);
    world
        .moves
        .iter()
        .map(|step| (step.at.since(changed).as_secs(), step.to))
        .collect()
}

fn settings(proof: Proof) -> [Setting; 3] {
    [
        Setting::simple(10.0),
        Setting::policy(vec![gauge(WAITING, 10.0, 4.0)]),
        Setting::policy(vec![gauge(WAITING, 10.0, 4.0), histogram(QUEUE_TIME, 300, 10.0, 4.0)]),
    ]
    .map(|setting| Setting {
        start: 4,
        proof,
        ..setting
    })
}

#[test]
fn idle_fleet_shrinks_at_the_pace_of_its_cooldowns() {
    let downs = |proof| settings(proof).map(|setting| moves_after(setting, 30.0, 0.0));
    // Where the HPA has had every answer its own window does the waiting: 300 s, and the period of 600 s for the simple dialect.
    let [simple, gauge, histogram] = downs(Proof::NoGap);
    assert_eq!(simple, [(300, 3), (900, 2), (1500, 1)]);
    assert_eq!(gauge, [(300, 3), (600, 2), (900, 1)]);
    assert_eq!(
        histogram,
        [(600, 3), (990, 2), (1380, 1)],
        "a window has to empty, and settles after each step"
    );
    // Where every sample counts, the first step takes two windows, one after the other.
    let [simple, gauge, histogram] = downs(Proof::EverySample);
    assert_eq!(simple, [(600, 3), (1200, 2), (1800, 1)]);
    assert_eq!(gauge, [(600, 3), (900, 2), (1200, 1)]);
    assert_eq!(histogram, [(900, 3), (1590, 2), (2280, 1)]);
}

#[test]
fn busy_fleet_grows_at_the_pace_of_its_cooldowns() {
    for (proof, first) in [(Proof::NoGap, 60), (Proof::EverySample, 120)] {
        let [_, setting, _] = settings(proof);
        let ups = moves_after(
            Setting {
                cold_start: Duration::from_secs(120),
                ..setting
            },
            30.0,
            65.0,
        );
        assert_eq!(ups, [(first, 5), (first + 300, 6), (first + 600, 7)], "{proof:?}");
    }
}

#[test]
fn slow_cold_start_is_waited_for_and_not_answered_with_more_replicas() {
    for metrics in [vec![gauge(WAITING, 10.0, 4.0)], vec![histogram(QUEUE_TIME, 1800, 10.0, 4.0)]] {
        let setting = Setting {
            start: 2,
            cold_start: Duration::from_secs(1500),
            ..Setting::policy(metrics)
        };
        let mut world = World::new(setting, 18.0);
        world.run(2 * 3600);
        world.load = 25.0;
        world.run(6 * 3600);
        let counts: Vec<_> = world.moves.iter().map(|step| step.to).collect();
        assert_eq!(counts, [3], "{}", world.why());
    }
}

#[test]
fn replica_that_never_starts_stops_holding_growth_back_after_its_deadline() {
    let setting = Setting {
        start: 2,
        ..Setting::policy(vec![gauge(WAITING, 10.0, 4.0)])
    };
    let mut world = World::new(setting, 60.0);
    let stuck = Fault {
        trouble: Trouble::NothingStarts,
        from: world.now,
        duration: 2 * hour(),
        victim: 0,
    };
    world.faults.push(stuck);
    world.run(7200);
    let waits: Vec<_> = world
        .moves
        .windows(2)
        .map(|pair| pair[1].at.since(pair[0].at).as_secs() / 60)
        .collect();
    assert!(
        !waits.is_empty() && waits.iter().all(|minutes| (30..35).contains(minutes)),
        "{waits:?}"
    );
}

#[test]
fn lull_right_after_keda_was_cut_off_removes_nothing_where_every_sample_counts() {
    for (proof, removed) in [(Proof::EverySample, false), (Proof::NoGap, true)] {
        let setting = Setting {
            start: 3,
            proof,
            ..Setting::policy(vec![gauge(WAITING, 10.0, 4.0)])
        };
        let mut world = World::new(setting, 27.0);
        world.run(1800);
        let from = world.now;
        world.faults.push(Fault {
            trouble: Trouble::KedaCutOff,
            from,
            duration: Duration::from_secs(1200),
            victim: 0,
        });
        world.run(1185);
        world.load = 0.0;
        world.run(60);
        world.load = 27.0;
        world.run(900);
        assert_eq!(world.moved(Lean::Down), removed, "{proof:?} {}", world.why());
    }
}

#[test]
fn load_of_the_last_window_is_not_forgotten_where_nothing_could_be_said_of_it() {
    // Shrunk: while status.replicas was stuck no value kept the count, so the HPA was told nothing of the load, and took the
    // first value after it for all there was to know.
    let setting = Setting {
        cold_start: Duration::from_secs(30),
        drain: Duration::from_secs(5),
        status_lag: Duration::from_secs(5),
        start: 1,
        ..Setting::simple(10.0)
    };
    let mut world = World::new(setting, 0.0);
    world.faults.push(Fault {
        trouble: Trouble::StatusStuck,
        from: Moment::from_secs(12_081),
        duration: Duration::from_secs(1800),
        victim: 0,
    });
    let loads = [
        (0.0, 20),
        (0.0, 136),
        (0.0, 136),
        (0.0, 91),
        (0.0, 261),
        (38.27329472013301, 206),
        (0.0, 216),
        (52.58850173372062, 323),
        (0.0, 83),
        (0.0, 130),
        (34.040502434806086, 56),
        (39.95681665422848, 84),
        (0.0, 360),
        (0.0, 255),
        (32.15394241138825, 252),
        (0.0, 203),
    ];
    for (load, seconds) in loads {
        world.load = load;
        world.run(seconds);
    }
    assert!(world.hasty.is_empty(), "{:?} {}", world.hasty, world.why());
}

#[test]
fn replica_long_silent_and_then_bare_is_not_given_up_at_once() {
    // Shrunk: the deadline ran from when it last served, so half an hour of silence counted as half an hour of loading.
    let mut world = World::new(
        Setting {
            start: 6,
            tolerance: Tolerance::default(),
            ..Setting::simple(10.0)
        },
        52.2,
    );
    let fault = |trouble, from: i64, seconds| Fault {
        trouble,
        from: Moment::from_secs(from),
        duration: Duration::from_secs(seconds),
        victim: 5,
    };
    world.faults = vec![
        fault(Trouble::ScrapesFail, 10_008, 1798),
        fault(Trouble::WithoutMetrics, 11_818, 1053),
    ];
    world.run(2 * 3600);
    assert!(world.moves.is_empty(), "{}", world.why());
}

fn unmoved(world: &World) {
    let still = world.moves.is_empty() && world.wrong.is_empty();
    assert!(still, "{:?} {}", world.wrong, world.why());
}

#[test]
fn replica_whose_metrics_vanish_while_it_serves_is_not_taken_for_one_that_loads() {
    // Shrunk: after half an hour its share of the load counted as nothing.
    let mut world = World::new(Setting::simple(10.0), 11.0);
    world.faults = vec![Fault {
        trouble: Trouble::GaugesVanish,
        from: world.now.plus(Duration::from_secs(600)),
        duration: 2 * hour(),
        victim: 0,
    }];
    world.run(2 * 3600);
    unmoved(&world);
}

#[test]
fn scaler_that_restarts_while_metrics_are_gone_does_not_give_the_replica_up_later() {
    // Shrunk: the new process took it for one that loads, and after its deadline for lost.
    let mut world = World::new(Setting::simple(10.0), 18.0);
    for trouble in [Trouble::WithoutMetrics, Trouble::ScalerRestart] {
        world.faults.push(Fault {
            trouble,
            from: world.now.plus(Duration::from_secs(600)),
            duration: 2 * hour(),
            victim: 0,
        });
    }
    world.run(2 * 3600);
    unmoved(&world);
}

#[test]
fn lull_shorter_than_the_window_removes_nothing() {
    for proof in [Proof::EverySample, Proof::NoGap] {
        for setting in settings(proof) {
            let mut world = World::new(setting, 38.0);
            for _ in 0..10 {
                world.load = 38.0;
                world.run(120);
                world.load = 0.0;
                world.run(240);
            }
            assert!(!world.moved(Lean::Down), "{proof:?} {}", world.why());
        }
    }
}

#[test]
fn tolerance_of_an_older_cluster_freezes_no_large_fleet() {
    let setting = Setting {
        start: 12,
        max: 20,
        tolerance: Tolerance::default(),
        ..Setting::policy(vec![gauge(WAITING, 10.0, 4.0)])
    };
    let mut world = World::new(
        Setting {
            start: 14,
            ..setting.clone()
        },
        0.0,
    );
    world.run(4 * 3600);
    assert_eq!(world.spec(), 1, "{}", world.why());
    let mut world = World::new(setting, 500.0);
    world.run(4 * 3600);
    assert_eq!(world.spec(), 20, "{}", world.why());
}

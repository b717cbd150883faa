//! Properties over random fleets and faults.

use proptest::prelude::*;

use super::faults::faults;
use super::*;

const WINDOW: &str = "vllm:request_queue_time_seconds";

fn dialects() -> impl Strategy<Value = Setting> {
    let waiting = crate::families::WAITING;
    prop_oneof![
        Just(Setting::simple(10.0)),
        Just(Setting::policy(vec![gauge(waiting, 10.0, 4.0)])),
        Just(Setting::policy(vec![histogram(WINDOW, 300, 10.0, 4.0)])),
        Just(Setting::policy(vec![gauge(waiting, 10.0, 4.0), histogram(WINDOW, 120, 10.0, 4.0)])),
    ]
}

fn settings() -> impl Strategy<Value = Setting> {
    let tolerance = prop_oneof![3 => Just(None), 1 => Just(Some(Tolerance::default()))];
    (dialects(), 1_u32..7, 30_u64..900, 5_u64..120, tolerance).prop_map(|(setting, start, cold_start, drain, tolerance)| Setting {
        start,
        cold_start: Duration::from_secs(cold_start),
        drain: Duration::from_secs(drain),
        tolerance: tolerance.unwrap_or(setting.tolerance),
        ..setting
    })
}

fn troubled() -> impl Strategy<Value = (Setting, Vec<Fault>)> {
    (settings(), faults(Moment::from_secs(10_000)))
}

fn last_end(faults: &[Fault], start: Moment) -> Moment {
    faults.iter().map(Fault::end).max().unwrap_or(start).max(start)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn busy_fleet_never_shrinks((setting, faults) in troubled(), per_replica in 5.5..9.0_f64) {
        let load = per_replica * f64::from(setting.start);
        let mut world = World::new(setting, load);
        world.faults = faults;
        world.run(2 * 3600);
        // What went up while replicas were missing may come down again, never below the start.
        let lowest = world.moves.iter().map(|step| step.to).min().unwrap_or(world.setting.start);
        prop_assert!(lowest >= world.setting.start, "{}", world.why());
    }

    #[test]
    fn idle_fleet_never_grows_and_shrinks_to_its_minimum((setting, faults) in troubled()) {
        let mut world = World::new(setting, 0.0);
        world.faults = faults;
        let end = last_end(&world.faults, world.now);
        // The longest pending replica is given up after half an hour; then each step takes its pace twice at most.
        let allowance = 3600 + 1400 * u64::from(world.setting.start);
        world.run(end.since(world.now).as_secs() + allowance);
        prop_assert!(!world.moved(Lean::Up), "{}", world.why());
        prop_assert_eq!(world.spec(), 1, "{}", world.why());
    }

    #[test]
    fn nothing_moves_without_data(setting in settings(), load in 0.0..100.0_f64) {
        let mut world = World::new(setting, load);
        world.faults = vec![Fault { trouble: faults::Trouble::Outage, from: world.now, duration: Duration::from_secs(9000), victim: 0 }];
        world.run(9000);
        prop_assert!(world.moves.is_empty(), "{}", world.why());
    }

    #[test]
    fn count_settles_under_constant_load_once_faults_end((setting, faults) in troubled(), load in 0.0..80.0_f64) {
        let mut world = World::new(setting, load);
        world.faults = faults;
        let end = last_end(&world.faults, world.now);
        world.run(end.since(world.now).as_secs() + 10 * 3600);
        let settled = world.now.minus(Duration::from_secs(2 * 3600));
        prop_assert!(world.moves.iter().all(|step| step.at < settled), "{}", world.why());
        prop_assert!(world.reversals(end.plus(Duration::from_secs(1800))) <= 1, "{}", world.why());
        let per_replica = load / f64::from(world.spec());
        prop_assert!(per_replica <= 11.0 || world.spec() == 10, "{} at {}\n{}", per_replica, world.spec(), world.why());
        prop_assert!(world.spec() == 1 || load / f64::from(world.spec() - 1) > 4.0 , "{} at {}\n{}", per_replica, world.spec(), world.why());
    }

    #[test]
    fn count_stays_within_bounds_and_pace((setting, faults) in troubled(), load in 0.0..200.0_f64, min in 1_u32..4) {
        let mut world = World::new(Setting { min, max: min + 3, start: setting.start.clamp(min, min + 3), ..setting }, load);
        world.faults = faults;
        world.run(3 * 3600);
        for step in &world.moves {
            prop_assert!((min..=min + 3).contains(&step.to), "{}", world.why());
            prop_assert!(step.to.abs_diff(step.from) <= 2, "{}", world.why());
        }
        for pair in world.moves.windows(2) {
            let same_way = (pair[0].to > pair[0].from) == (pair[1].to > pair[1].from);
            let restarted = world.faults.iter().any(|fault| fault.trouble == faults::Trouble::HpaRestart);
            prop_assert!(restarted || !same_way || pair[1].at.since(pair[0].at) >= Duration::from_secs(300), "{}", world.why());
        }
    }
}

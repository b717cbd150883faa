//! Properties over random fleets and faults. Counterexamples that were found and mended are told in `named`.

use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::faults::{Trouble, faults};
use super::*;
use crate::families::WAITING;
use crate::fixture::QUEUE_TIME;

const START: Moment = Moment::from_secs(10_000);

/// Looked at for what they reach.
const WORLDS: usize = 100;

fn policies() -> impl Strategy<Value = Setting> {
    prop_oneof![
        Just(Setting::policy(vec![gauge(WAITING, 10.0, 4.0)])),
        // Close thresholds: what leaves must fit on the others.
        Just(Setting::policy(vec![gauge(WAITING, 10.0, 9.0)])),
        Just(Setting::policy(vec![histogram(QUEUE_TIME, 300, 10.0, 4.0)])),
        Just(Setting::policy(vec![histogram(QUEUE_TIME, 1800, 10.0, 4.0)])),
        Just(Setting::policy(vec![histogram(QUEUE_TIME, 3600, 10.0, 4.0)])),
        Just(Setting::policy(vec![
            gauge(WAITING, 10.0, 4.0),
            histogram(QUEUE_TIME, 120, 10.0, 4.0)
        ])),
    ]
}

/// Random circumstances for a trigger.
fn fleets(triggers: impl Strategy<Value = Setting>) -> impl Strategy<Value = Setting> {
    let tolerance = prop_oneof![3 => Just(None), 1 => Just(Some(Tolerance::default()))];
    let proof = prop_oneof![Just(Proof::EverySample), Just(Proof::NoGap)];
    let circumstances = (
        1_u32..7,
        prop_oneof![4 => 30_u64..900, 1 => 900_u64..1700],
        5_u64..120,
        tolerance,
        proof,
    );
    (triggers, circumstances).prop_map(|(setting, (start, cold_start, drain, tolerance, proof))| Setting {
        start,
        cold_start: Duration::from_secs(cold_start),
        drain: Duration::from_secs(drain),
        tolerance: tolerance.unwrap_or(setting.tolerance),
        proof,
        ..setting
    })
}

fn any_fleet() -> impl Strategy<Value = Setting> {
    fleets(prop_oneof![Just(Setting::simple(10.0)).boxed(), policies().boxed()])
}

fn end_of(faults: &[Fault]) -> Moment {
    faults.iter().map(Fault::end).max().unwrap_or(START)
}

fn troubled(setting: Setting, load: f64, faults: Vec<Fault>) -> World {
    let mut world = World::new(setting, load);
    world.faults = faults;
    world
}

/// Forty runs of hours each are enough for every day; `PROPTEST_CASES` asks for more.
fn cases() -> u32 {
    let asked = ProptestConfig::default().cases;
    if asked == 256 { 40 } else { asked }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn busy_fleet_never_shrinks_below_what_it_needs(setting in any_fleet(), faults in faults(START), share in 0.0..1.0_f64) {
        // Above every down threshold even on the whole fleet; for the simple dialect above what one fewer could take.
        let (least, most) = if matches!(setting.trigger, Aggregation::Sum { .. }) { (8.7, 9.9) } else { (9.1, 9.9) };
        let load = (least + (most - least) * share) * f64::from(setting.start);
        let mut world = troubled(setting, load, faults);
        world.run(2 * 3600);
        let lowest = world.moves.iter().map(|step| step.to).min().unwrap_or(world.setting.start);
        prop_assert!(lowest >= world.setting.start, "{}", world.why());
    }

    #[test]
    fn idle_fleet_never_grows_and_shrinks_to_its_minimum(setting in any_fleet(), faults in faults(START)) {
        let mut world = troubled(setting, 0.0, faults);
        // The longest pending replica is given up after half an hour; then each step takes twice its pace at most.
        let allowance = 3600 + 1800 + 1400 * u64::from(world.setting.start) + world.setting.longest_window();
        world.run(end_of(&world.faults).since(START).as_secs() + allowance);
        prop_assert!(!world.moved(Lean::Up), "{}", world.why());
        prop_assert_eq!(world.spec(), 1, "{}", world.why());
    }

    #[test]
    fn nothing_moves_without_data(setting in any_fleet(), load in 0.0..100.0_f64) {
        let outage = Fault { trouble: Trouble::Outage, from: START, duration: Duration::from_secs(9000), victim: 0 };
        let mut world = troubled(setting, load, vec![outage]);
        world.run(9000);
        prop_assert!(world.moves.is_empty(), "{}", world.why());
    }

    #[test]
    fn count_settles_under_constant_load_once_faults_end(setting in any_fleet(), faults in faults(START), load in 0.0..80.0_f64) {
        let mut world = troubled(setting, load, faults);
        let calm = end_of(&world.faults).plus(Duration::from_secs(1800));
        world.run(calm.since(START).as_secs());
        let begun_with = world.spec();
        world.run(8 * 3600);
        let settled = world.now.minus(Duration::from_secs(3600));
        let why = || format!("{load}: {}", world.why());
        prop_assert!(world.moves.iter().all(|step| step.at < settled), "{}", why());
        prop_assert!(world.reversals(calm) <= 1, "{}", why());
        let needed = (1..=world.setting.max).find(|count| load / f64::from(*count) <= 10.0).unwrap_or(world.setting.max);
        let peak = world.moves.iter().filter(|step| step.at >= calm).map(|step| step.to).max();
        prop_assert!(peak.is_none_or(|peak| peak <= begun_with.max(needed)), "more than {needed}: {}", why());
        let count = f64::from(world.spec());
        prop_assert!(load / count <= 11.0 || world.spec() == world.setting.max, "{}", why());
        // Twice what is needed is too much, whatever the band.
        prop_assert!(world.spec() == 1 || load / count > 2.0, "{}", why());
    }

    #[test]
    fn no_recommendation_is_against_the_load(
        setting in fleets(prop_oneof![Just(Setting::simple(10.0)), Just(Setting::policy(vec![gauge(WAITING, 10.0, 4.0)]))]),
        faults in faults(START),
        loads in proptest::collection::vec((0.0..60.0_f64, 20_u64..900), 1..20),
    ) {
        let mut world = troubled(setting, 0.0, faults);
        for (load, seconds) in loads {
            world.load = load;
            world.run(seconds);
        }
        prop_assert!(world.wrong.is_empty(), "{:?}\n{}", world.wrong, world.why());
    }

    #[test]
    fn fleet_shrinks_only_after_a_whole_window_of_little_load(
        setting in fleets(prop_oneof![Just(Setting::simple(10.0)), Just(Setting::policy(vec![gauge(WAITING, 10.0, 4.0)]))]),
        faults in faults(START),
        loads in proptest::collection::vec((prop_oneof![Just(0.0), 0.0..60.0_f64], 20_u64..400), 10..40),
    ) {
        // What the HPA was never told it cannot remember: that hole of `Proof::NoGap` is told in `named`.
        let told = |fault: &Fault| fault.trouble != Trouble::KedaCutOff;
        let mut world = troubled(setting, 0.0, faults.into_iter().filter(told).collect());
        for (load, seconds) in loads {
            world.load = load;
            world.run(seconds);
        }
        prop_assert!(world.hasty.is_empty(), "{:?}\n{}", world.hasty, world.why());
    }

    #[test]
    fn count_stays_within_bounds_and_pace(setting in any_fleet(), faults in faults(START), load in 0.0..200.0_f64, min in 1_u32..4) {
        let max = min + 3;
        let start = setting.start.clamp(min, max);
        let mut world = troubled(Setting { min, max, start, ..setting }, load, faults);
        world.run(3 * 3600);
        for step in &world.moves {
            prop_assert!((min..=max).contains(&step.to), "{}", world.why());
            prop_assert!(step.to.abs_diff(step.from) <= 2, "{}", world.why());
        }
        // A controller manager that restarts forgets its policies' events.
        let forgets = world.faults.iter().any(|fault| fault.trouble == Trouble::HpaRestart);
        for pair in world.moves.windows(2).filter(|_| !forgets) {
            let same_way = (pair[0].to > pair[0].from) == (pair[1].to > pair[1].from);
            prop_assert!(!same_way || pair[1].at.since(pair[0].at) >= Duration::from_secs(300), "{}", world.why());
        }
    }
}

/// A property whose premise is never met cannot fail: what the generators above really lead to.
#[test]
fn random_worlds_reach_every_fault_every_class_and_both_directions() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let loads = proptest::collection::vec((0.0..60.0_f64, 20_u64..900), 1..20);
    let worlds = (any_fleet(), faults(START), loads);
    let mut reached = std::collections::BTreeMap::<String, usize>::new();
    for _ in 0..WORLDS {
        let (setting, faults, loads) = worlds.new_tree(&mut runner).unwrap().current();
        for trouble in faults
            .iter()
            .map(|fault| fault.trouble)
            .collect::<std::collections::BTreeSet<_>>()
        {
            *reached.entry(format!("{trouble:?}")).or_default() += 1;
        }
        let mut world = troubled(setting, 0.0, faults);
        for (load, seconds) in loads {
            world.load = load;
            world.run(seconds);
        }
        for (what, _) in world.reached {
            *reached.entry(what.to_owned()).or_default() += 1;
        }
    }
    for what in [
        "up",
        "down",
        "held",
        "unavailable",
        "serving",
        "silent",
        "lost",
        "leaving",
        "pending, new",
        "pending, served before",
        "without a Workspace",
        "ScrapesFail",
        "Outage",
        "CrashLoop",
        "NothingStarts",
        "WithoutMetrics",
        "GaugesVanish",
        "NotANumber",
        "Evicted",
        "ClockStep",
        "KedaCutOff",
        "ScalerRestart",
        "HpaRestart",
        "StatusStuck",
    ] {
        let worlds = reached.get(what).copied().unwrap_or_default();
        assert!(worlds >= 3, "{what} in {worlds} of {WORLDS} worlds: {reached:#?}");
    }
}

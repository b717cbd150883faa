//! Situations told by hand.

use super::*;

#[test]
fn timing_probe() {
    for (name, setting) in [
        ("simple", Setting::simple(10.0)),
        ("gauge", Setting::policy(vec![gauge(crate::families::WAITING, 10.0, 4.0)])),
        ("hist", Setting::policy(vec![histogram("vllm:q", 300, 10.0, 4.0)])),
        ("both", Setting::policy(vec![gauge(crate::families::WAITING, 10.0, 4.0), histogram("vllm:q", 300, 10.0, 4.0)])),
    ] {
        for proof in [Proof::EverySample, Proof::NoGap] {
        let mut world = World::new(Setting { proof, start: 5, cold_start: Duration::from_secs(120), ..setting.clone() }, 40.0);
        world.run(3600);
        let t0 = world.now;
        world.load = 0.0;
        world.run(4 * 3600);
        let downs: Vec<_> = world.moves.iter().map(|m| (m.at.since(t0).as_secs(), m.to)).collect();
        let t1 = world.now;
        world.load = 100.0;
        let before = world.moves.len();
        world.run(4 * 3600);
        let ups: Vec<_> = world.moves[before..].iter().map(|m| (m.at.since(t1).as_secs(), m.to)).collect();
        println!("{name} {proof:?} downs {downs:?} ups {ups:?}");
        }
    }
}

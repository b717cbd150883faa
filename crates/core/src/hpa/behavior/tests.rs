use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn rules(stabilization: u64, period: u64) -> Rules {
    Rules::one_policy(Duration::from_secs(stabilization), 1, Duration::from_secs(period))
}

/// The replica count after each sync, 15 s apart.
fn run(hpa: &mut Autoscaler, from: i64, start: u32, recommended: impl IntoIterator<Item = Option<u32>>) -> Vec<u32> {
    let mut current = start;
    let sync = |(index, recommended): (usize, _)| {
        let at = Moment::from_secs(from + 15 * i64::try_from(index).unwrap());
        current = hpa.sync(at, current, recommended);
        current
    };
    recommended.into_iter().enumerate().map(sync).collect()
}

#[test]
fn move_up_waits_until_every_recommendation_in_the_window_is_higher() {
    let mut hpa = Autoscaler::new(rules(60, 300), rules(300, 600), 1, 10);
    let counts = run(
        &mut hpa,
        0,
        2,
        [Some(2), Some(5), Some(5), Some(5), Some(5), Some(5), Some(5)],
    );
    // A recommendation exactly as old as the window no longer counts.
    assert_eq!(counts, [2, 2, 2, 2, 3, 3, 3]);
}

#[test]
fn first_sync_counts_as_a_recommendation_to_stay() {
    let mut hpa = Autoscaler::new(rules(0, 300), rules(300, 600), 1, 10);
    let counts = run(&mut hpa, 0, 5, std::iter::repeat_n(Some(1), 22));
    assert_eq!(counts.iter().position(|count| *count == 4), Some(20));
    assert_eq!(counts.last(), Some(&4));
}

#[test]
fn sync_without_a_metric_leaves_no_recommendation_and_old_ones_expire() {
    let mut hpa = Autoscaler::new(rules(0, 300), rules(300, 600), 1, 10);
    run(&mut hpa, 0, 5, [Some(5)]);
    let counts = run(&mut hpa, 15, 5, std::iter::repeat_n(None, 20));
    assert!(counts.iter().all(|count| *count == 5));
    assert_eq!(hpa.sync(Moment::from_secs(330), 5, Some(1)), 4);
}

#[test]
fn policy_allows_one_step_per_period() {
    let mut hpa = Autoscaler::new(rules(0, 60), rules(0, 60), 1, 10);
    let counts = run(&mut hpa, 0, 1, std::iter::repeat_n(Some(9), 9));
    assert_eq!(counts, [2, 2, 2, 2, 3, 3, 3, 3, 4]);
}

#[test]
fn reversal_refunds_the_steps_of_the_period() {
    let mut hpa = Autoscaler::new(rules(0, 300), rules(0, 300), 1, 10);
    assert_eq!(hpa.sync(Moment::from_secs(0), 5, Some(5)), 5);
    assert_eq!(hpa.sync(Moment::from_secs(15), 5, Some(3)), 4);
    assert_eq!(hpa.sync(Moment::from_secs(30), 4, Some(9)), 6);
}

#[test]
fn falling_maximum_skips_windows_and_policies() {
    let mut hpa = Autoscaler::new(rules(60, 300), rules(300, 600), 1, 10);
    assert_eq!(hpa.sync(Moment::from_secs(0), 8, Some(8)), 8);
    hpa.max = 3;
    assert_eq!(hpa.sync(Moment::from_secs(15), 8, Some(8)), 3);
    assert_eq!(
        hpa.sync(Moment::from_secs(30), 0, Some(8)),
        0,
        "scaled to zero means switched off"
    );
}

#[test]
fn restarted_controller_begins_with_a_recommendation_to_stay() {
    let mut hpa = Autoscaler::new(rules(0, 60), rules(300, 60), 1, 10);
    run(&mut hpa, 0, 5, std::iter::repeat_n(Some(4), 15));
    hpa.forget();
    let counts = run(&mut hpa, 240, 5, std::iter::repeat_n(Some(4), 21));
    assert_eq!(counts.iter().position(|count| *count == 4), Some(20));
}

#[test]
fn outdated_step_is_still_seen_by_the_longer_period_of_the_other_direction() {
    let mut hpa = Autoscaler::new(
        Rules::one_policy(Duration::ZERO, 1, MINUTE),
        Rules::one_policy(Duration::ZERO, 1, 10 * MINUTE),
        1,
        10,
    );
    assert_eq!(hpa.sync(Moment::from_secs(0), 4, Some(4)), 4);
    assert_eq!(hpa.sync(Moment::from_secs(1), 4, Some(5)), 5);
    assert_eq!(hpa.sync(Moment::from_secs(100), 5, Some(1)), 3, "the step up is refunded");
}

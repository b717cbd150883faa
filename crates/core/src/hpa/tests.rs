use proptest::prelude::*;

use super::*;

fn hpa(target: f64, status: u32, up: f64, down: f64) -> Arithmetic {
    Arithmetic::new(target, status, Tolerance { up, down })
}

#[test]
fn values_become_thousandths_as_go_prints_them() {
    for (value, expected) in [
        (0.0, 0),
        (-1.0, 0),
        (f64::NAN, 0),
        (f64::INFINITY, 0),
        (0.0004, 0),
        // Halves: the exact binary value decides, a true half goes to the even digit.
        (0.0005, 1),
        (0.0625, 62),
        (0.1875, 188),
        (1.0005, 1000),
        (2.0005, 2001),
        (1.2345, 1234),
        (14.0, 14_000),
        (0.333_333, 333),
        (1e300, MAX_MILLI),
    ] {
        assert_eq!(milli(value), expected, "{value}");
    }
}

#[test]
fn hpa_rounds_up_outside_its_tolerance_and_keeps_status_inside() {
    for (name, arithmetic, value, expected) in [
        ("at target", hpa(10.0, 3, 0.1, 0.5), 30.0, 3),
        ("inside above", hpa(10.0, 3, 0.1, 0.5), 33.0, 3),
        ("outside above", hpa(10.0, 3, 0.1, 0.5), 33.001, 4),
        ("far above", hpa(10.0, 3, 0.1, 0.5), 1000.0, 100),
        ("inside below", hpa(10.0, 3, 0.1, 0.5), 15.0, 3),
        ("outside below", hpa(10.0, 3, 0.1, 0.5), 14.999, 2),
        ("nothing", hpa(10.0, 3, 0.1, 0.5), 0.0, 0),
        ("status lags spec", hpa(10.0, 2, 0.1, 0.5), 21.0, 2),
        ("no tolerance above", hpa(1.0, 3, 0.0, 0.0), 3.001, 4),
        ("no tolerance at", hpa(1.0, 3, 0.0, 0.0), 3.0, 3),
        ("no tolerance below", hpa(1.0, 3, 0.0, 0.0), 2.5, 3),
        ("no replicas in status", hpa(10.0, 0, 0.1, 0.1), 5.0, 1),
        ("no replicas, no value", hpa(10.0, 0, 0.1, 0.1), 0.0, 0),
        ("tiny target", hpa(0.0001, 1, 0.1, 0.1), 1.0, 1000),
        ("cap", hpa(0.001, 1, 0.1, 0.1), 1e12, i32::MAX.cast_unsigned()),
    ] {
        assert_eq!(arithmetic.recommends(milli(value)), expected, "{name}");
    }
}

#[test]
fn ten_percent_hides_one_replica_of_ten_or_more() {
    assert_eq!(hpa(1.0, 9, 0.1, 0.1).values_for(10), Some(9901..=10_000));
    assert_eq!(hpa(1.0, 10, 0.1, 0.1).values_for(11), None);
    assert_eq!(hpa(1.0, 10, 0.1, 0.1).just_above(11), Some(11_001));
    assert_eq!(hpa(1.0, 10, 0.1, 0.1).values_for(9), Some(8001..=8999));
    assert_eq!(hpa(1.0, 20, 0.1, 0.1).values_for(19), None);
    assert_eq!(hpa(1.0, 20, 0.1, 0.1).just_below(19), Some(17_999));
    assert_eq!(hpa(1.0, 10, 0.1, 0.1).values_for(10), Some(9000..=11_000));
}

#[test]
fn status_that_lags_hides_a_count_close_to_it() {
    assert_eq!(hpa(10.0, 10, 0.1, 0.5).values_for(11), None);
    assert_eq!(hpa(10.0, 2, 0.1, 0.5).values_for(3), Some(22_001..=30_000));
    assert_eq!(hpa(10.0, 0, 0.1, 0.5).values_for(0), Some(0..=0));
    assert_eq!(hpa(10.0, 3, 0.1, 1.0).values_for(2), None);
    assert_eq!(hpa(10.0, 3, 0.1, 1.0).just_below(3), None);
}

#[test]
fn senseless_tolerances_do_no_harm() {
    let arithmetic = hpa(10.0, 3, f64::NAN, -4.0);
    assert_eq!(arithmetic.recommends(milli(33.0)), 3);
    assert_eq!(arithmetic.recommends(milli(29.9)), 3);
    assert_eq!(arithmetic.recommends(milli(20.0)), 2);
}

fn any_arithmetic() -> impl Strategy<Value = Arithmetic> {
    let target = prop_oneof![Just(1.0), 0.001..0.1, 0.5..500.0, 1e6..1e9];
    let tolerance = prop_oneof![Just(0.0), Just(0.1), 0.0..1.2];
    (target, 0_u32..60, tolerance.clone(), tolerance).prop_map(|(target, status, up, down)| hpa(target, status, up, down))
}

proptest! {
    #[test]
    fn rendering_agrees_with_the_decimal_expansion(value in 0.0..1e9_f64) {
        let printed: i64 = format!("{value:.3}").replace('.', "").parse().unwrap();
        prop_assert_eq!(milli(value), printed);
    }

    #[test]
    fn published_thousandths_arrive_unchanged(value_milli in 0..MAX_MILLI) {
        prop_assert_eq!(milli(value(value_milli)), value_milli);
    }

    #[test]
    fn recommendation_never_falls_as_the_value_grows(arithmetic in any_arithmetic(), a in 0..10_000_000_i64, b in 0..10_000_000_i64) {
        prop_assert!(arithmetic.recommends(a.min(b)) <= arithmetic.recommends(a.max(b)));
    }

    #[test]
    fn values_for_a_count_are_all_of_them(arithmetic in any_arithmetic(), count in 0_u32..80) {
        match arithmetic.values_for(count) {
            Some(values) => {
                let (low, high) = (*values.start(), *values.end());
                for inside in [low, high, low + (high - low) / 2] {
                    prop_assert_eq!(arithmetic.recommends(inside), count);
                }
                prop_assert!(low == 0 || arithmetic.recommends(low - 1) < count);
                prop_assert!(high == MAX_MILLI || arithmetic.recommends(high + 1) > count);
            }
            None => {
                let above = arithmetic.just_above(count).unwrap();
                prop_assert!(arithmetic.recommends(above) > count);
                prop_assert!(above == 0 || arithmetic.recommends(above - 1) < count);
            }
        }
    }

    #[test]
    fn neighbours_lie_just_beyond(arithmetic in any_arithmetic(), count in 0_u32..80) {
        let above = arithmetic.just_above(count).unwrap();
        prop_assert!(arithmetic.recommends(above) > count);
        prop_assert!(above == 0 || arithmetic.recommends(above - 1) <= count);
        if let Some(below) = arithmetic.just_below(count) {
            prop_assert!(arithmetic.recommends(below) < count);
            prop_assert!(arithmetic.recommends(below + 1) >= count);
        }
    }

    #[test]
    fn value_that_holds_a_lagging_status_holds_it_once_it_has_caught_up(
        target in 0.5..500.0_f64, spec in 1_u32..60, status in 0_u32..60, up in 0.0..0.6_f64, down in 0.0..0.6_f64,
    ) {
        let lagging = hpa(target, status, up, down);
        if let Some(middle) = lagging.middle_for(spec) {
            prop_assert_eq!(lagging.with_status(spec).recommends(middle), spec);
        }
    }
}

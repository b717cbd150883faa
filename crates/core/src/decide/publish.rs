//! From a wanted count to the value that makes the HPA return it, whatever tolerance the cluster applies.

use crate::situation::Situation;
use crate::verdict::{Clamp, cannot_hold};

/// Thousandths to publish for `desired`. Where no value yields it: for a move the nearest value whose result lies beyond,
/// which the HPA's bounds and policies bring back; for a hold nothing.
pub(super) fn value_for(situation: &Situation<'_, '_>, desired: u32) -> (Result<i64, String>, Option<Clamp>) {
    let arithmetic = situation.arithmetic();
    if let Some(value) = arithmetic.middle_for(desired) {
        return (Ok(value), None);
    }
    let current = situation.scale.spec_replicas;
    let beyond = if desired > current {
        arithmetic.just_above(desired)
    } else if desired < current {
        arithmetic.just_below(desired)
    } else {
        None
    };
    match beyond {
        Some(value) => (Ok(value), Some(Clamp::Beyond)),
        None => (Err(cannot_hold(situation)), None),
    }
}

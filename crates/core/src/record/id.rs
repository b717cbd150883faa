//! What a decision is called wherever it shows: in its record, an Event, a span, an exemplar, a log line. Where ids come from is
//! the caller's business.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A decision's name, in the shape of an OpenTelemetry span id: 64 bits, never zero, written as 16 lower-case hex digits.
///
/// The decisions of one trigger are numbered on from a random start, so that a run of equal decisions is known by its first
/// id and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct DecisionId(NonZeroU64);

/// The text is no decision id.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no decision id: 16 hex digits, not all of them 0")]
pub struct BadDecisionId(String);

impl DecisionId {
    /// The decision with this number; `None` for 0, which names no span.
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// The number, as eight bytes big-endian it is the span id.
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// The id `steps` decisions later.
    #[must_use]
    pub fn after(self, steps: u64) -> Self {
        // Counting past the end leaves 0 out.
        let (sum, wrapped) = self.get().overflowing_add(steps);
        Self(NonZeroU64::new(sum.saturating_add(u64::from(wrapped))).unwrap_or(NonZeroU64::MIN))
    }

    /// The next decision's id.
    #[must_use]
    pub fn next(self) -> Self {
        self.after(1)
    }

    /// Whether it names one of the `count` decisions that begin with `first`.
    pub fn is_within(self, first: Self, count: u64) -> bool {
        let (own, first) = (self.get(), first.get());
        let steps = match own.checked_sub(first) {
            Some(steps) => steps,
            // 0 is left out on the way round.
            None => own.wrapping_sub(first).wrapping_sub(1),
        };
        steps < count
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl FromStr for DecisionId {
    type Err = BadDecisionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = digits.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        number.and_then(Self::new).ok_or_else(|| BadDecisionId(text.to_owned()))
    }
}

impl From<DecisionId> for String {
    fn from(id: DecisionId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for DecisionId {
    type Error = BadDecisionId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_sixteen_hex_digits_that_are_not_all_zero_are_an_id() {
        let id: DecisionId = "00f067aa0ba902b7".parse().unwrap();
        assert_eq!(id.get(), 0x00f0_67aa_0ba9_02b7);
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"00f067aa0ba902b7\"");
        for bad in [
            "",
            "0000000000000000",
            "00f067aa0ba902b",
            "00f067aa0ba902b7a",
            "+0f067aa0ba902b7",
            "00f067aa0ba902bg",
        ] {
            assert!(bad.parse::<DecisionId>().is_err(), "{bad:?}");
            assert!(serde_json::from_value::<DecisionId>(bad.into()).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn every_id_reads_back_as_it_was_written(number in 1..u64::MAX) {
            let id = DecisionId::new(number).unwrap();
            prop_assert_eq!(id.to_string().parse::<DecisionId>(), Ok(id));
        }

        #[test]
        fn a_run_holds_the_ids_that_counting_gives_and_no_other(start in prop_oneof![1..u64::MAX, u64::MAX - 9..=u64::MAX], count in 1..20_u64) {
            let first = DecisionId::new(start).unwrap();
            let mut id = first;
            for step in 0..count {
                prop_assert_eq!(id, first.after(step));
                prop_assert!(id.is_within(first, count));
                id = id.next();
            }
            prop_assert!(!id.is_within(first, count));
            prop_assert!(!first.is_within(first.next(), count));
        }
    }
}

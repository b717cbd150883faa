//! The running total of one sample name: what its series add up to, or why that cannot be said.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::line::Sample;
use super::{MAX_SERIES, MAX_VALUE, Problem};

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Total {
    value: f64,
    /// Hashes of the labels seen. One series is usual and needs no allocation.
    first: Option<u64>,
    more: Vec<u64>,
    problem: Option<Problem>,
}

pub(super) enum Added {
    Counted,
    Duplicate,
    Refused,
}

impl Total {
    pub(super) fn add(&mut self, sample: Result<Sample<'_>, Problem>) -> Added {
        match sample.and_then(|sample| believable(sample.value).map(|value| (sample.labels, value))) {
            Ok((labels, value)) => self.count(labels, value),
            Err(problem) => self.refuse(problem),
        }
    }

    pub(super) fn is_present(&self) -> bool {
        self.first.is_some() || self.problem.is_some()
    }

    pub(super) fn series(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }

    /// Whether both have the same series, in whatever order.
    pub(super) fn has_series_of(&self, other: &Self) -> bool {
        let other_has = |hash: &u64| other.first == Some(*hash) || other.more.contains(hash);
        self.series() == other.series() && self.first.iter().chain(&self.more).all(other_has)
    }

    pub(super) fn value(&self) -> Result<Option<f64>, Problem> {
        match self.problem {
            Some(problem) => Err(problem),
            None => Ok(self.first.map(|_| self.value)),
        }
    }

    fn count(&mut self, labels: &[u8], value: f64) -> Added {
        let mut hasher = DefaultHasher::new();
        labels.hash(&mut hasher);
        let hash = hasher.finish();
        if self.first == Some(hash) || self.more.contains(&hash) {
            return Added::Duplicate;
        }
        if self.series() == MAX_SERIES {
            return self.refuse(Problem::TooManySeries);
        }
        match self.first {
            None => self.first = Some(hash),
            Some(_) => self.more.push(hash),
        }
        self.value += value;
        Added::Counted
    }

    fn refuse(&mut self, problem: Problem) -> Added {
        self.problem.get_or_insert(problem);
        Added::Refused
    }
}

/// Nothing that we read can be negative, and a number that is not finite must never pass for one.
fn believable(value: f64) -> Result<f64, Problem> {
    if !value.is_finite() {
        Err(Problem::NotFinite)
    } else if value < 0.0 {
        Err(Problem::Negative)
    } else if value > MAX_VALUE {
        Err(Problem::TooLarge)
    } else {
        Ok(value)
    }
}

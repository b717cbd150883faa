//! What is wrong with what a user asked for, in words the user can act on.
//! Which complaints exist and how they read is decided here; who says them to whom is the programs' business.

use std::fmt;

/// Longer values are cut when they are quoted.
const MAX_QUOTED_CHARS: usize = 80;

/// One thing a user has to change, or should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    pub reason: Reason,
    /// The annotation, with the place inside it, or the field: `scaledobject.kaito.sh/metrics[0].upthreshold`.
    pub subject: String,
    /// The user's value, cut at 80 characters; absent when there is none to quote.
    pub value: Option<String>,
    /// What is wrong with it and what is accepted; continues the sentence that starts with the value.
    pub problem: String,
}

/// The closed list of complaints, which is also the list of Event reasons for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    InvalidAutoscalePolicy,
    InvalidReplicaRange,
    NodeCountLimitTooSmall,
    ScaledObjectConflict,
    UnknownAnnotation,
    IgnoredAnnotation,
    NodeCountLimitExceeded,
    NarrowBand,
    ThresholdUnreachable,
    ReplicasContested,
    ScalerNotServing,
}

impl Reason {
    /// Every reason, those that keep a ScaledObject from being rendered first.
    pub const ALL: [Self; 11] = [
        Self::InvalidAutoscalePolicy,
        Self::InvalidReplicaRange,
        Self::NodeCountLimitTooSmall,
        Self::ScaledObjectConflict,
        Self::UnknownAnnotation,
        Self::IgnoredAnnotation,
        Self::NodeCountLimitExceeded,
        Self::NarrowBand,
        Self::ThresholdUnreachable,
        Self::ReplicasContested,
        Self::ScalerNotServing,
    ];

    /// The reason as Events spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidAutoscalePolicy => "InvalidAutoscalePolicy",
            Self::InvalidReplicaRange => "InvalidReplicaRange",
            Self::NodeCountLimitTooSmall => "NodeCountLimitTooSmall",
            Self::ScaledObjectConflict => "ScaledObjectConflict",
            Self::UnknownAnnotation => "UnknownAnnotation",
            Self::IgnoredAnnotation => "IgnoredAnnotation",
            Self::NodeCountLimitExceeded => "NodeCountLimitExceeded",
            Self::NarrowBand => "NarrowBand",
            Self::ThresholdUnreachable => "ThresholdUnreachable",
            Self::ReplicasContested => "ReplicasContested",
            Self::ScalerNotServing => "ScalerNotServing",
        }
    }

    /// Whether nothing new is provisioned while the complaint stands; the last good ScaledObject stays.
    pub fn is_blocking(self) -> bool {
        matches!(
            self,
            Self::InvalidAutoscalePolicy | Self::InvalidReplicaRange | Self::NodeCountLimitTooSmall | Self::ScaledObjectConflict
        )
    }
}

impl Complaint {
    /// A complaint that quotes the user's value.
    pub(crate) fn about(reason: Reason, subject: impl Into<String>, value: &str, problem: impl Into<String>) -> Self {
        Self {
            reason,
            subject: subject.into(),
            value: Some(quoted(value)),
            problem: problem.into(),
        }
    }

    /// A complaint that has no single value to quote.
    pub(crate) fn that(reason: Reason, subject: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            reason,
            subject: subject.into(),
            value: None,
            problem: problem.into(),
        }
    }

    /// The usual complaint: this value is not what is accepted here.
    pub(crate) fn invalid(subject: impl Into<String>, value: &str, accepted: &str) -> Self {
        Self::about(
            Reason::InvalidAutoscalePolicy,
            subject,
            value,
            format!("is not accepted; it must be {accepted}"),
        )
    }

    /// Something required is absent.
    pub(crate) fn missing(subject: impl Into<String>, accepted: &str) -> Self {
        Self::that(
            Reason::InvalidAutoscalePolicy,
            subject,
            format!("missing; it must be {accepted}"),
        )
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(formatter, "{}: {value:?} {}", self.subject, self.problem),
            None => write!(formatter, "{}: {}", self.subject, self.problem),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A user's text, cut so that one value cannot fill a message.
pub(crate) fn quoted(value: &str) -> String {
    let mut chars = value.chars();
    let mut text: String = chars.by_ref().take(MAX_QUOTED_CHARS).collect();
    if chars.next().is_some() {
        text.push('…');
    }
    text
}

/// The candidate that takes the fewest edits to reach, letter case aside; `None` without candidates.
pub(crate) fn nearest<'a>(text: &str, candidates: &[&'a str]) -> Option<&'a str> {
    // What is longer than any key is no misspelling of one; cutting it bounds the work.
    let text: Vec<char> = text.chars().take(64).flat_map(char::to_lowercase).collect();
    candidates
        .iter()
        .copied()
        .min_by_key(|candidate| edits(&text, &candidate.to_lowercase()))
}

/// Levenshtein distance.
fn edits(from: &[char], to: &str) -> usize {
    let mut row: Vec<usize> = (0..=from.len()).collect();
    for (line, wanted) in to.chars().enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        let mut next = vec![left];
        for (found, above) in from.iter().zip(row.iter().skip(1)) {
            let replaced = diagonal + usize::from(*found != wanted);
            diagonal = *above;
            left = replaced.min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Complaint, Reason, nearest, quoted};

    #[test]
    fn complaint_names_the_key_quotes_the_value_and_says_what_is_accepted() {
        let complaint = Complaint::invalid("a/threshold", "t\u{1b}en", "a finite number above 0");
        assert_eq!(
            complaint.to_string(),
            r#"a/threshold: "t\u{1b}en" is not accepted; it must be a finite number above 0"#
        );
        let complaint = Complaint::missing("a/threshold", "a finite number above 0");
        assert_eq!(
            complaint.to_string(),
            "a/threshold: missing; it must be a finite number above 0"
        );
    }

    #[test]
    fn long_values_are_cut() {
        assert_eq!(quoted(&"é".repeat(80)), "é".repeat(80));
        assert_eq!(quoted(&"é".repeat(81)), format!("{}…", "é".repeat(80)));
    }

    #[test]
    fn nearest_key_takes_the_fewest_edits() {
        let keys = ["upthreshold", "downthreshold", "name", "type"];
        for (text, key) in [
            ("upThreshold", "upthreshold"),
            ("upthresold", "upthreshold"),
            ("down_threshold", "downthreshold"),
            ("nmae", "name"),
            ("tpye", "type"),
        ] {
            assert_eq!(nearest(text, &keys), Some(key), "{text}");
        }
        assert_eq!(nearest("x", &[]), None);
    }

    #[test]
    fn every_reason_is_listed_once() {
        let mut names: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
    }
}

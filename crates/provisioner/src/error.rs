//! What can go wrong while one InferenceSet is reconciled, sorted by what it means for the next try.

use keda_kaito_core::crd::ScaledObject;
use keda_kaito_runtime::client::describe;
use keda_kaito_runtime::panics::Panicked;
use kube::Error as KubeError;
use thiserror::Error;

/// A failed step.
#[derive(Debug, Error)]
pub(crate) enum Error {
    #[error("failed to {step} ScaledObject {name:?}: {}", describe(source))]
    Call { step: Step, name: String, source: KubeError },
    #[error("ScaledObject {name:?} exists and cannot be read: {reason}")]
    Unreadable { name: String, reason: String },
    #[error("ScaledObject {name:?} changed with every try")]
    Contended { name: String },
    #[error("the reconciliation {0}")]
    Panic(Panicked),
}

/// A call, as it appears in messages and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Create,
    Update,
    TakeOver,
    Delete,
    Read,
}

/// What the API server thinks of a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Somebody else was faster.
    Conflict,
    /// The object is not there.
    NotFound,
    /// The API server or an admission webhook does not want it.
    Refused,
    /// No usable answer: try again later.
    Unavailable,
}

impl Error {
    /// One word from a closed list, for labels and logs.
    pub(crate) fn category(&self) -> &'static str {
        match self {
            Self::Call { source, .. } => match refusal(source) {
                Refusal::Conflict => "conflict",
                Refusal::NotFound => "not_found",
                Refusal::Refused => "refused",
                Refusal::Unavailable => "unavailable",
            },
            Self::Unreadable { .. } => "unreadable",
            Self::Contended { .. } => "conflict",
            Self::Panic(_) => "panic",
        }
    }

    /// Whether the user should hear of it: nothing we do will make it go away.
    pub(crate) fn is_for_the_user(&self) -> bool {
        matches!(self.category(), "refused" | "unreadable")
    }
}

impl Step {
    /// One word, for labels.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::TakeOver => "take_over",
            Self::Delete => "delete",
            Self::Read => "read",
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.as_str().replace('_', " "))
    }
}

pub(crate) fn refusal(error: &KubeError) -> Refusal {
    let KubeError::Api(status) = error else {
        return Refusal::Unavailable;
    };
    match status.code {
        409 => Refusal::Conflict,
        404 => Refusal::NotFound,
        400 | 401 | 403 | 405 | 406 | 413 | 415 | 422 => Refusal::Refused,
        _ => Refusal::Unavailable,
    }
}

pub(crate) fn name_of(object: &ScaledObject) -> &str {
    object.metadata.name.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use kube::Error as KubeError;
    use kube::core::Status;

    use super::{Error, Refusal, Step, refusal};

    fn answer(code: u16) -> KubeError {
        KubeError::Api(Box::new(Status::failure("no", "Reason").with_code(code)))
    }

    #[test]
    fn refusals_follow_the_status_code() {
        for (code, expected) in [
            (409, Refusal::Conflict),
            (404, Refusal::NotFound),
            (403, Refusal::Refused),
            (422, Refusal::Refused),
            (429, Refusal::Unavailable),
            (500, Refusal::Unavailable),
            (503, Refusal::Unavailable),
        ] {
            assert_eq!(refusal(&answer(code)), expected, "{code}");
        }
    }

    #[test]
    fn user_hears_of_what_only_they_can_change() {
        let error = |code| Error::Call {
            step: Step::Create,
            name: "phi-4".to_owned(),
            source: answer(code),
        };
        assert!(error(422).is_for_the_user());
        assert!(!error(503).is_for_the_user());
        assert_eq!(
            error(422).to_string(),
            "failed to create ScaledObject \"phi-4\": 422 Reason: no"
        );
    }
}

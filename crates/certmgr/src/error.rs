//! What can go wrong in one turn. Every failure is tried again; none carries key material.

use keda_kaito_runtime::client::describe;
use keda_kaito_runtime::panics::Panicked;
use kube::Error as KubeError;
use thiserror::Error;

/// A failed step.
#[derive(Debug, Error)]
pub(crate) enum Error {
    #[error("failed to read {object:?}: {}", describe(source))]
    Read { object: &'static str, source: KubeError },
    #[error("failed to ask the API server for the time: {}", describe(source))]
    Clock { source: KubeError },
    #[error("failed to write {object:?}: {}", describe(source))]
    Write { object: &'static str, source: KubeError },
    #[error("failed to issue {what}: {why}")]
    Issue { what: &'static str, why: String },
    #[error("blocking work ended early: {0}")]
    Join(#[from] tokio::task::JoinError),
    #[error("the turn {0}")]
    Panic(#[from] Panicked),
    #[error("no end after {steps} writes in a row; the last was to {object:?}")]
    Endless { steps: usize, object: &'static str },
}

impl Error {
    /// One word from a closed list, for labels and logs.
    pub(crate) fn category(&self) -> &'static str {
        match self {
            Self::Read { source, .. } | Self::Clock { source } | Self::Write { source, .. } => refusal(source),
            Self::Issue { .. } => "issue",
            Self::Join(_) | Self::Panic(_) => "internal",
            Self::Endless { .. } => "endless",
        }
    }
}

fn refusal(error: &KubeError) -> &'static str {
    let KubeError::Api(status) = error else { return "unavailable" };
    match status.code {
        401 | 403 => "forbidden",
        404 => "not_found",
        400 | 422 => "refused",
        _ => "unavailable",
    }
}

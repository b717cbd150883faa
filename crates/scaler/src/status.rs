//! From what went wrong to a gRPC status: the whole table. The messages become Warning Events that users read.

use keda_kaito_core::trigger::DecodeError;
use tonic::Status;

use crate::registry::AnswerError;

/// The caller's metadata cannot be used; the message names the key.
pub fn bad_metadata(error: &DecodeError) -> Status {
    Status::invalid_argument(error.to_string())
}

/// A trigger asks about an InferenceSet of another namespace: KEDA fills in the ScaledObject's, a tenant the other.
pub fn foreign_namespace(wanted: &str, own: &str) -> Status {
    Status::permission_denied(format!(
        "inferenceSetNamespace: {wanted:?} is not the ScaledObject's own namespace {own:?}"
    ))
}

/// Nothing safe can be said; KEDA and the HPA keep what they have.
pub fn unavailable(reason: impl Into<String>) -> Status {
    Status::unavailable(reason)
}

/// A question that the registry cannot answer.
pub fn no_answer(error: &AnswerError) -> Status {
    let message = error.to_string();
    match error {
        AnswerError::NotFound(_) => Status::not_found(message),
        AnswerError::TooManyEndpoints(_) | AnswerError::TooManyTriggers(_) => Status::resource_exhausted(message),
        AnswerError::Starting | AnswerError::TriggerUnknown { .. } | AnswerError::CountUnconfirmed(..) | AnswerError::Blind => {
            Status::unavailable(message)
        }
    }
}

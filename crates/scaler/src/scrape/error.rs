//! Why a scrape gave nothing. No message holds anything of what the target sent.

use std::time::Duration;

use keda_kaito_core::exposition::ReadError;
use thiserror::Error;

use super::exchange::FLOOR;
use super::response::MAX_BODY;

/// One failed scrape.
#[derive(Debug, Error)]
pub enum ScrapeError {
    #[error("failed to connect: {0}")]
    Connect(std::io::ErrorKind),
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    #[error("TLS handshake failed")]
    Tls,
    #[error("no response within {0:?}")]
    FirstByteTimeout(Duration),
    #[error("no complete response within {0:?}")]
    Timeout(Duration),
    #[error("the body comes slower than {FLOOR} bytes a second")]
    TooSlow,
    #[error("the connection broke, or what came is not HTTP")]
    Http,
    #[error("status {0}")]
    Status(u16),
    #[error("the response is encoded")]
    Encoding,
    #[error("the content type is not text/plain")]
    ContentType,
    #[error("the body is longer than {MAX_BODY} bytes")]
    TooLarge,
    #[error("the body is cut short")]
    CutShort,
    #[error("the body cannot be read: {0}")]
    Exposition(#[from] ReadError),
    #[error("the pod has changed")]
    PodChanged,
}

impl ScrapeError {
    /// A word from a closed list, for labels.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Connect(_) | Self::ConnectTimeout(_) => "connect",
            Self::Tls => "tls",
            Self::FirstByteTimeout(_) | Self::Timeout(_) | Self::TooSlow => "timeout",
            Self::Http | Self::CutShort => "http",
            Self::Status(_) => "status",
            Self::Encoding | Self::ContentType => "content",
            Self::TooLarge => "size",
            Self::Exposition(_) => "exposition",
            Self::PodChanged => "pod_changed",
        }
    }

    /// The HTTP status of the answer, if there was one that can be used.
    pub fn http_status(&self) -> Option<u16> {
        match self {
            Self::Status(status) => Some(*status),
            Self::Encoding
            | Self::ContentType
            | Self::TooLarge
            | Self::CutShort
            | Self::Exposition(_)
            | Self::Connect(_)
            | Self::ConnectTimeout(_)
            | Self::Tls
            | Self::FirstByteTimeout(_)
            | Self::Timeout(_)
            | Self::TooSlow
            | Self::Http
            | Self::PodChanged => None,
        }
    }

    /// Whether the target answered, so that asking it in another form makes sense.
    pub(super) fn is_answer(&self) -> bool {
        matches!(
            self,
            Self::Status(_) | Self::Encoding | Self::ContentType | Self::TooLarge | Self::CutShort | Self::Exposition(_)
        )
    }
}

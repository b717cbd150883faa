//! One HTTP/1.1 request on a connection of its own to one address, under limits of time and size.
//! No names are resolved, no redirects followed, no proxies used, nothing is retried.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use keda_kaito_core::trigger::Protocol;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::error::ScrapeError;
use super::tls;

/// Longest body.
pub const MAX_BODY: usize = 4 * 1024 * 1024;
/// Bounds the response's head; the body passes through the same buffer.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// Fewest bytes of a body per second, after a first second of grace.
pub(super) const FLOOR: usize = 1024;
const ACCEPTED: &str = "text/plain;version=0.0.4";
const AGENT: &str = concat!("keda-kaito-scaler/", env!("CARGO_PKG_VERSION"));

/// Whom to ask for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    pub(super) address: SocketAddr,
    pub(super) protocol: Protocol,
    pub(super) path_and_query: &'a str,
    pub(super) timeout: Duration,
    pub(super) deadline: Instant,
}

/// The body of a 200 answer.
pub(super) async fn get(ask: Ask<'_>) -> Result<Bytes, ScrapeError> {
    match timeout_at(ask.deadline, exchange(ask)).await {
        Ok(result) => result,
        Err(_elapsed) => Err(ScrapeError::Timeout(ask.timeout)),
    }
}

async fn exchange(ask: Ask<'_>) -> Result<Bytes, ScrapeError> {
    // A third of the time for the connection, two thirds until the answer begins: 1 s and 2 s of the usual 3 s.
    let connect = ask.timeout / 3;
    let stream = match tokio::time::timeout(connect, TcpStream::connect(ask.address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(ScrapeError::Connect(error.kind())),
        Err(_elapsed) => return Err(ScrapeError::ConnectTimeout(connect)),
    };
    // Only latency is at stake.
    let _nodelay = stream.set_nodelay(true);
    match ask.protocol {
        Protocol::Http => talk(stream, ask).await,
        Protocol::Https => talk(tls::connect(stream, ask.address).await?, ask).await,
    }
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin + Send>(stream: S, ask: Ask<'_>) -> Result<Bytes, ScrapeError> {
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_error| ScrapeError::Http)?;
    let request = request(ask).ok_or(ScrapeError::Http)?;
    drive(connection, ask_and_read(sender, request, ask.timeout)).await
}

/// Polls the connection beside the exchange; what it delivered before it ended can still be read.
async fn drive<T>(connection: impl Future, exchange: impl Future<Output = Result<T, ScrapeError>>) -> Result<T, ScrapeError> {
    let mut connection = pin!(connection);
    let mut exchange = pin!(exchange);
    tokio::select! {
        biased;
        result = &mut exchange => return result,
        _ = &mut connection => {}
    }
    exchange.await
}

async fn ask_and_read(
    mut sender: http1::SendRequest<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
    timeout: Duration,
) -> Result<Bytes, ScrapeError> {
    let first_byte = timeout * 2 / 3;
    let response = match tokio::time::timeout(first_byte, sender.send_request(request)).await {
        Ok(response) => response.map_err(|_error| ScrapeError::Http)?,
        Err(_elapsed) => return Err(ScrapeError::FirstByteTimeout(first_byte)),
    };
    if response.status() != StatusCode::OK {
        return Err(ScrapeError::Status(response.status().as_u16()));
    }
    check(response.headers())?;
    let framed = response.body().size_hint().exact().is_some()
        || (response.version() == Version::HTTP_11 && response.headers().contains_key(http::header::TRANSFER_ENCODING));
    let body = read(response.into_body()).await?;
    // Where only the end of the connection ends the body, a cut looks like an end.
    if !framed && body.last() != Some(&b'\n') {
        return Err(ScrapeError::CutShort);
    }
    Ok(body)
}

fn request(ask: Ask<'_>) -> Option<Request<Empty<Bytes>>> {
    Request::builder()
        .method(Method::GET)
        .uri(ask.path_and_query)
        .header(HOST, ask.address.to_string())
        .header(ACCEPT, ACCEPTED)
        .header(ACCEPT_ENCODING, "identity")
        .header(CONNECTION, "close")
        .header(USER_AGENT, AGENT)
        .body(Empty::new())
        .ok()
}

fn check(headers: &HeaderMap) -> Result<(), ScrapeError> {
    let encoded = |value: &http::HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get(CONTENT_ENCODING).is_some_and(encoded) {
        return Err(ScrapeError::Encoding);
    }
    let readable = |value: &http::HeaderValue| {
        let text = value.as_bytes().to_ascii_lowercase();
        text.starts_with(b"text/plain") || text.starts_with(b"application/openmetrics-text")
    };
    if headers.get(CONTENT_TYPE).is_some_and(|value| !readable(value)) {
        return Err(ScrapeError::ContentType);
    }
    Ok(())
}

/// A server that answers a byte at a time must not keep a slot for the whole of its timeout.
async fn frame(body: &mut Incoming, begun: Instant, received: usize) -> Result<Option<Bytes>, ScrapeError> {
    let seconds = u32::try_from(received / FLOOR).unwrap_or(u32::MAX);
    let Ok(frame) = timeout_at(
        begun + Duration::from_secs(1).saturating_mul(seconds.saturating_add(1)),
        body.frame(),
    )
    .await
    else {
        return Err(ScrapeError::TooSlow);
    };
    let Some(frame) = frame else { return Ok(None) };
    let frame = frame.map_err(|_error| ScrapeError::Http)?;
    // Trailers are no data.
    Ok(Some(frame.into_data().unwrap_or_default()))
}

async fn read(mut body: Incoming) -> Result<Bytes, ScrapeError> {
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if expected > MAX_BODY {
        return Err(ScrapeError::TooLarge);
    }
    let mut first = Bytes::new();
    let mut all = Vec::new();
    let begun = Instant::now();
    while let Some(data) = frame(&mut body, begun, first.len() + all.len()).await? {
        if first.len() + all.len() + data.len() > MAX_BODY {
            return Err(ScrapeError::TooLarge);
        }
        // A filtered body is one frame and is not copied.
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            all.reserve(expected.max(4 * first.len()));
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.into() })
}

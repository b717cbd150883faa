//! One HTTP/1.1 request on a connection of its own to one address, under limits of time and size.
//! No names are resolved, no redirects followed, no proxies used, nothing is retried.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use keda_kaito_core::trigger::Protocol;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::error::ScrapeError;
use super::response::{Chunks, Framing, MAX_BODY, end_of_head, framing};
use super::tls;

/// Fewest bytes of a body per second, after a first second of grace.
pub(super) const FLOOR: usize = 1024;
/// A filtered page with its head fits into it.
const FIRST_READ: usize = 8 * 1024;
/// A page grows by this much at least; one that claims to be large must show it.
const MORE: usize = 64 * 1024;
/// Chunks may cost as much again as what is in them.
const MAX_RECEIVED: usize = 2 * MAX_BODY;
const HEADERS: &str = concat!(
    "accept: text/plain;version=0.0.4\r\naccept-encoding: identity\r\nconnection: close\r\nuser-agent: keda-kaito-scaler/",
    env!("CARGO_PKG_VERSION"),
    "\r\n\r\n"
);

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
    // A third of the time for the connection, two thirds until the answer begins: 1 s and 2 s of the usual 3 s.
    let connect = ask.timeout / 3;
    let dial = TcpStream::connect(ask.address);
    let stream = ask
        .within(Instant::now() + connect, ScrapeError::ConnectTimeout(connect), dial)
        .await?;
    let stream = stream.map_err(|error| ScrapeError::Connect(error.kind()))?;
    match ask.protocol {
        Protocol::Http => talk(stream, ask).await,
        // On the heap: else every scrape, few of which are encrypted, would carry room for it.
        Protocol::Https => Box::pin(encrypted(stream, ask)).await,
    }
}

async fn encrypted(stream: TcpStream, ask: Ask<'_>) -> Result<Bytes, ScrapeError> {
    let handshake = tls::connect(stream, ask.address);
    let stream = ask
        .within(ask.deadline, ScrapeError::Timeout(ask.timeout), handshake)
        .await??;
    talk(stream, ask).await
}

impl Ask<'_> {
    /// What `work` gives, if it does before a limit of its own and before the deadline of all.
    async fn within<T>(self, limit: Instant, late: ScrapeError, work: impl Future<Output = T>) -> Result<T, ScrapeError> {
        match timeout_at(limit.min(self.deadline), work).await {
            Ok(done) => Ok(done),
            Err(_elapsed) if limit < self.deadline => Err(late),
            Err(_elapsed) => Err(ScrapeError::Timeout(self.timeout)),
        }
    }

    /// No part of a request may smuggle in another.
    fn request(&self) -> Result<String, ScrapeError> {
        if !self.path_and_query.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ScrapeError::Http);
        }
        Ok(format!(
            "GET {} HTTP/1.1\r\nhost: {}\r\n{HEADERS}",
            self.path_and_query, self.address
        ))
    }
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, ask: Ask<'_>) -> Result<Bytes, ScrapeError> {
    let mut received = Vec::with_capacity(FIRST_READ);
    let first_byte = ask.timeout * 2 / 3;
    let late = ScrapeError::FirstByteTimeout(first_byte);
    let answered = ask_and_hear(&mut stream, ask.request()?, &mut received);
    let head = ask.within(Instant::now() + first_byte, late, answered).await??;
    let framing = framing(received.get(..head).unwrap_or_default())?;
    let mut body = Incoming {
        stream,
        ask,
        begun: Instant::now(),
        received,
    };
    match framing {
        Framing::Length(length) => body.sized(head, length).await?,
        Framing::Close => body.until_closed(head).await?,
        Framing::Chunked => return body.chunked(head).await,
    }
    Ok(Bytes::from(body.received).slice(head..))
}

/// Returns the length of the head; the body may have begun behind it.
async fn ask_and_hear<S>(stream: &mut S, request: String, received: &mut Vec<u8>) -> Result<usize, ScrapeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    loop {
        let fresh = stream.read_buf(received).await.map_err(broken)?;
        if let Some(head) = end_of_head(received, fresh)? {
            return Ok(head);
        }
        if fresh == 0 {
            return Err(ScrapeError::Http);
        }
    }
}

fn broken(_error: std::io::Error) -> ScrapeError {
    ScrapeError::Http
}

/// A body as it comes.
struct Incoming<'a, S> {
    stream: S,
    ask: Ask<'a>,
    begun: Instant,
    /// With the head in front, unless it comes in chunks.
    received: Vec<u8>,
}

impl<S: AsyncRead + Unpin> Incoming<'_, S> {
    async fn sized(&mut self, head: usize, length: usize) -> Result<(), ScrapeError> {
        while self.received.len() < head + length {
            if self.more(self.received.len() - head).await? == 0 {
                return Err(ScrapeError::Http);
            }
        }
        self.received.truncate(head + length);
        Ok(())
    }

    async fn until_closed(&mut self, head: usize) -> Result<(), ScrapeError> {
        while self.more(self.received.len() - head).await? > 0 {
            if self.received.len() - head > MAX_BODY {
                return Err(ScrapeError::TooLarge);
            }
        }
        // A cut looks like an end.
        let whole = self.received.len() > head && self.received.last() == Some(&b'\n');
        if whole { Ok(()) } else { Err(ScrapeError::CutShort) }
    }

    async fn chunked(&mut self, head: usize) -> Result<Bytes, ScrapeError> {
        let mut chunks = Chunks::default();
        let mut total = self.received.len();
        self.received.drain(..head);
        while !chunks.take(&mut self.received)? {
            let fresh = self.more(chunks.body.len()).await?;
            total += fresh;
            if fresh == 0 {
                return Err(ScrapeError::Http);
            }
            if total > MAX_RECEIVED {
                return Err(ScrapeError::TooLarge);
            }
        }
        Ok(chunks.body.into())
    }

    /// Reads what is there; 0 at the end. A server that answers a byte at a time must not keep a slot for the whole of its
    /// timeout: `body` says how much of the body has come.
    async fn more(&mut self, body: usize) -> Result<usize, ScrapeError> {
        if self.received.len() == self.received.capacity() {
            self.received.reserve(MORE);
        }
        let seconds = u32::try_from(body / FLOOR).unwrap_or(u32::MAX);
        let limit = self.begun + Duration::from_secs(1).saturating_mul(seconds.saturating_add(1));
        let read = self.stream.read_buf(&mut self.received);
        self.ask.within(limit, ScrapeError::TooSlow, read).await?.map_err(broken)
    }
}

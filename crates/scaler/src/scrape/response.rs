//! An HTTP/1.1 response taken apart: what its head says of the body, and chunks put together. It reads no socket, keeps no
//! time and knows only what a scrape needs: one answer per connection, `200 OK`, plain text.

use httparse::{EMPTY_HEADER, Header, Status};
use memchr::memmem;

use super::error::ScrapeError;

/// Longest body.
pub const MAX_BODY: usize = 4 * 1024 * 1024;
/// Longest head.
pub(super) const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
const PROTOCOL: &[u8] = b"HTTP/";
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// How the end of the body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(usize),
    Chunked,
    /// The connection's end. A cut looks the same.
    Close,
}

/// Length of the head, once it is complete. Its last `fresh` bytes have not been looked at before.
///
/// # Errors
/// It is no head, or too long for one.
pub(super) fn end_of_head(received: &[u8], fresh: usize) -> Result<Option<usize>, ScrapeError> {
    if received.iter().zip(PROTOCOL).any(|(byte, expected)| byte != expected) {
        return Err(ScrapeError::Http);
    }
    let from = received.len().saturating_sub(fresh + END_OF_HEAD.len() - 1);
    let found = memmem::find(received.get(from..).unwrap_or_default(), END_OF_HEAD);
    let length = found.map(|at| from + at + END_OF_HEAD.len());
    match length {
        Some(length) if length <= MAX_HEAD => Ok(Some(length)),
        None if received.len() < MAX_HEAD => Ok(None),
        Some(_) | None => Err(ScrapeError::Http),
    }
}

/// What a complete head says of the body.
///
/// # Errors
/// The answer is not a page that can be read.
pub(super) fn framing(head: &[u8]) -> Result<Framing, ScrapeError> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(head) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) | Err(_) => return Err(ScrapeError::Http),
    }
    match response.code {
        Some(200) => {}
        Some(code) => return Err(ScrapeError::Status(code)),
        None => return Err(ScrapeError::Http),
    }
    let mut framing = Framing::Close;
    for header in response.headers.iter() {
        framing = take(header, framing)?;
    }
    // A server of HTTP/1.0 does not know chunks.
    match (framing, response.version) {
        (Framing::Chunked, Some(0)) => Err(ScrapeError::Http),
        (Framing::Length(length), _) if length > MAX_BODY => Err(ScrapeError::TooLarge),
        _ => Ok(framing),
    }
}

fn take(header: &Header<'_>, so_far: Framing) -> Result<Framing, ScrapeError> {
    let named = |name: &str| header.name.eq_ignore_ascii_case(name);
    let value = header.value.trim_ascii();
    if named("content-length") {
        let length = length(value).ok_or(ScrapeError::Http)?;
        return match so_far {
            Framing::Length(other) if other != length => Err(ScrapeError::Http),
            Framing::Chunked => Ok(Framing::Chunked),
            Framing::Length(_) | Framing::Close => Ok(Framing::Length(length)),
        };
    }
    if named("transfer-encoding") {
        let known = value.eq_ignore_ascii_case(b"chunked") && so_far != Framing::Chunked;
        return if known { Ok(Framing::Chunked) } else { Err(ScrapeError::Http) };
    }
    if named("content-encoding") && !value.eq_ignore_ascii_case(b"identity") {
        return Err(ScrapeError::Encoding);
    }
    if named("content-type") && !is_readable(value) {
        return Err(ScrapeError::ContentType);
    }
    Ok(so_far)
}

/// Plain text, whatever its version and character set.
fn is_readable(content_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"text/plain")
}

/// Digits only, and no more than can be meant.
fn length(value: &[u8]) -> Option<usize> {
    let digits = (1..=15).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| digits)?;
    text.parse().ok()
}

/// Chunks, put together as they come.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    pub(super) body: Vec<u8>,
    expected: Expected,
}

#[derive(Clone, Copy, Debug, Default)]
enum Expected {
    #[default]
    Size,
    Data(usize),
    /// The line end after a chunk.
    End,
}

impl Chunks {
    /// Takes what it can from the front of `received`. True once the last chunk has come; trailers are no data.
    ///
    /// # Errors
    /// They are no chunks, or too many.
    pub(super) fn take(&mut self, received: &mut Vec<u8>) -> Result<bool, ScrapeError> {
        let mut rest = received.as_slice();
        let complete = self.take_from(&mut rest)?;
        let taken = received.len() - rest.len();
        received.drain(..taken);
        Ok(complete)
    }

    fn take_from(&mut self, rest: &mut &[u8]) -> Result<bool, ScrapeError> {
        loop {
            match self.expected {
                Expected::Size => match httparse::parse_chunk_size(rest) {
                    Ok(Status::Complete((_, 0))) => return Ok(true),
                    Ok(Status::Complete((line, size))) => {
                        let size = usize::try_from(size).unwrap_or(usize::MAX);
                        if size > MAX_BODY - self.body.len() {
                            return Err(ScrapeError::TooLarge);
                        }
                        *rest = rest.get(line..).unwrap_or_default();
                        self.expected = Expected::Data(size);
                    }
                    Ok(Status::Partial) if rest.len() < MAX_HEAD => return Ok(false),
                    Ok(Status::Partial) | Err(_) => return Err(ScrapeError::Http),
                },
                Expected::Data(missing) => {
                    let (data, after) = rest.split_at(missing.min(rest.len()));
                    self.body.extend_from_slice(data);
                    *rest = after;
                    if data.len() < missing {
                        self.expected = Expected::Data(missing - data.len());
                        return Ok(false);
                    }
                    self.expected = Expected::End;
                }
                Expected::End => match rest {
                    [b'\r', b'\n', after @ ..] => {
                        *rest = after;
                        self.expected = Expected::Size;
                    }
                    [] | [b'\r'] => return Ok(false),
                    _ => return Err(ScrapeError::Http),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests;

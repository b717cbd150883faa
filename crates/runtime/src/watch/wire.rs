//! Pages of lists and events of watches as they come over the wire, each of a bounded size. kube's own readers have no
//! bound, and log a list they cannot read with all that is in it.

use std::io;

use futures::{AsyncReadExt, Stream, StreamExt};
use http::{HeaderValue, Request, header};
use kube::core::{DeserializeGuard, ObjectList, Status, WatchEvent};
use kube::{Client, Error, Resource};
use serde::de::DeserializeOwned;
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};
use tokio_util::compat::FuturesAsyncReadCompatExt;

/// The API server takes no object of more than 3 MiB.
const MAX_EVENT: usize = 8 * 1024 * 1024;
/// Far above a page of ordinary objects, and a bound on memory.
const MAX_PAGE: u64 = 256 * 1024 * 1024;

/// One page of a list.
pub(super) async fn page<K>(client: &Client, request: Request<Vec<u8>>) -> Result<ObjectList<DeserializeGuard<K>>, Error>
where
    K: Resource + Clone + DeserializeOwned,
{
    let mut text = Vec::new();
    let body = client.request_stream(request).await?;
    let mut body = std::pin::pin!(body.take(MAX_PAGE + 1));
    body.read_to_end(&mut text).await.map_err(Error::ReadEvents)?;
    if u64::try_from(text.len()).is_ok_and(|length| length > MAX_PAGE) {
        return Err(Error::Service(
            format!("a page of the list is larger than {MAX_PAGE} bytes").into(),
        ));
    }
    serde_json::from_slice(&text).map_err(Error::SerdeError)
}

/// The events of one watch call, once it has been accepted. It ends where the server, or something on the way, ends it.
pub(super) async fn events<K>(
    client: &Client,
    mut request: Request<Vec<u8>>,
) -> Result<impl Stream<Item = Result<WatchEvent<DeserializeGuard<K>>, Error>> + use<K>, Error>
where
    K: Resource + Clone + DeserializeOwned,
{
    // Servers from 1.37 on compress every event by itself, of which the client would read the first.
    let identity = HeaderValue::from_static("identity");
    request.headers_mut().entry(header::ACCEPT_ENCODING).or_insert(identity);
    let body = Box::pin(client.request_stream(request).await?).compat();
    let lines = FramedRead::new(body, LinesCodec::new_with_max_length(MAX_EVENT));
    Ok(lines.filter_map(|line| std::future::ready(event(line))))
}

fn event<K: DeserializeOwned>(line: Result<String, LinesCodecError>) -> Option<Result<WatchEvent<K>, Error>> {
    let line = match line {
        Ok(line) => line,
        Err(LinesCodecError::MaxLineLengthExceeded) => return Some(Err(Error::LinesCodecMaxLineLengthExceeded)),
        Err(LinesCodecError::Io(error)) if is_end(&error) => return None,
        Err(LinesCodecError::Io(error)) => return Some(Err(Error::ReadEvents(error))),
    };
    match serde_json::from_str(&line) {
        Ok(event) => Some(Ok(event)),
        // The last line, cut short where the connection ended.
        Err(error) if error.is_eof() => None,
        Err(error) => Some(Err(match serde_json::from_str::<Status>(&line) {
            Ok(status) => Error::Api(Box::new(status)),
            Err(_) => Error::SerdeError(error),
        })),
    }
}

/// Load balancers end long connections without a word; what was seen until then is still good.
fn is_end(error: &io::Error) -> bool {
    let mut cause = error.get_ref().map(|inner| inner as &dyn std::error::Error);
    let mut ended = error.kind() == io::ErrorKind::UnexpectedEof;
    while let (false, Some(error)) = (ended, cause) {
        let io = error.downcast_ref::<io::Error>();
        ended = io.is_some_and(|io| io.kind() == io::ErrorKind::UnexpectedEof) || error.to_string().contains("unexpected EOF");
        cause = error.source();
    }
    ended
}

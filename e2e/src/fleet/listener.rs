//! The HTTP server on one pod's port 5000: opens, closes and cuts it as told, and puts `answer`'s answers on the wire.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, Delivery, Mode, Page, answer};
use super::exposition::View;
use super::pod::{PodEntry, Serving};
use super::settings::Fault;
use super::state::Fleet;

/// The port KAITO's pods serve on.
pub const PORT: u16 = 5000;
/// vLLM passes this to its server; a kept connection is closed after so much idleness.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Pause before the next try at an address or an accept that failed.
const PAUSE: Duration = Duration::from_millis(50);
const PADDING_CHUNK: usize = 64 * 1024;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Serves a pod until it is forgotten.
pub async fn serve(fleet: Arc<Fleet>, entry: Arc<PodEntry>) {
    let mut serving = entry.serving.subscribe();
    let mut settings = entry.settings.subscribe();
    loop {
        let wanted = *serving.borrow_and_update();
        let refusing = settings.borrow_and_update().fault == Some(Fault::Refuse);
        let session = async {
            match wanted.address {
                Some(address) if wanted.mode != Mode::Closed && !refusing => {
                    listen(&fleet, &entry, SocketAddr::from((address, PORT))).await;
                }
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            () = entry.gone.cancelled() => return,
            () = session => {}
            () = next_session(wanted, refusing, &mut serving, &mut settings) => {}
        }
    }
}

type Settings = tokio::sync::watch::Receiver<Arc<super::settings::Settings>>;

/// Until another server must hold the port, or none.
async fn next_session(
    now: Serving,
    refusing: bool,
    serving: &mut tokio::sync::watch::Receiver<Serving>,
    settings: &mut Settings,
) {
    let other = serving.wait_for(|wanted| *wanted != now);
    let switched = settings.wait_for(|chosen| (chosen.fault == Some(Fault::Refuse)) != refusing);
    // A closed channel means that the pod is forgotten, which ends the caller.
    tokio::select! {
        _ = other => {}
        _ = switched => {}
    }
}

async fn listen(fleet: &Arc<Fleet>, entry: &Arc<PodEntry>, address: SocketAddr) {
    // Dropped with this future, which cuts every connection of the session.
    let cut = CancellationToken::new();
    let _guard = cut.clone().drop_guard();
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) => {
                tracing::debug!(%address, %error, "address is not free");
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                entry.stats.accepted.fetch_add(1, Ordering::Relaxed);
                let connection = connection(Arc::clone(fleet), Arc::clone(entry), stream);
                let cut = cut.clone();
                let open = OpenConnection::count(Arc::clone(entry));
                tokio::spawn(async move {
                    let _open = open;
                    tokio::select! {
                        () = cut.cancelled() => {}
                        () = connection => {}
                    }
                });
            }
            Err(error) => {
                tracing::debug!(%address, %error, "cannot accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Counted as open for as long as it lives.
struct OpenConnection(Arc<PodEntry>);

impl OpenConnection {
    fn count(entry: Arc<PodEntry>) -> Self {
        entry.stats.open.fetch_add(1, Ordering::Relaxed);
        Self(entry)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.stats.open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn connection(fleet: Arc<Fleet>, entry: Arc<PodEntry>, stream: TcpStream) {
    let service = service_fn(move |request| respond(Arc::clone(&fleet), Arc::clone(&entry), request));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(KEEP_ALIVE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::trace!(%error, "connection ended");
    }
}

async fn respond(fleet: Arc<Fleet>, entry: Arc<PodEntry>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let answer = draw(&fleet, &entry, request.method().as_str(), request.uri());
    tokio::time::sleep(answer.delay).await;
    if answer.delivery == Delivery::Withheld {
        std::future::pending::<()>().await;
    }
    Ok(response(answer))
}

fn draw(fleet: &Fleet, entry: &PodEntry, method: &str, uri: &http::Uri) -> Answer {
    let settings = Arc::clone(&entry.settings.borrow());
    let values = fleet.values(entry);
    let fault = Fleet::fault(&settings);
    let none = std::collections::BTreeMap::new();
    let seen = entry.stats.requests().values().sum::<u64>();
    let page = Page {
        mode: entry.serving.borrow().mode,
        fault,
        template: &fleet.template,
        view: View {
            model: entry.identity.model(),
            values: &values,
            samples: settings.samples.as_ref().unwrap_or(&none),
            missing: fault.missing(),
        },
        reversed: seen % 2 == 1,
    };
    let target = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let answer = answer(page, method, target);
    entry.stats.count(answer.form, fleet.epoch_millis(fleet.now()));
    answer
}

/// The answer as HTTP, with the headers uvicorn sends.
fn response(answer: Answer) -> Response<Body> {
    let length = answer.body.len();
    let (body, promised) = body(answer.body, answer.delivery);
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::SERVER, HeaderValue::from_static("uvicorn"));
    if promised {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    if let Some(content_type) = answer.content_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    if let Some(location) = answer.location.and_then(|location| HeaderValue::try_from(location).ok()) {
        headers.insert(header::LOCATION, location);
    }
    if answer.closing {
        headers.insert(header::SERVER, HeaderValue::from_static("BaseHTTP/0.6 Python/3.12.14"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        *response.version_mut() = Version::HTTP_10;
    }
    response
}

/// The body, and whether its length is announced by hand.
fn body(bytes: Vec<u8>, delivery: Delivery) -> (Body, bool) {
    let bytes = Bytes::from(bytes);
    let whole = |bytes: Bytes| Full::new(bytes).map_err(|never| match never {}).boxed_unsync();
    match delivery {
        Delivery::Whole | Delivery::Withheld => (whole(bytes), false),
        Delivery::Chunked => (streamed(stream::iter([Ok(bytes)])), false),
        Delivery::Drip { bytes: size, every } => (streamed(drip(bytes, size, every)), true),
        Delivery::Padded(padding) => (streamed(stream::iter([Ok(bytes)]).chain(padded(padding))), false),
        Delivery::Truncated(size) => {
            let start = bytes.slice(..size.min(bytes.len()));
            // What was written must leave before the error ends the connection.
            let end = stream::once(async {
                tokio::time::sleep(PAUSE).await;
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, "cut off on purpose"))
            });
            (streamed(stream::iter([Ok(start)]).chain(end)), true)
        }
    }
}

fn streamed(pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
    StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync()
}

fn drip(bytes: Bytes, size: usize, every: Duration) -> impl Stream<Item = io::Result<Bytes>> {
    stream::unfold(bytes, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(every).await;
        let piece = rest.split_to(size.clamp(1, rest.len()));
        Some((Ok(piece), rest))
    })
}

/// Series of another metric, this many bytes of them (rounded up to whole chunks).
fn padded(bytes: u64) -> impl Stream<Item = io::Result<Bytes>> {
    let line = "vllm:lora_requests_info{max_lora=\"8\",running_lora_adapters=\"a,b\",waiting_lora_adapters=\"\"} 1.79e+09\n";
    let chunk = Bytes::from(line.repeat(PADDING_CHUNK / line.len()));
    let chunks = bytes.div_ceil(chunk.len() as u64);
    stream::iter((0..chunks).map(move |_| Ok(chunk.clone())))
}

#[cfg(test)]
mod tests;

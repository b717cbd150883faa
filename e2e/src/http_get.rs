//! One HTTP request over a connection of its own: enough for probes, `/metrics` and the fleet's control API.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_BODY: usize = 64 * 1024 * 1024;

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// `GET path` from `address`.
///
/// # Errors
/// Whatever kept the whole body from coming within ten seconds.
pub async fn get(address: SocketAddr, path: &str) -> anyhow::Result<Reply> {
    send(address, Method::GET, path, None).await
}

/// A request with a JSON body, or with none.
///
/// # Errors
/// Whatever kept the whole answer from coming within ten seconds.
pub async fn send(address: SocketAddr, method: Method, path: &str, body: Option<Vec<u8>>) -> anyhow::Result<Reply> {
    let what = format!("{method} http://{address}{path}");
    tokio::time::timeout(TIMEOUT, exchange(address, method, path, body))
        .await
        .with_context(|| format!("{what}: no answer within {TIMEOUT:?}"))?
        .context(what)
}

async fn exchange(address: SocketAddr, method: Method, path: &str, body: Option<Vec<u8>>) -> anyhow::Result<Reply> {
    let stream = TcpStream::connect(address).await.context("connecting")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, address.to_string())
        .header(header::CONNECTION, "close");
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let response = sender
        .send_request(request.body(Full::new(Bytes::from(body.unwrap_or_default())))?)
        .await?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_BODY)
        .collect()
        .await
        .map_err(|error| anyhow::anyhow!("reading the body: {error}"))?
        .to_bytes();
    driver.abort();
    Ok(Reply {
        status: head.status,
        headers: head.headers,
        body,
    })
}

//! One scrape of a filtered page over loopback, beside the least that any client must ask of the kernel for it, and beside
//! hyper. Only the client's thread is counted; what TCP does for both ends in its system calls is in every one of them.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use keda_kaito_core::policy::MetricKind;
use keda_kaito_core::trigger::Endpoint;
use keda_kaito_core::window::{Reading, Wanted};
use keda_kaito_scaler::scrape::{Form, Page, scrape};

use crate::figures::{Figures, Goal};
use crate::pods::Pods;
use crate::reader::{QUEUE_TIME, WAITING};
use crate::rounds::{side_by_side, thread_seconds};

/// As many as one InferenceSet has under way.
const AT_A_TIME: u32 = 8;
/// One InferenceSet's targets, every 15 ms, for some seconds.
const BURST: u32 = 10;
const BURSTS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(15);

pub(crate) fn measure() -> Result<Figures> {
    let pods = Pods::serve((Ipv4Addr::LOCALHOST, 0).into())?;
    let address = pods.address();
    let page = Arc::new(page());
    let path = filtered_path();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // An answer of another kind would be cheap as well.
    let mut buffer = Vec::new();
    let length = bare(address, request.as_bytes(), &mut buffer)?;
    let answer = String::from_utf8_lossy(&buffer);
    ensure!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains(QUEUE_TIME),
        "the answer is {answer}"
    );
    runtime.block_on(hyper(address, &path))?;
    runtime.block_on(ours(address, &page))?;

    let failures = AtomicU32::new(0);
    let note = |result: Result<usize>| {
        if black_box(result).is_err() {
            failures.fetch_add(1, Ordering::Relaxed);
        }
    };
    let timings = side_by_side(&mut [
        &mut || {
            for _ in 0..AT_A_TIME {
                note(bare(address, request.as_bytes(), &mut buffer));
            }
        },
        &mut || {
            let many = join_all((0..AT_A_TIME).map(|_| ours(address, &page)));
            runtime.block_on(many).into_iter().for_each(note);
        },
        &mut || {
            let many = join_all((0..AT_A_TIME).map(|_| hyper(address, &path)));
            runtime.block_on(many).into_iter().for_each(note);
        },
    ]);
    let each = |subject| timings.seconds(subject) * 1e6 / f64::from(AT_A_TIME);
    let mut figures = Figures::of(format!(
        "one scrape of a filtered page of {length} bytes over loopback, CPU of the client"
    ));
    figures.add("connect, write, read, close: the limit", each(0), "µs", Goal::None);
    figures.add("scrape, read into numbers", each(1), "µs", Goal::None);
    figures.add("hyper, page not read", each(2), "µs", Goal::None);
    figures.add(
        "scrape takes longer than the limit by",
        timings.ratio(1, 0),
        "×",
        Goal::AtMost(2.0),
    );
    figures.add("hyper takes longer than the limit by", timings.ratio(2, 0), "×", Goal::None);
    let failed = f64::from(failures.load(Ordering::Relaxed));
    figures.add("failed", failed, "", Goal::AtMost(0.0));
    Ok(figures)
}

/// CPU seconds of one scrape of which nothing can be left out, of pods on this port, as far apart as those of 10,000 targets:
/// caches have forgotten the last one.
pub(crate) fn least_at_pace(port: u16) -> Result<f64> {
    let address = (Ipv4Addr::LOCALHOST, port).into();
    let request = format!(
        "GET {} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n",
        filtered_path()
    );
    let mut buffer = Vec::new();
    let begun = thread_seconds();
    for _ in 0..BURSTS {
        for _ in 0..BURST {
            bare(address, request.as_bytes(), &mut buffer)?;
        }
        std::thread::sleep(PAUSE);
    }
    Ok((thread_seconds() - begun) / f64::from(BURSTS * BURST))
}

fn page() -> Page {
    let wanted = |metric: &str, kind, window| Wanted {
        metric: metric.to_owned(),
        kind,
        window,
    };
    let wanted = vec![
        wanted(WAITING, MetricKind::Gauge, Duration::ZERO),
        wanted(QUEUE_TIME, MetricKind::Histogram, Duration::from_secs(300)),
    ];
    Page::new(Endpoint::default(), wanted)
}

fn filtered_path() -> String {
    let names = [WAITING, QUEUE_TIME].map(|name| format!("name[]={name}&name[]={name}_sum&name[]={name}_count"));
    format!("/metrics/?{}", names.join("&"))
}

/// Nothing can be left out of this.
fn bare(address: SocketAddr, request: &[u8], buffer: &mut Vec<u8>) -> Result<usize> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(request)?;
    buffer.clear();
    Ok(stream.read_to_end(buffer)?)
}

async fn ours(address: SocketAddr, page: &Arc<Page>) -> Result<usize> {
    let scraped = scrape(address, Arc::clone(page), Some(Form::Filtered), || true).await?;
    let readings = scraped.readings(page);
    ensure!(readings.iter().all(Reading::is_usable), "{readings:?}");
    Ok(readings.len())
}

async fn hyper(address: SocketAddr, path: &str) -> Result<usize> {
    let fetch = async {
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = hyper::Request::get(path)
            .header("host", address.to_string())
            .header("connection", "close")
            .body(Empty::<Bytes>::new())?;
        let body = sender.send_request(request).await?.into_body().collect().await?.to_bytes();
        connection.await??;
        Ok(body.len())
    };
    tokio::time::timeout(Duration::from_secs(3), fetch).await.context("late")?
}

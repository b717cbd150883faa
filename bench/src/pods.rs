//! Thousands of model pods in one thread: a listener on every local address that answers as a vLLM server does, in one of
//! two forms, with histograms that grow; and the time each address was last answered, by which the age of samples is
//! known without asking the scaler.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::reader::{BUSY, QUEUE_TIME};

/// Addresses of one network of 16 bits.
const ADDRESSES: usize = 1 << 16;
/// Where model pods serve metrics.
pub(crate) const EVERYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 5000);
const LONGEST_REQUEST: usize = 8 * 1024;
/// A dripping pod sends a byte at a time.
const DRIP: Duration = Duration::from_millis(100);

const GONE: u8 = 0;
const HEALTHY: u8 = 1;
const DRIPPING: u8 = 2;

/// What drives and watches the pods; clones share them.
#[derive(Clone)]
pub(crate) struct Pods(Arc<State>);

struct State {
    address: SocketAddr,
    started: Instant,
    /// Whether the server's filter by name works; else only the whole page is there.
    filters: AtomicBool,
    behaviour: Vec<AtomicU8>,
    /// Milliseconds since the start; 0 means never.
    answered: Vec<AtomicU64>,
    answers: AtomicU32,
    pages: Mutex<Pages>,
}

/// Responses of one second, shared by all pods.
#[derive(Default)]
struct Pages {
    second: u64,
    by_request: HashMap<String, Arc<[u8]>>,
}

impl Pods {
    /// Serves on a thread of its own for as long as the process lives.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub(crate) fn serve(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).context("listening as the pods")?;
        listener.set_nonblocking(true)?;
        let pods = Self(Arc::new(State {
            address: listener.local_addr()?,
            started: Instant::now(),
            filters: AtomicBool::new(true),
            behaviour: (0..ADDRESSES).map(|_| AtomicU8::default()).collect(),
            answered: (0..ADDRESSES).map(|_| AtomicU64::default()).collect(),
            answers: AtomicU32::default(),
            pages: Mutex::default(),
        }));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let served = pods.clone();
        std::thread::spawn(move || runtime.block_on(served.accept(listener)));
        Ok(pods)
    }

    async fn accept(self, listener: TcpListener) -> Result<()> {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            let pods = self.clone();
            // A scraper that goes away is no matter of the pod's.
            tokio::spawn(async move { pods.answer(stream).await.ok() });
        }
    }

    /// Where they listen.
    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// The pod at this address serves.
    pub(crate) fn healthy(&self, address: Ipv4Addr) {
        self.behave(address, HEALTHY);
    }

    /// The pod at this address takes forever.
    pub(crate) fn dripping(&self, address: Ipv4Addr) {
        self.behave(address, DRIPPING);
    }

    /// Nobody is at this address.
    pub(crate) fn gone(&self, address: Ipv4Addr) {
        self.behave(address, GONE);
    }

    /// Whether the servers know the filter by name.
    pub(crate) fn filter(&self, works: bool) {
        self.0.filters.store(works, Ordering::Relaxed);
    }

    /// Pages of metrics sent so far.
    pub(crate) fn answers(&self) -> u32 {
        self.0.answers.load(Ordering::Relaxed)
    }

    /// Whether this pod was ever scraped.
    pub(crate) fn was_answered(&self, address: Ipv4Addr) -> bool {
        let at = self.0.answered.get(index(address));
        at.is_some_and(|at| at.load(Ordering::Relaxed) > 0)
    }

    /// Seconds since each healthy pod was last answered; the time since the start for those that never were.
    pub(crate) fn ages(&self) -> impl Iterator<Item = f64> {
        let now = self.now();
        let pods = self.0.behaviour.iter().zip(&self.0.answered);
        pods.filter(|(behaviour, _)| behaviour.load(Ordering::Relaxed) == HEALTHY)
            .map(move |(_, at)| Duration::from_millis(now.saturating_sub(at.load(Ordering::Relaxed))).as_secs_f64())
    }

    /// How many healthy pods were not answered in the last while.
    pub(crate) fn unheard(&self, lately: Duration) -> usize {
        self.ages().filter(|age| *age > lately.as_secs_f64()).count()
    }

    fn behave(&self, address: Ipv4Addr, behaviour: u8) {
        if let Some(slot) = self.0.behaviour.get(index(address)) {
            slot.store(behaviour, Ordering::Relaxed);
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn answer(&self, mut stream: TcpStream) -> Result<()> {
        let IpAddr::V4(address) = stream.local_addr()?.ip() else {
            return Ok(());
        };
        stream.set_nodelay(true)?;
        let request = head(&mut stream).await?;
        let target = request.split(' ').nth(1).unwrap_or_default().to_owned();
        let behaviour = self.0.behaviour.get(index(address)).map(|slot| slot.load(Ordering::Relaxed));
        if behaviour == Some(DRIPPING) {
            return drip(&mut stream).await;
        }
        let response = self.response(&target).await;
        stream.write_all(&response).await?;
        if response.starts_with(b"HTTP/1.1 200") {
            self.0.answers.fetch_add(1, Ordering::Relaxed);
            if let Some(at) = self.0.answered.get(index(address)) {
                at.store(self.now(), Ordering::Relaxed);
            }
        }
        Ok(stream.shutdown().await?)
    }

    async fn response(&self, target: &str) -> Arc<[u8]> {
        let second = self.0.started.elapsed().as_secs();
        let mut pages = self.0.pages.lock().await;
        if pages.second != second {
            pages.second = second;
            pages.by_request.clear();
        }
        if let Some(known) = pages.by_request.get(target) {
            return Arc::clone(known);
        }
        let made: Arc<[u8]> = self.make(target, second).into();
        pages.by_request.insert(target.to_owned(), Arc::clone(&made));
        made
    }

    fn make(&self, target: &str, second: u64) -> Vec<u8> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        match path {
            "/metrics" => respond("200 OK", &page(second, |_| true)),
            "/metrics/" if self.0.filters.load(Ordering::Relaxed) => {
                let names: Vec<&str> = query.split('&').filter_map(|pair| pair.strip_prefix("name[]=")).collect();
                let wanted = |line: &str| {
                    let line = line
                        .strip_prefix("# HELP ")
                        .or_else(|| line.strip_prefix("# TYPE "))
                        .unwrap_or(line);
                    let name = line.split(['{', ' ']).next().unwrap_or_default();
                    names.contains(&name)
                };
                respond("200 OK", &page(second, wanted))
            }
            _ => respond("404 Not Found", "not found\n"),
        }
    }
}

fn index(address: Ipv4Addr) -> usize {
    let [_, _, third, fourth] = address.octets();
    usize::from(u16::from_be_bytes([third, fourth]))
}

/// The busy server's page, its queue time grown by some requests a second.
fn page(second: u64, wanted: impl Fn(&str) -> bool) -> String {
    let mut text = String::with_capacity(BUSY.len());
    for line in BUSY.lines().filter(|line| wanted(line)) {
        let growth = match line.strip_prefix(QUEUE_TIME) {
            Some(rest) if rest.starts_with("_count{") => Some(3 * second),
            Some(rest) if rest.starts_with("_sum{") => Some(9 * second),
            Some(_) | None => None,
        };
        let grown = growth.and_then(|growth| {
            let (series, value) = line.rsplit_once(' ')?;
            let (whole, fraction) = value.split_once('.')?;
            Some(format!("{series} {}.{fraction}", whole.parse::<u64>().ok()? + growth))
        });
        text.push_str(grown.as_deref().unwrap_or(line));
        text.push('\n');
    }
    text
}

fn respond(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nserver: uvicorn\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

async fn head(stream: &mut TcpStream) -> Result<String> {
    let mut request = Vec::with_capacity(1024);
    while !request.ends_with(b"\r\n\r\n") && request.len() < LONGEST_REQUEST {
        if stream.read_buf(&mut request).await? == 0 {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&request).into_owned())
}

async fn drip(stream: &mut TcpStream) -> Result<()> {
    let promise = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: 70000\r\n\r\n";
    stream.write_all(promise.as_bytes()).await?;
    loop {
        stream.write_all(b"#").await?;
        tokio::time::sleep(DRIP).await;
    }
}

use std::time::Instant;

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::fleet::Key;
use crate::fleet::addresses::{Addresses, Order};
use crate::fleet::lifecycle::Phase;

/// A pod on a loopback address of its own; tests run at once, in one process.
struct Bench {
    fleet: Arc<Fleet>,
    entry: Arc<PodEntry>,
    address: SocketAddr,
}

impl Bench {
    fn start(last: u8, phase: Phase) -> Self {
        let addresses = Addresses::below("127.77.").expect("the prefix has two octets");
        let fleet = Arc::new(Fleet::new(addresses, Duration::from_secs(1)));
        let host = std::net::Ipv4Addr::new(127, 77, 9, last);
        fleet.order_address(Order {
            address: host,
            inferenceset: None,
        });
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {
                "name": "phi-a-0", "namespace": "shop", "uid": "1",
                "labels": {"kaito.sh/workspace": "phi-a", "inferenceset.kaito.sh/created-by": "phi-4-mini"},
            },
        }))
        .expect("the pod is valid");
        let entry = fleet.observe(&pod).expect("the pod is new");
        fleet.start(&entry).expect("the address was ordered");
        fleet.enter(&entry, phase);
        tokio::spawn(serve(Arc::clone(&fleet), Arc::clone(&entry)));
        Self {
            fleet,
            entry,
            address: SocketAddr::from((host, PORT)),
        }
    }

    fn choose(&self, settings: &serde_json::Value) {
        let key = Key::new("shop", "phi-a-0");
        self.fleet.patch_pod(&key, settings.as_object().unwrap()).unwrap();
    }

    /// A connection, as soon as the listener is there.
    async fn connect(&self) -> TcpStream {
        let connected = async {
            loop {
                match TcpStream::connect(self.address).await {
                    Ok(stream) => break stream,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        within(connected).await
    }

    /// The bytes of one answer, until the server closes.
    async fn raw(&self, target: &str) -> Vec<u8> {
        let mut stream = self.connect().await;
        let request = format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        let read = within(stream.read_to_end(&mut bytes)).await;
        drop(read);
        bytes
    }

    async fn text(&self, target: &str) -> (String, String) {
        let bytes = self.raw(target).await;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").expect("the answer has a head");
        (head.to_owned(), body.to_owned())
    }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work)
        .await
        .expect("the server answers in time")
}

fn value(head: &str, name: &str) -> Option<String> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

#[tokio::test]
async fn the_whole_body_comes_with_its_length() {
    let bench = Bench::start(1, Phase::Ready);
    bench.choose(&json!({"waiting": 58}));
    let (head, body) = bench.text("/metrics").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(value(&head, "content-length"), Some(body.len().to_string()));
    assert_eq!(value(&head, "transfer-encoding"), None);
    assert_eq!(value(&head, "server").as_deref(), Some("uvicorn"));
    let line = "vllm:num_requests_waiting{engine=\"0\",model_name=\"phi-4-mini\"} 58.0";
    assert!(body.lines().any(|ours| ours == line));
}

#[tokio::test]
async fn the_filtered_body_is_chunked_and_byte_for_byte_as_documented() {
    let bench = Bench::start(2, Phase::Ready);
    let (head, body) = bench.text("/metrics/?name[]=vllm:num_requests_waiting").await;
    assert_eq!(value(&head, "transfer-encoding").as_deref(), Some("chunked"));
    assert_eq!(value(&head, "content-length"), None);
    let lines = "# HELP vllm:num_requests_waiting Number of requests waiting to be processed.\n\
                 # TYPE vllm:num_requests_waiting gauge\n\
                 vllm:num_requests_waiting{engine=\"0\",model_name=\"phi-4-mini\"} 0.0\n";
    assert_eq!(body, format!("{:X}\r\n{lines}\r\n0\r\n\r\n", lines.len()));
    let (head, body) = bench.text("/metrics/?name[]=nothing").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body, "0\r\n\r\n");
}

#[tokio::test]
async fn requests_and_connections_are_counted() {
    let bench = Bench::start(3, Phase::Ready);
    bench.raw("/metrics").await;
    bench.raw("/metrics/?name[]=x").await;
    bench.raw("/metrics/?name[]=x").await;
    let requests = bench.entry.stats.requests();
    assert_eq!(
        (
            requests[&super::super::answer::Form::Full],
            requests[&super::super::answer::Form::Filtered]
        ),
        (1, 2)
    );
    assert_eq!(bench.entry.stats.accepted.load(Ordering::Relaxed), 3);
    assert!(bench.entry.stats.last_scrape.load(Ordering::Relaxed) > 0);
}

#[tokio::test]
async fn a_kept_connection_serves_again_and_is_closed_after_five_idle_seconds() {
    let bench = Bench::start(4, Phase::Ready);
    let mut stream = bench.connect().await;
    for _ in 0..2 {
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut head = [0; 512];
        let read = within(stream.read(&mut head)).await.unwrap();
        assert!(head[..read].starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
    let idle = Instant::now();
    let mut rest = Vec::new();
    within(stream.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    let idle = idle.elapsed();
    assert!((4.5..7.0).contains(&idle.as_secs_f64()), "{idle:?}");
}

#[tokio::test]
async fn the_download_server_speaks_http_1_0_and_closes() {
    let bench = Bench::start(5, Phase::Downloading);
    let (head, body) = bench.text("/metrics?name[]=x").await;
    assert!(head.starts_with("HTTP/1.0 200 OK\r\n"), "{head}");
    assert!(body.contains("kaito_model_download_remaining_seconds"));
    assert!(!body.contains("vllm:"));
    let (head, _) = bench.text("/metrics/").await;
    assert!(head.starts_with("HTTP/1.0 404 Not Found\r\n"), "{head}");
    bench.fleet.enter(&bench.entry, Phase::Warming);
    let served = async {
        loop {
            let (_, body) = bench.text("/metrics").await;
            if body.contains("vllm:num_requests_waiting{") {
                break;
            }
        }
    };
    within(served).await;
}

#[tokio::test]
async fn a_refusing_server_closes_its_port_and_opens_it_again() {
    let bench = Bench::start(6, Phase::Ready);
    let mut kept = bench.connect().await;
    bench.choose(&json!({"fault": {"kind": "refuse"}}));
    let mut rest = Vec::new();
    let cut = within(kept.read_to_end(&mut rest)).await;
    assert!(cut.is_err() || rest.is_empty());
    let refused = async {
        while TcpStream::connect(bench.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    within(refused).await;
    bench.choose(&json!({"fault": null}));
    assert!(!bench.raw("/health").await.is_empty());
}

#[tokio::test]
async fn a_restart_cuts_connections() {
    let bench = Bench::start(7, Phase::Ready);
    let mut kept = bench.connect().await;
    bench.fleet.restart(&bench.entry);
    bench.fleet.enter(&bench.entry, Phase::Warming);
    let mut rest = Vec::new();
    let cut = within(kept.read_to_end(&mut rest)).await;
    assert!(cut.is_err() || rest.is_empty());
    assert!(!bench.raw("/health").await.is_empty());
}

#[tokio::test]
async fn a_hanging_server_accepts_and_says_nothing() {
    let bench = Bench::start(8, Phase::Ready);
    bench.choose(&json!({"fault": {"kind": "hang"}}));
    let mut stream = bench.connect().await;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut byte = [0; 1];
    let silent = tokio::time::timeout(Duration::from_millis(300), stream.read(&mut byte)).await;
    assert!(silent.is_err(), "{silent:?}");
}

#[tokio::test]
async fn slow_and_dripping_servers_take_their_time() {
    let bench = Bench::start(9, Phase::Ready);
    bench.choose(&json!({"fault": {"kind": "slow", "ms": 300}}));
    let begin = Instant::now();
    assert!(!bench.raw("/health").await.is_empty());
    assert!(begin.elapsed() >= Duration::from_millis(300));
    bench.choose(&json!({"fault": {"kind": "drip", "bytes": 5000, "every_ms": 20}}));
    let begin = Instant::now();
    let (head, body) = bench.text("/metrics").await;
    assert_eq!(value(&head, "content-length"), Some(body.len().to_string()));
    assert!(begin.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn huge_and_truncated_bodies_are_longer_and_shorter_than_honest_ones() {
    let bench = Bench::start(10, Phase::Ready);
    bench.choose(&json!({"fault": {"kind": "huge", "bytes": 3_000_000}}));
    assert!(bench.raw("/metrics").await.len() > 3_000_000);
    bench.choose(&json!({"fault": {"kind": "truncate", "bytes": 100}}));
    let (head, body) = bench.text("/metrics").await;
    assert!(value(&head, "content-length").unwrap().parse::<usize>().unwrap() > 50_000);
    assert!(body.len() <= 100);
    bench.choose(&json!({"fault": {"kind": "redirect", "location": "http://10.0.0.1/"}}));
    let (head, _) = bench.text("/metrics").await;
    assert!(head.starts_with("HTTP/1.1 307"), "{head}");
    assert_eq!(value(&head, "location").as_deref(), Some("http://10.0.0.1/"));
}

#[tokio::test]
async fn a_forgotten_pods_port_is_free() {
    let bench = Bench::start(11, Phase::Ready);
    bench.raw("/health").await;
    bench.fleet.forget(&bench.entry);
    let free = async {
        while TcpListener::bind(bench.address).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    within(free).await;
}

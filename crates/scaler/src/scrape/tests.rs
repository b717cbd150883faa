mod abuse;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keda_kaito_core::policy::MetricKind;
use keda_kaito_core::trigger::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;

const WAITING: &str = "vllm:num_requests_waiting";
const BODY: &str = "# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{engine=\"0\"} 3.0\n";

/// What the server does with a connection, by the request's path and query.
#[derive(Clone)]
enum Act {
    Answer(String),
    /// Sends this and then keeps the connection open without a word.
    Hang(String),
    /// Sends this for ever.
    Pour(String, String),
    /// Sends this, and then a byte every so often.
    Drip(String),
    Close,
}

struct Server {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(act: impl Fn(&str) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        let act = Arc::new(act);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&act), Arc::clone(&seen)));
            }
        });
        Self { address, heads, task }
    }

    fn paths(&self) -> Vec<String> {
        let heads = self.heads.lock().unwrap();
        heads.iter().map(|head| head.split(' ').nth(1).unwrap().to_owned()).collect()
    }
}

async fn serve(mut stream: TcpStream, act: Arc<impl Fn(&str) -> Act>, seen: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    seen.lock().unwrap().push(head);
    match act(&path) {
        Act::Answer(text) => {
            let _sent = stream.write_all(text.as_bytes()).await;
            let _closed = stream.shutdown().await;
        }
        Act::Hang(text) => {
            let _sent = stream.write_all(text.as_bytes()).await;
            std::future::pending::<()>().await;
        }
        Act::Pour(text, more) => {
            let _sent = stream.write_all(text.as_bytes()).await;
            while stream.write_all(more.as_bytes()).await.is_ok() {}
        }
        Act::Drip(text) => {
            let _sent = stream.write_all(text.as_bytes()).await;
            while stream.write_all(b"#").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Act::Close => {}
    }
}

fn ok(body: &str) -> Act {
    Act::Answer(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn gauge(metric: &str) -> Wanted {
    Wanted {
        metric: metric.to_owned(),
        kind: MetricKind::Gauge,
        window: Duration::ZERO,
    }
}

fn wanted() -> Vec<Wanted> {
    vec![gauge(WAITING)]
}

fn page(timeout: Duration) -> Arc<Page> {
    let endpoint = Endpoint {
        timeout,
        ..Endpoint::default()
    };
    Arc::new(Page::new(endpoint, wanted()))
}

async fn scrape_once(server: &Server, known: Option<Form>) -> Result<Scraped, ScrapeError> {
    scrape(server.address, page(Duration::from_secs(3)), known, || true).await
}

fn waiting(scraped: &Scraped) -> f64 {
    match scraped.readings(&page(Duration::from_secs(3)))[..] {
        [Reading::Gauge(value)] => value,
        ref other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_three(scraped: &Scraped) {
    assert_eq!(waiting(scraped).to_bits(), 3.0_f64.to_bits());
}

#[tokio::test]
async fn filtered_form_is_asked_first_and_is_enough() {
    let server = Server::start(|_| ok(BODY)).await;
    let scraped = scrape_once(&server, None).await.unwrap();
    assert_three(&scraped);
    assert_eq!(scraped.form, Some(Form::Filtered));
    let queue = "sglang:num_queue_reqs";
    assert_eq!(
        server.paths(),
        [format!(
            "/metrics/?name[]={WAITING}&name[]={WAITING}_sum&name[]={WAITING}_count\
             &name[]={queue}&name[]={queue}_sum&name[]={queue}_count"
        )]
    );
    let head = server.heads.lock().unwrap()[0].to_lowercase();
    for header in [
        format!("host: {}", server.address),
        "accept: text/plain;version=0.0.4".to_owned(),
        "accept-encoding: identity".to_owned(),
        "connection: close".to_owned(),
    ] {
        assert!(head.contains(&format!("\r\n{header}\r\n")), "{header}\n{head}");
    }
}

#[tokio::test]
async fn full_form_follows_whatever_the_server_makes_of_the_filter() {
    for refusal in [
        ok(""),
        ok("other 1\n"),
        Act::Answer("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned()),
        Act::Answer("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\nhi".to_owned()),
    ] {
        let server = Server::start(move |path| if path.contains('?') { refusal.clone() } else { ok(BODY) }).await;
        let scraped = scrape_once(&server, None).await.unwrap();
        assert_three(&scraped);
        assert_eq!(scraped.form, Some(Form::Full));
        assert_eq!(server.paths()[1], "/metrics");
    }
}

#[tokio::test]
async fn remembered_full_form_is_asked_alone() {
    let server = Server::start(|_| ok(BODY)).await;
    let scraped = scrape_once(&server, Some(Form::Full)).await.unwrap();
    assert_three(&scraped);
    assert_eq!(server.paths(), ["/metrics"]);
}

#[tokio::test]
async fn page_without_wanted_samples_is_an_answer_and_leaves_the_form_open() {
    let server = Server::start(|_| ok("kaito_model_download_progress 0.4\n")).await;
    let scraped = scrape_once(&server, None).await.unwrap();
    assert!(!scraped.exposition.has_wanted());
    assert_eq!(scraped.form, None);
    let readings = scraped.readings(&page(Duration::from_secs(3)));
    assert!(matches!(readings[..], [Reading::Absent { .. }]));
}

#[tokio::test]
async fn whole_page_gives_a_hint_at_what_a_missing_metric_may_be_called() {
    let server = Server::start(|_| ok("vllm:num_request_waiting 1\n")).await;
    let scraped = scrape_once(&server, Some(Form::Full)).await.unwrap();
    let hint = Reading::Absent {
        nearest: Some("vllm:num_request_waiting".into()),
    };
    assert_eq!(scraped.readings(&page(Duration::from_secs(3))), [hint]);
}

#[tokio::test]
async fn page_of_many_frames_is_read_whole() {
    let body = format!("{}{BODY}", "padding_total{a=\"b\"} 1\n".repeat(40_000));
    let server = Server::start(move |_| ok(&body)).await;
    assert_three(&scrape_once(&server, Some(Form::Full)).await.unwrap());
}

#[tokio::test]
async fn chunked_page_is_read() {
    let text = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{BODY}\r\n0\r\n\r\n",
        BODY.len()
    );
    let server = Server::start(move |_| Act::Answer(text.clone())).await;
    assert_three(&scrape_once(&server, None).await.unwrap());
}

#[tokio::test]
async fn page_that_ends_with_its_connection_must_end_with_a_newline() {
    for (body, complete) in [(BODY, true), (BODY.trim_end(), false)] {
        let server = Server::start(move |_| Act::Answer(format!("HTTP/1.1 200 OK\r\n\r\n{body}"))).await;
        let result = scrape_once(&server, Some(Form::Full)).await;
        assert_eq!(result.is_ok(), complete);
        if let Err(error) = result {
            assert_eq!(error.to_string(), "the body is cut short");
        }
    }
}

#[tokio::test]
async fn answers_outside_the_limits_are_refused() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n";
    let long_header = "x".repeat(20 * 1024);
    let many_headers: String = (0..100).map(|index| format!("x-{index}: 1\r\n")).collect();
    let poured = Act::Pour(format!("{head}\r\n"), "some_metric 1\n".repeat(1000));
    let early_end = format!("{head}content-length: 500\r\n\r\n{BODY}");
    for (act, message) in [
        (
            Act::Answer("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".into()),
            "status 302",
        ),
        (
            Act::Answer("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n".into()),
            "status 500",
        ),
        (Act::Answer("HTTP/1.1 204 No Content\r\n\r\n".into()), "status 204"),
        (
            Act::Answer(format!("{head}content-encoding: gzip\r\ncontent-length: 3\r\n\r\nxyz")),
            "the response is encoded",
        ),
        (
            Act::Answer("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 1\r\n\r\nx".into()),
            "the content type is not text/plain",
        ),
        (
            Act::Answer(format!("{head}content-length: 999999999\r\n\r\n")),
            "the body is longer than 4194304 bytes",
        ),
        (poured, "the body is longer than 4194304 bytes"),
        (
            Act::Answer(format!("{head}x-long: {long_header}\r\n\r\n")),
            "the connection broke, or what came is not HTTP",
        ),
        (
            Act::Answer(format!("{head}{many_headers}\r\n")),
            "the connection broke, or what came is not HTTP",
        ),
        (
            Act::Answer("SSH-2.0-server\r\n".into()),
            "the connection broke, or what came is not HTTP",
        ),
        (Act::Answer(early_end), "the connection broke, or what came is not HTTP"),
        (Act::Close, "the connection broke, or what came is not HTTP"),
        (
            ok(&format!("# {}\n", "x".repeat(17 * 1024))),
            "the body cannot be read: line 1 is longer than 16384 bytes",
        ),
    ] {
        let server = Server::start(move |_| act.clone()).await;
        let error = scrape_once(&server, Some(Form::Full)).await.unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(server.paths(), ["/metrics"]);
    }
}

#[tokio::test]
async fn silent_and_dripping_servers_are_given_up_in_time() {
    for (act, message) in [
        (Act::Hang(String::new()), "no response within 200ms"),
        (
            Act::Hang("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx 1\n".into()),
            "no complete response within 300ms",
        ),
    ] {
        let server = Server::start(move |_| act.clone()).await;
        let start = Instant::now();
        let error = scrape(server.address, page(Duration::from_millis(300)), None, || true)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), message);
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        assert_eq!(server.paths().len(), 1, "a hung server is not asked again at once");
    }
}

#[tokio::test]
async fn body_that_comes_a_byte_at_a_time_is_given_up_long_before_the_timeout() {
    let server = Server::start(|_| Act::Drip("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n".into())).await;
    let start = Instant::now();
    let error = scrape(server.address, page(Duration::from_secs(10)), None, || true)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "the body comes slower than 1024 bytes a second");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn pod_that_changed_is_neither_dialled_nor_believed() {
    let server = Server::start(|_| ok(BODY)).await;
    let error = scrape(server.address, page(Duration::from_secs(3)), None, || false)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "the pod has changed");
    assert!(server.paths().is_empty());

    let first = AtomicBool::new(true);
    let error = scrape(server.address, page(Duration::from_secs(3)), None, || {
        first.swap(false, Ordering::Relaxed)
    })
    .await
    .unwrap_err();
    assert_eq!(error.to_string(), "the pod has changed");
    assert_eq!(server.paths().len(), 1);
}

#[tokio::test]
async fn https_reads_from_a_certificate_nobody_signed() {
    let key = rcgen::generate_simple_self_signed(["pod.test".to_owned()]).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![key.cert.der().clone()],
            key.signing_key.serialize_der().try_into().unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let mut head = [0; 1024];
        let _read = stream.read(&mut head).await.unwrap();
        let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len());
        stream.write_all(text.as_bytes()).await.unwrap();
        // The client knows the length, and may be gone.
        let _closed = stream.shutdown().await;
    });
    let endpoint = Endpoint {
        protocol: Protocol::Https,
        ..Endpoint::default()
    };
    let page = Arc::new(Page::new(endpoint, wanted()));
    assert_three(&scrape(address, page, None, || true).await.unwrap());
    server.await.unwrap();
}

#[test]
fn page_without_a_filter_is_never_asked_with_a_trailing_slash() {
    for (path, full, filtered) in [
        ("/metrics", "/metrics", "/metrics/?name[]=g&name[]=g_sum&name[]=g_count"),
        ("/metrics/", "/metrics", "/metrics/?name[]=g&name[]=g_sum&name[]=g_count"),
        ("/", "/", "/?name[]=g&name[]=g_sum&name[]=g_count"),
    ] {
        let endpoint = Endpoint {
            path: path.to_owned(),
            ..Endpoint::default()
        };
        let page = Page::new(endpoint, vec![gauge("g")]);
        assert_eq!((page.full.as_str(), page.filtered.as_str()), (full, filtered));
    }
}

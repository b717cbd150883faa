//! Many calls at once, large headers, and a server that stops under load.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinSet;

use super::*;

/// Counts the calls that are under way; a call takes as many milliseconds as the ScaledObject's name says.
#[derive(Clone, Default)]
struct Counting {
    begun: Arc<AtomicUsize>,
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl ExternalScaler for Counting {
    async fn is_active(&self, request: Request<ScaledObjectRef>) -> Result<Response<IsActiveResponse>, Status> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(request.get_ref().name.parse().unwrap())).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        Ok(Response::new(IsActiveResponse { result: true }))
    }

    type StreamIsActiveStream = Pin<Box<dyn Stream<Item = Result<IsActiveResponse, Status>> + Send>>;

    async fn stream_is_active(&self, _request: Request<ScaledObjectRef>) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn get_metric_spec(&self, _request: Request<ScaledObjectRef>) -> Result<Response<GetMetricSpecResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn get_metrics(&self, _request: Request<GetMetricsRequest>) -> Result<Response<GetMetricsResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

#[tokio::test]
async fn calls_under_way_on_one_connection_are_limited_and_the_others_wait() {
    let authority = Authority::ours("a");
    let service = Counting::default();
    let running = Running::start_with(&secret(1, &authority.server(), &[&authority]), quick(), service.clone()).await;
    let client = ExternalScalerClient::new(running.channel(Some(&authority.client(OPERATOR)), &[&authority]));
    client.clone().is_active(named("0")).await.unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..300 {
        let mut client = client.clone();
        calls.spawn(async move { client.is_active(named("100")).await });
    }
    let answers = calls.join_all().await;
    assert!(
        answers.iter().all(Result::is_ok),
        "{:?}",
        answers.iter().find(|answer| answer.is_err())
    );
    let most = service.most.load(Ordering::SeqCst);
    assert!((64..=128).contains(&most), "{most} at once");
    assert_eq!(running.connections.count(), 1);
}

#[tokio::test]
async fn headers_beyond_the_limit_are_refused_and_the_connection_stays() {
    let authority = Authority::ours("a");
    let running = Running::start(&secret(1, &authority.server(), &[&authority]), quick()).await;
    let mut client = ExternalScalerClient::new(running.channel(Some(&authority.client(OPERATOR)), &[&authority]));
    for (bytes, accepted) in [(8 * 1024, true), (20 * 1024, false), (8 * 1024, true)] {
        let mut request = Request::new(named("1"));
        request.metadata_mut().insert("x-large", "x".repeat(bytes).parse().unwrap());
        let answer = client.is_active(request).await;
        assert_eq!(answer.is_ok(), accepted, "{bytes}: {answer:?}");
    }
    assert_eq!(running.connections.count(), 1);
}

#[tokio::test]
async fn server_that_stops_under_load_answers_every_call_that_reached_it() {
    let authority = Authority::ours("a");
    let secret = secret(1, &authority.server(), &[&authority]);
    let service = Counting::default();
    let first = Running::start_with(&secret, quick(), service.clone()).await;
    let second = Running::start_with(&secret, quick(), service.clone()).await;
    let addresses = [first.address, second.address];
    let operator = authority.client(OPERATOR);
    let answered = Arc::new(AtomicUsize::new(0));
    let enough = CancellationToken::new();
    let mut callers = JoinSet::new();
    for _ in 0..16 {
        let channel = channel_to(addresses.to_vec(), client_config(Some(&operator), &[&authority]));
        let (answered, enough) = (Arc::clone(&answered), enough.clone());
        callers.spawn(async move {
            let mut client = ExternalScalerClient::new(channel);
            let mut refused = 0_usize;
            while !enough.is_cancelled() {
                match client.is_active(named("5")).await {
                    Ok(_) => answered.fetch_add(1, Ordering::SeqCst),
                    // Not sent at all: the connection was told to end a moment before. As gRPC has it, it is tried again.
                    Err(_) => {
                        refused += 1;
                        continue;
                    }
                };
            }
            refused
        });
    }
    until(&answered, 400).await;
    assert!(first.connections.count() > 0 && second.connections.count() == 0);
    first.shutdown.cancel();
    first.task.await.unwrap().unwrap();
    assert_eq!(first.connections.count(), 0);
    let by_then = answered.load(Ordering::SeqCst);
    until(&answered, by_then + 400).await;
    assert!(second.connections.count() > 0, "they go on with the other one");
    enough.cancel();
    let refused = callers.join_all().await;
    assert!(refused.iter().all(|refused| *refused <= 2), "{refused:?}");
    assert_eq!(service.begun.load(Ordering::SeqCst), answered.load(Ordering::SeqCst));
}

#[tokio::test]
async fn connection_without_calls_is_ended_and_dialled_again_when_it_is_needed() {
    let authority = Authority::ours("a");
    let patience = Patience {
        idle: Duration::from_millis(300),
        ..quick()
    };
    let running = Running::start(&secret(1, &authority.server(), &[&authority]), patience).await;
    let channel = running.channel(Some(&authority.client(OPERATOR)), &[&authority]);
    issuer_seen(&channel).await.unwrap();
    running.until_count(0).await;
    issuer_seen(&channel).await.unwrap();
}

async fn until(counter: &AtomicUsize, count: usize) {
    let reached = async {
        while counter.load(Ordering::SeqCst) < count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reached).await.unwrap();
}

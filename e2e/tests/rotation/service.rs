//! A Service with one address, as kube-proxy makes it: each new connection goes to one of the backends of that moment, open
//! ones stay where they are.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Forwards until it is dropped.
pub(crate) struct Service {
    backends: Arc<Mutex<Vec<String>>>,
    tasks: JoinSet<()>,
}

impl Service {
    pub(crate) async fn start(address: &str, backends: &[&str]) -> Result<Self> {
        let listener = TcpListener::bind(address).await.context("the Service's address")?;
        let service = Self {
            backends: Arc::default(),
            tasks: JoinSet::new(),
        };
        service.lead_to(backends);
        let backends = Arc::clone(&service.backends);
        let mut service = service;
        service.tasks.spawn(async move {
            let mut connections = JoinSet::new();
            for turn in 0_usize.. {
                let Ok((mut inbound, _)) = listener.accept().await else {
                    continue;
                };
                let backend = {
                    let backends = backends.lock().unwrap_or_else(PoisonError::into_inner);
                    let turn = turn.checked_rem(backends.len()).unwrap_or(0);
                    backends.get(turn).cloned()
                };
                connections.spawn(async move {
                    if let Some(backend) = backend
                        && let Ok(mut outbound) = TcpStream::connect(backend).await
                    {
                        let _ended = copy_bidirectional(&mut inbound, &mut outbound).await;
                    }
                });
            }
        });
        Ok(service)
    }

    /// New connections go to these from now on.
    pub(crate) fn lead_to(&self, backends: &[&str]) {
        let backends = backends.iter().map(|&backend| backend.to_owned()).collect();
        *self.backends.lock().unwrap_or_else(PoisonError::into_inner) = backends;
    }
}

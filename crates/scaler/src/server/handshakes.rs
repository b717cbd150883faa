//! The handshakes under way, of which there are at most so many. Whoever comes when every place is taken gets that of the
//! oldest one from the address that holds most of them: a flood crowds out itself, and the rest get in.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// Handshakes under way.
pub(super) const MAX_HANDSHAKES: usize = 64;

/// Those under way. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Handshakes {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    /// Oldest first.
    open: VecDeque<Open>,
}

struct Open {
    id: u64,
    address: IpAddr,
    crowded_out: CancellationToken,
}

/// One place, held until dropped.
pub(super) struct Handshake {
    id: u64,
    crowded_out: CancellationToken,
    handshakes: Handshakes,
}

impl Handshakes {
    /// Takes a place, somebody else's if need be.
    pub(super) fn begin(&self, address: IpAddr) -> Handshake {
        let mut inner = self.lock();
        if inner.open.len() >= MAX_HANDSHAKES {
            inner.crowd_out();
        }
        let id = inner.next;
        inner.next += 1;
        let crowded_out = CancellationToken::new();
        inner.open.push_back(Open {
            id,
            address: address.to_canonical(),
            crowded_out: crowded_out.clone(),
        });
        drop(inner);
        Handshake {
            id,
            crowded_out,
            handshakes: self.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn crowd_out(&mut self) {
        let mut held: HashMap<IpAddr, usize> = HashMap::new();
        for open in &self.open {
            *held.entry(open.address).or_default() += 1;
        }
        let most = held.values().max().copied().unwrap_or(0);
        let greedy = |open: &Open| held.get(&open.address) == Some(&most);
        if let Some(place) = self.open.iter().position(greedy)
            && let Some(open) = self.open.remove(place)
        {
            open.crowded_out.cancel();
        }
    }
}

impl Handshake {
    /// Resolves when somebody else has got the place.
    pub(super) async fn crowded_out(&self) {
        self.crowded_out.cancelled().await;
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut inner = self.handshakes.lock();
        if let Ok(place) = inner.open.binary_search_by_key(&self.id, |open| open.id) {
            inner.open.remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn a_flood_crowds_out_its_own_oldest_handshake() {
        let handshakes = Handshakes::default();
        let quiet = handshakes.begin(address(1));
        let mut flood: Vec<_> = (0..MAX_HANDSHAKES).map(|_| handshakes.begin(address(2))).collect();
        assert!(!quiet.crowded_out.is_cancelled());
        let ended = |flood: &[Handshake]| flood.iter().filter(|one| one.crowded_out.is_cancelled()).count();
        assert!(flood[0].crowded_out.is_cancelled() && ended(&flood) == 1);
        let late = handshakes.begin(address(3));
        assert!(flood[1].crowded_out.is_cancelled() && ended(&flood) == 2);
        assert!(!late.crowded_out.is_cancelled() && !quiet.crowded_out.is_cancelled());
        assert_eq!(handshakes.lock().open.len(), MAX_HANDSHAKES);
        flood.clear();
        drop((quiet, late));
        assert!(handshakes.lock().open.is_empty());
    }

    #[test]
    fn nobody_is_crowded_out_while_there_is_room() {
        let handshakes = Handshakes::default();
        let all: Vec<_> = (0..MAX_HANDSHAKES).map(|_| handshakes.begin(address(2))).collect();
        assert!(all.iter().all(|one| !one.crowded_out.is_cancelled()));
        drop(all);
        assert!(!handshakes.begin(address(2)).crowded_out.is_cancelled());
    }
}

//! Pod addresses: a fresh one for every pod, and on purpose an old one. Pure.

use std::collections::{BTreeSet, VecDeque};
use std::net::Ipv4Addr;

use super::Key;

/// Third octets of pods; those above belong to the fleet's own listeners and the programs under test.
const LAST_BLOCK: u8 = 250;
const LAST_HOST: u8 = 254;

/// An address ordered for the next pod, of one InferenceSet if one is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub address: Ipv4Addr,
    pub inferenceset: Option<Key>,
}

/// Hands out `a.b.1.1`, `a.b.1.2` and on.
#[derive(Debug)]
pub struct Addresses {
    network: [u8; 2],
    next: (u8, u8),
    taken: BTreeSet<Ipv4Addr>,
    orders: VecDeque<Order>,
}

impl Addresses {
    /// Addresses below the first two octets of `prefix`, such as `10.244.`; none if it does not have that shape.
    #[must_use]
    pub fn below(prefix: &str) -> Option<Self> {
        let (first, second) = prefix.strip_suffix('.')?.split_once('.')?;
        Some(Self {
            network: [first.parse().ok()?, second.parse().ok()?],
            next: (1, 1),
            taken: BTreeSet::new(),
            orders: VecDeque::new(),
        })
    }

    /// An address for a pod of `inferenceset`: an ordered one if there is, else one that no living pod has.
    pub fn take(&mut self, inferenceset: Option<&Key>) -> Option<Ipv4Addr> {
        let fits = |order: &Order| order.inferenceset.is_none() || order.inferenceset.as_ref() == inferenceset;
        if let Some(order) = self.orders.iter().position(fits).and_then(|place| self.orders.remove(place)) {
            self.taken.insert(order.address);
            return Some(order.address);
        }
        for _ in 0..u32::from(LAST_BLOCK) * u32::from(LAST_HOST) {
            let candidate = self.step();
            if self.taken.insert(candidate) {
                return Some(candidate);
            }
        }
        None
    }

    /// Notes an address that is already in use.
    pub fn adopt(&mut self, address: Ipv4Addr) {
        self.taken.insert(address);
    }

    pub fn release(&mut self, address: Ipv4Addr) {
        self.taken.remove(&address);
    }

    /// Whether a living pod has it.
    #[must_use]
    pub fn is_taken(&self, address: Ipv4Addr) -> bool {
        self.taken.contains(&address)
    }

    pub fn order(&mut self, order: Order) {
        self.orders.push_back(order);
    }

    pub fn forget_orders(&mut self) {
        self.orders.clear();
    }

    const fn step(&mut self) -> Ipv4Addr {
        let (block, host) = self.next;
        self.next = match (block, host) {
            (LAST_BLOCK, LAST_HOST) => (1, 1),
            (_, LAST_HOST) => (block + 1, 1),
            (_, _) => (block, host + 1),
        };
        Ipv4Addr::new(self.network[0], self.network[1], block, host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Addresses {
        Addresses::below("10.244.").expect("the prefix has two octets")
    }

    #[test]
    fn every_pod_gets_an_address_of_its_own() {
        let mut addresses = addresses();
        let all: BTreeSet<Ipv4Addr> = (0..5000).filter_map(|_| addresses.take(None)).collect();
        assert_eq!(all.len(), 5000);
        assert_eq!(all.first(), Some(&Ipv4Addr::new(10, 244, 1, 1)));
        assert!(
            all.iter()
                .all(|ip| ip.octets()[2] <= LAST_BLOCK && ip.octets()[3] <= LAST_HOST)
        );
    }

    #[test]
    fn a_released_address_is_not_the_next_one_given() {
        let mut addresses = addresses();
        let first = addresses.take(None).unwrap();
        addresses.release(first);
        assert_ne!(addresses.take(None), Some(first));
    }

    #[test]
    fn an_ordered_address_goes_to_the_next_pod_of_its_inferenceset() {
        let mut addresses = addresses();
        let address = Ipv4Addr::new(10, 244, 9, 9);
        let set = Key::new("shop", "phi");
        addresses.order(Order {
            address,
            inferenceset: Some(set.clone()),
        });
        assert_ne!(addresses.take(None), Some(address));
        assert_ne!(addresses.take(Some(&Key::new("other", "phi"))), Some(address));
        assert_eq!(addresses.take(Some(&set)), Some(address));
        assert_ne!(addresses.take(Some(&set)), Some(address));
    }

    #[test]
    fn an_address_in_use_is_skipped() {
        let mut addresses = addresses();
        addresses.adopt(Ipv4Addr::new(10, 244, 1, 1));
        assert_eq!(addresses.take(None), Some(Ipv4Addr::new(10, 244, 1, 2)));
    }

    #[test]
    fn a_prefix_of_another_shape_is_refused() {
        for bad in ["10.244", "10.", "10.244.1.", "a.b.", ""] {
            assert!(Addresses::below(bad).is_none(), "{bad}");
        }
    }
}

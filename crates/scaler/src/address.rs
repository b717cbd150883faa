//! Which addresses may be dialled: the ones a kubelet gave to a pod's own network, and none that reaches anything else.
//! It resolves nothing; names never come into it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use thiserror::Error;

use crate::pod::Pod;

/// Addresses that are refused whatever a pod's status says.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The API server's.
    pub refused: BTreeSet<IpAddr>,
    /// For test beds on one machine.
    pub loopback_allowed: bool,
}

/// Why a pod is not scraped.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("pod has no address yet")]
    NoAddress,
    #[error("pod is not running")]
    NotRunning,
    #[error("pod address {0:?} cannot be read")]
    Unreadable(String),
    #[error("pod uses the host's network")]
    HostNetwork,
    #[error("pod address {0} is {1}")]
    Forbidden(IpAddr, &'static str),
}

/// The address to dial for a pod.
///
/// # Errors
/// The pod has none that may be dialled.
pub fn dialable(pod: &Pod, rules: &Rules) -> Result<IpAddr, Refusal> {
    if !pod.is_running() {
        return Err(Refusal::NotRunning);
    }
    let text = pod.pod_ip.as_deref().filter(|text| !text.is_empty());
    let text = text.ok_or(Refusal::NoAddress)?;
    let address = parse(text).ok_or_else(|| Refusal::Unreadable(text.chars().take(64).collect()))?;
    let host = pod.host_ip.as_deref().and_then(parse);
    if pod.host_network || host == Some(address) {
        return Err(Refusal::HostNetwork);
    }
    match forbidden(address, rules) {
        Some(what) => Err(Refusal::Forbidden(address, what)),
        None => Ok(address),
    }
}

/// An IPv4 address in IPv6 clothing is the IPv4 address.
fn parse(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|address: IpAddr| address.to_canonical())
}

fn forbidden(address: IpAddr, rules: &Rules) -> Option<&'static str> {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    if address.is_loopback() && !rules.loopback_allowed {
        Some("a loopback address")
    } else if link_local {
        Some("a link-local address")
    } else if address.is_multicast() || broadcast {
        Some("not one host's")
    } else if address.is_unspecified() {
        Some("unspecified")
    } else if rules.refused.contains(&address) {
        Some("the API server's")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(phase: &str, pod_ip: &str, host_ip: &str) -> Pod {
        let set = |text: &str| (!text.is_empty()).then(|| text.into());
        Pod {
            phase: set(phase),
            pod_ip: set(pod_ip),
            host_ip: set(host_ip),
            ..Pod::default()
        }
    }

    #[test]
    fn only_addresses_of_a_pods_own_network_are_dialled() {
        let rules = Rules {
            refused: BTreeSet::from(["10.0.0.1".parse().unwrap()]),
            loopback_allowed: false,
        };
        for (pod_ip, host_ip, problem) in [
            ("10.1.2.3", "10.9.0.1", None),
            ("10.1.2.3", "", None),
            ("fd00::7", "fd00::1", None),
            ("", "10.9.0.1", Some("pod has no address yet")),
            ("10.9.0.1", "10.9.0.1", Some("pod uses the host's network")),
            ("::ffff:10.9.0.1", "10.9.0.1", Some("pod uses the host's network")),
            ("127.0.0.1", "10.9.0.1", Some("pod address 127.0.0.1 is a loopback address")),
            ("::ffff:127.0.0.1", "", Some("pod address 127.0.0.1 is a loopback address")),
            ("::1", "", Some("pod address ::1 is a loopback address")),
            (
                "169.254.169.254",
                "",
                Some("pod address 169.254.169.254 is a link-local address"),
            ),
            ("fe80::1", "", Some("pod address fe80::1 is a link-local address")),
            ("224.0.0.1", "", Some("pod address 224.0.0.1 is not one host's")),
            ("ff02::1", "", Some("pod address ff02::1 is not one host's")),
            ("255.255.255.255", "", Some("pod address 255.255.255.255 is not one host's")),
            ("0.0.0.0", "", Some("pod address 0.0.0.0 is unspecified")),
            ("10.0.0.1", "", Some("pod address 10.0.0.1 is the API server's")),
            ("metadata.test", "", Some("pod address \"metadata.test\" cannot be read")),
            ("10.1.2.3:80", "", Some("pod address \"10.1.2.3:80\" cannot be read")),
        ] {
            let refusal = dialable(&pod("Running", pod_ip, host_ip), &rules).err();
            assert_eq!(refusal.map(|refusal| refusal.to_string()).as_deref(), problem, "{pod_ip}");
        }
    }

    #[test]
    fn pod_on_its_nodes_network_is_not_dialled_under_any_of_its_addresses() {
        let on_host = Pod {
            host_network: true,
            ..pod("Running", "10.9.0.2", "10.9.0.1")
        };
        assert_eq!(dialable(&on_host, &Rules::default()), Err(Refusal::HostNetwork));
    }

    #[test]
    fn pods_that_do_not_run_are_not_dialled() {
        for phase in ["Pending", "Succeeded", "Failed", ""] {
            assert_eq!(
                dialable(&pod(phase, "10.1.2.3", ""), &Rules::default()),
                Err(Refusal::NotRunning)
            );
        }
    }

    #[test]
    fn loopback_is_dialled_only_where_a_test_bed_asks_for_it() {
        let rules = Rules {
            loopback_allowed: true,
            ..Rules::default()
        };
        assert!(dialable(&pod("Running", "127.0.0.7", "127.0.0.1"), &rules).is_ok());
        assert_eq!(
            dialable(&pod("Running", "127.0.0.1", "127.0.0.1"), &rules),
            Err(Refusal::HostNetwork)
        );
    }
}

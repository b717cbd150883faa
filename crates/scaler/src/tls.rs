//! From the Secret to a TLS configuration: read, checked as a whole, and refused as a whole. Private keys live in the
//! configuration only and are never printed. Who swaps the configuration in is `server::credentials`.

mod caller;
mod load;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};

pub use caller::{Caller, CallerError, CallerRules};
pub use load::{CredentialError, load};

use crate::cluster_time::ClusterTime;

/// What the scaler serves with and whom it trusts: swapped whole.
#[derive(Clone)]
pub struct Credentials {
    pub config: Arc<rustls::ServerConfig>,
    verifier: Arc<dyn ClientCertVerifier>,
    roots: Arc<RootCertStore>,
    leaf_is_theirs: bool,
    time: ClusterTime,
    /// Of the Secret; 0 when whoever wrote it keeps none.
    pub generation: u64,
    /// When the leaf served ends.
    pub not_after: Timestamp,
    /// When the first of the trusted roots ends, which is then to be dropped.
    pub first_root_ends: Timestamp,
    /// Client certificates that begin no later than this are about to be refused.
    pub retiring: Option<Timestamp>,
}

impl Credentials {
    /// The time they are judged by.
    pub fn now(&self) -> Timestamp {
        self.time.now()
    }

    /// Whether the leaf served verifies under the same Secret's authorities, as certmgr's always does.
    pub(crate) fn trusts_own_leaf(&self) -> bool {
        self.leaf_is_theirs
    }

    /// Whether some authority is trusted by both.
    pub(crate) fn shares_an_authority_with(&self, other: &Self) -> bool {
        self.roots.roots.iter().any(|root| other.roots.roots.contains(root))
    }

    /// Whether these credentials would let in a caller who once presented `chain`.
    pub fn trusts(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> bool {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return false;
        };
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        self.verifier.verify_client_cert(leaf, intermediates, now).is_ok()
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("generation", &self.generation)
            .field("not_after", &self.not_after)
            .field("retiring", &self.retiring)
            .finish_non_exhaustive()
    }
}

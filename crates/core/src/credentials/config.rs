//! Lifetimes and gates. Which flags set them is the program's business.

use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
/// X.509 times are whole seconds: shorter ages could not be told apart.
pub(super) const SHORTEST_AGE: Duration = Duration::from_secs(1);

/// How long certificates live and how long a rotation waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Life of an authority; it is replaced at half of it.
    pub authority_lifetime: Duration,
    /// Life of a leaf, cut at its issuer's end.
    pub leaf_lifetime: Duration,
    /// Age at which a leaf is renewed.
    pub leaf_renew_after: Duration,
    /// A leaf is renewed up to this much earlier.
    pub leaf_renew_jitter: Duration,
    /// How long both authorities are trusted before the new one is used.
    pub trust_minimum_age: Duration,
    /// How long the new client certificate is out before the old authority is retired.
    pub identify_minimum_age: Duration,
    /// What a replica says about its callers counts once it has watched them this long.
    pub callers_known_for: Duration,
}

/// Which lifetimes or gates contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("leaf-renew-after {renew_after:?} must be shorter than leaf-lifetime {lifetime:?}")]
    RenewalAfterEnd { renew_after: Duration, lifetime: Duration },
    #[error("leaf-renew-jitter {jitter:?} must be shorter than leaf-renew-after {renew_after:?}")]
    JitterTooLong { jitter: Duration, renew_after: Duration },
    #[error("leaf-renew-after {renew_after:?} less leaf-renew-jitter must be at least 2s")]
    RenewalTooSoon { renew_after: Duration },
    #[error("authority-lifetime {authority:?} must be at least twice leaf-lifetime {leaf:?}")]
    AuthorityTooShort { authority: Duration, leaf: Duration },
    #[error("identify-minimum-age {age:?} must be shorter than leaf-renew-after {renew_after:?}: each renewal restarts it")]
    AgeBeyondRenewal { age: Duration, renew_after: Duration },
    #[error("trust-minimum-age {age:?} must be shorter than leaf-renew-after {renew_after:?}: each renewal restarts it")]
    TrustBeyondRenewal { age: Duration, renew_after: Duration },
}

impl Default for Config {
    fn default() -> Self {
        Self {
            authority_lifetime: 730 * DAY,
            leaf_lifetime: 90 * DAY,
            leaf_renew_after: 60 * DAY,
            leaf_renew_jitter: 5 * DAY,
            trust_minimum_age: Duration::from_secs(600),
            identify_minimum_age: DAY,
            callers_known_for: Duration::from_secs(3600),
        }
    }
}

impl Config {
    /// Whether the figures fit together.
    ///
    /// # Errors
    /// Names the two that do not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let Self {
            authority_lifetime: authority,
            leaf_lifetime: lifetime,
            leaf_renew_after: renew_after,
            leaf_renew_jitter: jitter,
            ..
        } = *self;
        if renew_after >= lifetime {
            return Err(ConfigError::RenewalAfterEnd { renew_after, lifetime });
        }
        if jitter >= renew_after {
            return Err(ConfigError::JitterTooLong { jitter, renew_after });
        }
        if renew_after - jitter < 2 * SHORTEST_AGE {
            return Err(ConfigError::RenewalTooSoon { renew_after });
        }
        if authority < 2 * lifetime {
            return Err(ConfigError::AuthorityTooShort {
                authority,
                leaf: lifetime,
            });
        }
        if self.trust_minimum_age >= renew_after - jitter {
            return Err(ConfigError::TrustBeyondRenewal {
                age: self.trust_minimum_age,
                renew_after,
            });
        }
        if self.identify_minimum_age >= renew_after - jitter {
            return Err(ConfigError::AgeBeyondRenewal {
                age: self.identify_minimum_age,
                renew_after,
            });
        }
        Ok(())
    }
}

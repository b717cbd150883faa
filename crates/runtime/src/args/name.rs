//! Names of Kubernetes objects and of hosts, as flags give them.

use crate::error::ConfigError;

/// Checks that a flag's value is a DNS name in lower case, as namespaces, Services and cluster domains are.
///
/// # Errors
/// Names the flag and quotes its value.
pub fn dns_name(flag: &str, value: &str) -> Result<(), ConfigError> {
    if is_dns_name(value) {
        return Ok(());
    }
    Err(ConfigError::new(format!("{flag} {value:?} is not a DNS name in lower case")))
}

/// Labels of at most 63 letters, digits and hyphens, 253 bytes in all.
#[must_use]
pub fn is_dns_name(text: &str) -> bool {
    let label = |label: &str| {
        let letters = label
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        (1..=63).contains(&label.len()) && letters && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

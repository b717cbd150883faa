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

/// Labels of at most 63 bytes, 253 in all.
#[must_use]
pub fn is_dns_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(|label| label.len() <= 63 && is_label(label))
}

/// Lower-case letters, digits and hyphens between them; of any length but none.
#[must_use]
pub fn is_label(label: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !label.is_empty() && label.bytes().all(fits) && !label.starts_with('-') && !label.ends_with('-')
}

//! A Secret as it was read. Its values never reach Debug, logs or errors.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::Secret;
use keda_kaito_core::credentials::Presence;

/// The types we write in; others must be replaced, because a type cannot be changed.
const TYPES: [&str; 2] = ["Opaque", "kubernetes.io/tls"];

/// One of our Secrets.
#[derive(Clone)]
pub(crate) struct Stored(pub(crate) Secret);

impl Stored {
    /// The value of a key, if it is there and not empty.
    pub(crate) fn value(&self, key: &str) -> Option<&[u8]> {
        let value = self.0.data.as_ref()?.get(key)?;
        (!value.0.trim_ascii().is_empty()).then_some(value.0.as_slice())
    }

    /// The value of a key as text, if it is that.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        std::str::from_utf8(self.value(key)?).ok()
    }

    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        let annotations: &BTreeMap<String, String> = self.0.metadata.annotations.as_ref()?;
        annotations.get(key).map(String::as_str)
    }

    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        self.annotation(key)?.parse().ok()
    }

    pub(crate) fn moment(&self, key: &str) -> Option<jiff::Timestamp> {
        self.annotation(key)?.parse().ok()
    }

    /// Whether it can be written in place.
    pub(crate) fn presence(&self) -> Presence {
        let of_type = self.0.type_.as_deref().unwrap_or("Opaque");
        if !TYPES.contains(&of_type) {
            return Presence::Unwritable(format!("the Secret has the type {of_type:?}"));
        }
        if self.0.immutable == Some(true) {
            return Presence::Unwritable("the Secret is immutable".to_owned());
        }
        Presence::Present
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.0.data.as_ref().map(|data| data.keys().collect::<Vec<_>>());
        formatter
            .debug_struct("Stored")
            .field("name", &self.0.metadata.name)
            .field("keys", &keys)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;
    use k8s_openapi::api::core::v1::Secret;
    use keda_kaito_core::credentials::Presence;

    use super::Stored;

    fn secret(of_type: Option<&str>, immutable: bool) -> Stored {
        Stored(Secret {
            type_: of_type.map(str::to_owned),
            immutable: Some(immutable),
            data: Some(BTreeMap::from([("tls.key".to_owned(), ByteString(b"top secret".to_vec()))])),
            ..Secret::default()
        })
    }

    #[test]
    fn values_do_not_reach_debug() {
        let text = format!("{:?}", secret(None, false));
        assert!(text.contains("tls.key"), "{text}");
        assert!(!text.contains("top secret") && !text.contains("116, 111, 112"), "{text}");
    }

    #[test]
    fn secrets_of_another_type_or_immutable_ones_must_be_replaced() {
        for (of_type, immutable, writable) in [
            (None, false, true),
            (Some("Opaque"), false, true),
            (Some("kubernetes.io/tls"), false, true),
            (Some("kubernetes.io/basic-auth"), false, false),
            (Some("Opaque"), true, false),
        ] {
            let presence = secret(of_type, immutable).presence();
            assert_eq!(
                presence == Presence::Present,
                writable,
                "{of_type:?} {immutable}: {presence:?}"
            );
        }
    }
}

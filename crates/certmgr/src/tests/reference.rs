//! An installation of the Go reference is taken over: its authorities are joined to ours, nothing of it is lost before
//! the switch.

use keda_kaito_core::credentials::{Cause, Phase};
use keda_kaito_core::names;

use super::handshake::handshake;
use super::memory::{DAY, Memory, start, stored};
use crate::pem;

const NAME: &str = "keda-kaito-scaler-svc.keda.svc";

fn installed() -> Memory {
    Memory {
        server: Some(stored(&[
            ("ca.crt", include_str!("../../testdata/reference/server-ca.crt")),
            ("ca.key", include_str!("../../testdata/reference/server-ca.key")),
            ("server.crt", include_str!("../../testdata/reference/server.crt")),
            ("server.key", include_str!("../../testdata/reference/server.key")),
        ])),
        client: Some(stored(&[
            ("ca.crt", include_str!("../../testdata/reference/client-ca.crt")),
            ("ca.key", include_str!("../../testdata/reference/client-ca.key")),
            ("tls.crt", include_str!("../../testdata/reference/client.crt")),
            ("tls.key", include_str!("../../testdata/reference/client.key")),
        ])),
        ..Memory::empty()
    }
}

#[test]
fn authorities_of_the_reference_are_told_apart_by_their_keys() {
    let objects = installed().inspect().objects;
    let (server, client) = (objects.server.leaf.unwrap(), objects.client.leaf.unwrap());
    assert_ne!(server.issuer, client.issuer);
    assert!(objects.server.reference_layout && objects.server.reference_keys && objects.client.reference_keys);
}

#[test]
fn first_writes_only_add_to_what_the_reference_uses() {
    let before = installed();
    let mut memory = installed();
    memory.settle(start());
    for (now, then) in [(&memory.server, &before.server), (&memory.client, &before.client)] {
        let (now, then) = (now.as_ref().unwrap(), then.as_ref().unwrap());
        for (key, value) in then.0.data.as_ref().unwrap() {
            match key.as_str() {
                "ca.crt" => {
                    let bundle = pem::certificates(now.value(key).unwrap()).unwrap();
                    assert_eq!(bundle.len(), 3);
                    assert_eq!(
                        bundle[0],
                        pem::certificates(&value.0).unwrap()[0],
                        "its own authority must stay the first"
                    );
                }
                _ => assert_eq!(now.value(key), Some(value.0.as_slice()), "{key}"),
            }
        }
    }
    let server = memory.server.as_ref().unwrap();
    assert_eq!(server.value(names::TLS_KEY), before.server.unwrap().value("server.key"));
}

#[test]
fn reference_is_switched_over_without_a_failed_handshake_and_cleaned_up_after() {
    let mut memory = installed();
    memory.settle(start());
    let later = start() + 20 * DAY;
    let old_client = memory.client.clone().unwrap();
    for day in 0..6 {
        while let Some(step) = memory.step(start() + day * DAY) {
            let (server, client) = (memory.server.as_ref().unwrap(), memory.client.as_ref().unwrap());
            handshake(server, client, NAME, later).unwrap();
            // The union lets everyone in who came with the reference, until all callers are known to have changed.
            if *step.cause() == Cause::Rotation(Phase::Trust) || *step.cause() == Cause::Rotation(Phase::Identify) {
                handshake(server, &old_client, NAME, later).unwrap();
            }
        }
    }
    for secret in [memory.server.unwrap(), memory.client.unwrap()] {
        let keys: Vec<_> = secret.0.data.as_ref().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["ca.crt", "tls.crt", "tls.key"]);
        assert!(
            secret
                .text(names::TLS_KEY)
                .unwrap()
                .starts_with("-----BEGIN PRIVATE KEY-----")
        );
    }
}

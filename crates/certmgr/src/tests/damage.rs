//! Damaged Secrets are seen for what they are, and a few writes put them right.

use k8s_openapi::ByteString;
use keda_kaito_core::credentials::{Cause, Flaw};
use keda_kaito_core::names::{CA_CRT, CA_KEY, TLS_CRT, TLS_KEY};

use super::handshake::handshake;
use super::memory::{DAY, Memory, start};
use crate::stored::Stored;

type Damage = fn(&mut Memory);

fn set(secret: &mut Option<Stored>, key: &str, value: &[u8]) {
    let data = secret.as_mut().unwrap().0.data.as_mut().unwrap();
    data.insert(key.to_owned(), ByteString(value.to_vec()));
}

fn get(secret: &Option<Stored>, key: &str) -> Vec<u8> {
    // In a rotation a key may be gone already.
    secret.as_ref().unwrap().value(key).unwrap_or_default().to_vec()
}

fn cut(secret: &mut Option<Stored>, key: &str) {
    let value = get(secret, key);
    set(secret, key, &value[..value.len() / 2]);
}

const DAMAGES: &[(&str, Damage)] = &[
    ("server certificate cut", |m| cut(&mut m.server, TLS_CRT)),
    ("server key cut", |m| cut(&mut m.server, TLS_KEY)),
    ("server bundle cut", |m| cut(&mut m.server, CA_CRT)),
    ("client certificate cut", |m| cut(&mut m.client, TLS_CRT)),
    ("client key cut", |m| cut(&mut m.client, TLS_KEY)),
    ("client bundle cut", |m| cut(&mut m.client, CA_CRT)),
    ("server certificate empty", |m| set(&mut m.server, TLS_CRT, b"")),
    ("server key garbage", |m| set(&mut m.server, TLS_KEY, &[0, 159, 146, 150])),
    ("bundle of 100 kB", |m| set(&mut m.client, CA_CRT, &vec![b'x'; 100_000])),
    ("pairs swapped", |m| std::mem::swap(&mut m.server, &mut m.client)),
    ("keys swapped", |m| {
        let (server, client) = (get(&m.server, TLS_KEY), get(&m.client, TLS_KEY));
        set(&mut m.server, TLS_KEY, &client);
        set(&mut m.client, TLS_KEY, &server);
    }),
    ("authority used as leaf", |m| {
        let (crt, key) = (get(&m.authority, CA_CRT), get(&m.authority, CA_KEY));
        set(&mut m.server, TLS_CRT, &crt);
        set(&mut m.server, TLS_KEY, &key);
    }),
    ("foreign pair", |m| {
        let foreign = Memory::issued();
        set(&mut m.server, TLS_CRT, &get(&foreign.server, TLS_CRT));
        set(&mut m.server, TLS_KEY, &get(&foreign.server, TLS_KEY));
    }),
    ("foreign server Secret", |m| m.server = Memory::issued().server),
    ("foreign root in the bundle", |m| {
        let foreign = get(&Memory::issued().authority, CA_CRT);
        set(&mut m.client, CA_CRT, &foreign);
    }),
    ("leaf in the bundle", |m| {
        let leaf = get(&m.client, TLS_CRT);
        set(&mut m.client, CA_CRT, &leaf);
    }),
    ("server Secret deleted", |m| m.server = None),
    ("client Secret deleted", |m| m.client = None),
    ("wrong type", |m| {
        m.server.as_mut().unwrap().0.type_ = Some("kubernetes.io/basic-auth".to_owned());
    }),
    ("immutable", |m| m.client.as_mut().unwrap().0.immutable = Some(true)),
    ("no data", |m| m.client.as_mut().unwrap().0.data = None),
    ("authority key cut", |m| cut(&mut m.authority, CA_KEY)),
    ("authority certificate cut", |m| cut(&mut m.authority, CA_CRT)),
    ("authority Secret of another installation", |m| {
        m.authority = Memory::issued().authority;
    }),
    ("everything deleted", |m| *m = Memory::empty()),
    ("authentication deleted", |m| m.authentication = None),
    ("authentication edited", |m| {
        m.authentication.as_mut().unwrap().spec.secret_target_ref.reverse();
    }),
];

#[test]
fn every_damage_is_put_right_in_a_few_writes() {
    for (name, damage) in DAMAGES {
        let mut memory = Memory::issued();
        damage(&mut memory);
        let writes = memory.settle(start());
        assert!((1..=6).contains(&writes), "{name}: {writes} writes");
        let (server, client) = (memory.server.clone().unwrap(), memory.client.clone().unwrap());
        handshake(&server, &client, "keda-kaito-scaler-svc", start()).unwrap_or_else(|why| panic!("{name}: {why}"));
        for secret in [server, client] {
            assert_eq!(secret.0.type_.as_deref(), Some("Opaque"), "{name}");
            assert_ne!(secret.0.immutable, Some(true), "{name}");
        }
    }
}

#[test]
fn every_damage_in_every_state_of_a_rotation_is_put_right() {
    let mut rotating = Memory::issued();
    rotating.request("test");
    for day in 0..4 {
        let now = start() + day * DAY;
        loop {
            for (name, damage) in DAMAGES {
                let mut memory = rotating.clone();
                if memory.authentication.is_none() {
                    continue;
                }
                damage(&mut memory);
                for later in 0..6 {
                    memory.settle(now + later * 2 * DAY);
                }
                let (server, client) = (memory.server.clone().unwrap(), memory.client.clone().unwrap());
                let met = handshake(&server, &client, "keda-kaito-scaler-svc", start() + 20 * DAY);
                met.unwrap_or_else(|why| panic!("{name}: {why}"));
                let authority = &memory.inspect().objects.authority;
                assert!(
                    authority.signer.is_some() && authority.next.is_none(),
                    "{name}: the rotation does not end"
                );
            }
            if rotating.step(now).is_none() {
                break;
            }
        }
    }
}

#[test]
fn causes_name_the_damage_and_no_secret() {
    for (damage, said) in [
        (DAMAGES[0].1, "the certificate is not PEM"),
        (DAMAGES[1].1, "the private key is not a private key in PEM"),
        (DAMAGES[10].1, "the private key is not the private key of the certificate"),
        (DAMAGES[12].1, "the certificate verifies under no known authority"),
    ] {
        let mut memory = Memory::issued();
        damage(&mut memory);
        let Err(Flaw::Unusable(why)) = memory.inspect().objects.server.leaf else {
            panic!("{said}: seen as usable")
        };
        assert!(why.starts_with(said), "{why}");
        let inspected = memory.inspect();
        let step = memory.plan(&inspected, start()).step.unwrap();
        assert!(matches!(step.cause(), Cause::Repair(_)), "{step:?}");
        let shown = format!("{inspected:?} {step:?} {memory:?}");
        assert!(!shown.contains("PRIVATE KEY"), "{shown}");
    }
}

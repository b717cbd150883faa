//! What a private key looks like in text: its secret bytes as they are, in hexadecimal, in base64 wherever they begin, as a
//! list of numbers; and its PEM body, itself perhaps in base64, as the API server shows Secrets.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Length of a line of PEM.
const LINE: usize = 64;
/// Shorter pieces could be met by chance.
const SHORTEST: usize = 20;
/// Before the secret number of an elliptic curve key.
const SCALAR: [u8; 5] = [2, 1, 1, 4, 32];

/// Every form of the key in this DER, with its name.
pub(super) fn of(der: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let (start, secret) = secret_part(der);
    let mut patterns = vec![
        ("bytes", secret.to_vec()),
        ("hexadecimal", hexadecimal(secret).into_bytes()),
        ("upper hexadecimal", hexadecimal(secret).to_uppercase().into_bytes()),
    ];
    patterns.extend(numbers(secret));
    patterns.extend(base64(secret));
    // The body of a PEM is cut into lines, whose pieces are met one by one.
    let body = STANDARD_NO_PAD.encode(der);
    let (from, to) = ((start * 4).div_ceil(3), (start + secret.len()) * 4 / 3);
    for (number, line) in body.as_bytes().chunks(LINE).enumerate() {
        let at = |index: usize| index.saturating_sub(number * LINE).min(line.len());
        let piece = line.get(at(from)..at(to)).unwrap_or_default();
        if piece.len() >= SHORTEST {
            patterns.push(("PEM", piece.to_vec()));
            patterns.extend(numbers(piece));
            patterns.extend(base64(piece));
        }
    }
    patterns
}

/// Where the secret begins, and its first bytes: whole for a P-256 key, from the middle of an RSA key.
fn secret_part(der: &[u8]) -> (usize, &[u8]) {
    let scalar = der.windows(SCALAR.len()).position(|window| window == SCALAR);
    let (start, length) = match scalar {
        Some(place) => (place + SCALAR.len(), 32),
        None => (der.len() / 3, 48),
    };
    (start, der.get(start..start + length).unwrap_or(der))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As a debug print of a list has them.
fn numbers(bytes: &[u8]) -> [(&'static str, Vec<u8>); 2] {
    let first = bytes.iter().take(16).map(ToString::to_string).collect::<Vec<_>>();
    [
        ("numbers", first.join(", ").into_bytes()),
        ("numbers without spaces", first.join(",").into_bytes()),
    ]
}

/// The characters that stand for these bytes and nothing else, whatever comes before them.
fn base64(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut patterns = Vec::new();
    for before in 0..3 {
        let shifted = [vec![0; before].as_slice(), bytes].concat();
        let (from, to) = ((before * 4).div_ceil(3), shifted.len() * 4 / 3);
        for (form, text) in [
            ("base64", STANDARD_NO_PAD.encode(&shifted)),
            ("base64 for URLs", URL_SAFE_NO_PAD.encode(&shifted)),
        ] {
            patterns.push((form, text.as_bytes().get(from..to).unwrap_or_default().to_vec()));
        }
    }
    patterns
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use rcgen::KeyPair;

    use super::*;

    fn shows(text: &[u8], der: &[u8]) -> bool {
        of(der)
            .iter()
            .any(|(_, pattern)| text.windows(pattern.len()).any(|window| window == pattern))
    }

    #[test]
    fn a_key_is_recognised_in_every_form_and_another_is_not() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let (der, pem) = (key.serialize_der(), key.serialize_pem());
        let spread = |text: &str| {
            (0..3)
                .map(|before| STANDARD.encode("x".repeat(before) + text))
                .collect::<Vec<_>>()
        };
        let mut texts = vec![
            pem.clone(),
            pem.replace('\n', "\\n"),
            format!("{der:?}"),
            format!("{:?}", pem.as_bytes()),
            hexadecimal(&der),
            hexadecimal(&der).to_uppercase(),
            STANDARD.encode(&der),
            URL_SAFE_NO_PAD.encode([&[0], der.as_slice()].concat()),
            serde_json::to_string(&der).unwrap(),
        ];
        texts.extend(spread(&pem));
        for text in texts {
            assert!(shows(text.as_bytes(), &der), "{text}");
            assert!(!shows(text.as_bytes(), &other.serialize_der()), "{text}");
        }
        assert!(shows(&der, &der));
        assert!(!shows(key.public_key_pem().as_bytes(), &der));
    }
}

use super::*;

fn framing_of(lines: &str) -> Result<Framing, String> {
    let head = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
    framing(head.as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn head_ends_with_an_empty_line_however_it_arrives() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n";
    let all = [&head[..], b"x 1\n"].concat();
    assert_eq!(end_of_head(&all, all.len()).unwrap(), Some(head.len()));
    for step in [1, 2, 3, 7] {
        let mut received = 0;
        let found = loop {
            let fresh = step.min(all.len() - received);
            received += fresh;
            if let Some(found) = end_of_head(&all[..received], fresh).unwrap() {
                break found;
            }
        };
        assert_eq!(found, head.len(), "in steps of {step}");
    }
}

#[test]
fn what_is_no_head_is_refused_at_its_first_bytes_or_at_the_limit() {
    assert!(end_of_head(b"SSH-2.0", 7).is_err());
    assert!(end_of_head(b"<", 1).is_err());
    assert_eq!(end_of_head(b"HTT", 3).unwrap(), None);
    let mut long = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
    long.resize(MAX_HEAD, b'x');
    assert!(end_of_head(&long, 1).is_err());
    long.extend_from_slice(b"\r\n\r\n");
    assert!(end_of_head(&long, 5).is_err());
}

#[test]
fn body_ends_as_the_head_says() {
    for (lines, expected) in [
        ("", Framing::Close),
        ("Content-Length:  12 \r\n", Framing::Length(12)),
        ("content-length: 12\r\ncontent-length: 12\r\n", Framing::Length(12)),
        ("Transfer-Encoding: Chunked\r\n", Framing::Chunked),
        ("content-length: 12\r\ntransfer-encoding: chunked\r\n", Framing::Chunked),
        ("transfer-encoding: chunked\r\ncontent-length: 12\r\n", Framing::Chunked),
        (
            "content-type: Text/Plain; charset=utf-8\r\ncontent-encoding: Identity\r\n",
            Framing::Close,
        ),
        ("content-type: text/plain\r\n", Framing::Close),
    ] {
        assert_eq!(framing_of(lines), Ok(expected), "{lines:?}");
    }
}

#[test]
fn answer_that_is_no_readable_page_says_why() {
    let http = "the connection broke, or what came is not HTTP";
    for (lines, message) in [
        ("content-length: 12\r\ncontent-length: 13\r\n", http),
        ("content-length: -1\r\n", http),
        ("content-length: +1\r\n", http),
        ("content-length: 1, 1\r\n", http),
        ("content-length: \r\n", http),
        ("content-length: 99999999999999999999\r\n", http),
        ("transfer-encoding: gzip, chunked\r\n", http),
        ("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", http),
        ("no colon\r\n", http),
        ("content-length: 4194305\r\n", "the body is longer than 4194304 bytes"),
        ("content-encoding: br\r\n", "the response is encoded"),
        ("content-type: text/html\r\n", "the content type is not text/plain"),
        ("content-type: tex\r\n", "the content type is not text/plain"),
    ] {
        assert_eq!(framing_of(lines), Err(message.to_owned()), "{lines:?}");
    }
    let chunked = framing(b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    assert_eq!(chunked.unwrap_err().to_string(), http);
    let moved = framing(b"HTTP/1.1 302 Found\r\nlocation: /\r\n\r\n");
    assert_eq!(moved.unwrap_err().to_string(), "status 302");
}

#[test]
fn chunks_are_put_together_wherever_they_are_cut() {
    let text = b"4\r\na 1\n\r\n6;name=value\r\nbb 22\n\r\n0\r\ntrailer: x\r\n\r\n";
    for step in 1..=text.len() {
        let (mut chunks, mut received, mut complete) = (Chunks::default(), Vec::new(), false);
        for part in text.chunks(step) {
            received.extend_from_slice(part);
            complete = complete || chunks.take(&mut received).unwrap();
        }
        assert!(complete, "in steps of {step}");
        assert_eq!(chunks.body, b"a 1\nbb 22\n", "in steps of {step}");
    }
}

#[test]
fn what_are_no_chunks_or_too_many_is_refused() {
    for (text, message) in [
        ("zz\r\n", "the connection broke, or what came is not HTTP"),
        ("4\r\na 1\nxx", "the connection broke, or what came is not HTTP"),
        ("400001\r\n", "the body is longer than 4194304 bytes"),
        ("ffffffffffffffff\r\n", "the body is longer than 4194304 bytes"),
    ] {
        let taken = Chunks::default().take(&mut text.as_bytes().to_vec());
        assert_eq!(taken.unwrap_err().to_string(), message, "{text:?}");
    }
    let mut endless = format!("1;{}", "x".repeat(MAX_HEAD)).into_bytes();
    assert!(Chunks::default().take(&mut endless).is_err());
}

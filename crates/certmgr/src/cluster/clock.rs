//! The API server's wall clock, as the `Date` of one of its answers.

use http::Request;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use keda_kaito_core::credentials::Clock;
use kube::Client;
use kube::client::Body;

use crate::error::Error;

/// Asks the API server for its version, for the sake of the header.
pub(super) async fn read(client: &Client) -> Result<Clock, Error> {
    let request = Request::get("/version").body(Body::empty()).map_err(|error| Error::Clock {
        source: kube::Error::HttpError(error),
    })?;
    let answer = client.send(request).await.map_err(|source| Error::Clock { source })?;
    let date = answer.headers().get(http::header::DATE);
    Ok(Clock {
        own: Timestamp::now(),
        server: date.and_then(|date| date.to_str().ok()).and_then(parse),
    })
}

fn parse(date: &str) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(date).ok()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn dates_are_read_as_http_writes_them() {
        let expected = "1994-11-06T08:49:37Z".parse().unwrap();
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:37 GMT"), Some(expected));
        assert_eq!(parse("yesterday"), None);
        assert_eq!(parse(""), None);
    }
}

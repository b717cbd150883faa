//! The API server's wall clock, as the `Date` of one of its answers. What to make of it is the caller's business.

use http::Request;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use kube::Client;
use kube::client::Body;

/// Asks the API server for its version, for the sake of the header; in whole seconds, `None` when it has none.
///
/// # Errors
/// The API server cannot be asked.
pub async fn server_time(client: &Client) -> kube::Result<Option<Timestamp>> {
    let request = Request::get("/version").body(Body::empty());
    let answer = client.send(request.map_err(kube::Error::HttpError)?).await?;
    let date = answer.headers().get(http::header::DATE);
    Ok(date.and_then(|date| date.to_str().ok()).and_then(parse))
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

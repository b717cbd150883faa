//! One scrape of one target: the filtered form where the server knows it, else the whole page. What was learnt about
//! the form is handed back for the next time. When to scrape, and what the numbers mean, is decided elsewhere.

mod error;
mod exchange;
mod response;
mod tls;

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use keda_kaito_core::exposition::{self, Exposition, Selection, families_for, nearest_name, reading};
use keda_kaito_core::trigger::Endpoint;
use keda_kaito_core::window::{Reading, Wanted};
use tokio::time::Instant;

pub use error::ScrapeError;
pub use response::MAX_BODY;

use exchange::Ask;

/// What to read at one kind of endpoint; shared by all replicas of an InferenceSet.
#[derive(Debug)]
pub struct Page {
    pub endpoint: Endpoint,
    pub wanted: Vec<Wanted>,
    selection: Selection,
    full: String,
    filtered: String,
}

/// Which form of the page a target is known to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `<path>/?name[]=…`: the Python client's handler with only the wanted samples.
    Filtered,
    /// `<path>`: everything.
    Full,
}

/// What one scrape brought.
#[derive(Debug)]
pub struct Scraped {
    pub exposition: Exposition,
    /// The form in which wanted samples were found, if any were.
    pub form: Option<Form>,
    /// When the answer was complete.
    pub at: Instant,
    /// The whole page, if that is what was read last: for hints about names that are not on it.
    pub full_body: Option<Bytes>,
}

impl Page {
    /// Prepares the requests for an endpoint.
    #[must_use]
    pub fn new(endpoint: Endpoint, wanted: Vec<Wanted>) -> Self {
        let selection = Selection::new(families_for(&wanted));
        // `<path>/` without a filter would compute the whole page on the server's event loop.
        let full = match endpoint.path.trim_end_matches('/') {
            "" => "/".to_owned(),
            path => path.to_owned(),
        };
        let mut filtered = format!("{}/", full.trim_end_matches('/'));
        for (index, name) in selection.sample_names().enumerate() {
            let separator = if index == 0 { '?' } else { '&' };
            // Writing to a String cannot fail.
            let _written = write!(filtered, "{separator}name[]={name}");
        }
        Self {
            endpoint,
            wanted,
            selection,
            full,
            filtered,
        }
    }

    fn request(&self, form: Form) -> &str {
        match form {
            Form::Filtered => &self.filtered,
            Form::Full => &self.full,
        }
    }
}

impl Scraped {
    /// What was read of each wanted metric, in the page's order.
    #[must_use]
    pub fn readings(&self, page: &Page) -> Vec<Reading> {
        let read = |wanted: &Wanted| {
            let nearest = || nearest_name(self.full_body.as_deref()?, &wanted.metric);
            reading(&self.exposition, &page.selection, &wanted.metric, wanted.kind, nearest)
        };
        page.wanted.iter().map(read).collect()
    }
}

/// Scrapes `address`. `unchanged` says whether the address still belongs to the pod it was taken from; it is asked
/// before every connection and before a body is used.
///
/// # Errors
/// Nothing usable came: see [`ScrapeError`]. A page without any wanted sample is no error.
pub async fn scrape(
    address: SocketAddr,
    page: Arc<Page>,
    known: Option<Form>,
    unchanged: impl Fn() -> bool,
) -> Result<Scraped, ScrapeError> {
    let timeout = page.endpoint.timeout;
    let deadline = Instant::now() + timeout;
    let mut form = known.unwrap_or(Form::Filtered);
    loop {
        if !unchanged() {
            return Err(ScrapeError::PodChanged);
        }
        let ask = Ask {
            address,
            protocol: page.endpoint.protocol,
            path_and_query: page.request(form),
            timeout,
            deadline,
        };
        let answer = exchange::get(ask).await;
        if answer.is_ok() && !unchanged() {
            return Err(ScrapeError::PodChanged);
        }
        let read = answer.and_then(|body| Ok((exposition::read(&body, &page.selection)?, body)));
        match read {
            Ok((exposition, body)) if form == Form::Full || exposition.has_wanted() => {
                return Ok(Scraped {
                    form: exposition.has_wanted().then_some(form),
                    exposition,
                    at: Instant::now(),
                    full_body: (form == Form::Full).then_some(body),
                });
            }
            Err(error) if form == Form::Full || !error.is_answer() => return Err(error),
            // Neither an empty answer to the filter nor a refusal of it says anything about the page.
            Ok(_) | Err(_) => form = Form::Full,
        }
    }
}

#[cfg(test)]
mod tests;

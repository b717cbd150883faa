//! Selective reader of the Prometheus text format: one pass over the bytes, only the families asked for are read.
//! Series of one family are combined per pod. It knows no target, no window and no metric's meaning.

mod line;
mod nearest;
mod reading;
mod selection;
#[cfg(test)]
mod tests;
mod total;

use memchr::memchr_iter;
use thiserror::Error;

use line::Line;
use total::Total;

pub use nearest::nearest_name;
pub use reading::{families_for, reading};
pub use selection::{Part, Selection};

/// Longest line of a body, in bytes.
pub const MAX_LINE: usize = 16 * 1024;
/// Most samples of a body, wanted or not.
pub const MAX_SAMPLES: usize = 50_000;
/// Most series of one wanted name.
pub const MAX_SERIES: usize = 4096;
/// Largest value believed.
pub const MAX_VALUE: f64 = 1e12;

/// Why a whole body is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    #[error("line {number} is longer than {MAX_LINE} bytes")]
    LineTooLong { number: usize },
    #[error("more than {MAX_SAMPLES} samples")]
    TooManySamples,
}

/// Why a family that is there has no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    #[error("a line cannot be read")]
    Malformed,
    #[error("a value is not finite")]
    NotFinite,
    #[error("a value is negative")]
    Negative,
    #[error("a value is above 1e12")]
    TooLarge,
    #[error("more than {MAX_SERIES} series")]
    TooManySeries,
    #[error("the series of _sum and _count do not match")]
    Unpaired,
}

/// What a body's TYPE line says of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeclaredType {
    Counter,
    Gauge,
    Histogram,
    Summary,
    /// `untyped`, `unknown`, or a type that other formats know.
    Other,
}

/// One body, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Exposition {
    families: Vec<Family>,
    /// Sample lines of the whole body.
    pub samples: usize,
    /// Lines that are no sample, and lines of wanted families that could not be used. Lines of other families are not looked into.
    pub rejected: usize,
    /// Samples whose labels had been seen before under the same name; the first counts.
    pub duplicates: usize,
    /// Whether the last line ends properly; if not, the body may be cut short.
    pub terminated: bool,
}

/// One wanted family.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Family {
    /// The first TYPE line's word, if there was one.
    pub declared: Option<DeclaredType>,
    plain: Total,
    sum: Total,
    count: Total,
}

/// Gauge, counter or untyped samples of one family in one body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scalar {
    /// Over all series.
    pub total: f64,
    /// At least 1.
    pub series: usize,
}

/// `_sum` and `_count` of one histogram in one body, over all series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HistogramTotal {
    pub sum: f64,
    pub count: f64,
}

impl Exposition {
    /// The family at `index` of the selection.
    pub fn family(&self, index: usize) -> Option<&Family> {
        self.families.get(index)
    }

    /// Whether any wanted family has a sample.
    pub fn has_wanted(&self) -> bool {
        self.families.iter().any(Family::is_present)
    }
}

impl Family {
    /// Whether a sample of the family, readable or not, is in the body.
    pub fn is_present(&self) -> bool {
        self.plain.is_present() || self.sum.is_present() || self.count.is_present()
    }

    /// The plain samples; `None` when there are none.
    ///
    /// # Errors
    /// There are some and one of them cannot be believed: then the family has no value at all.
    pub fn scalar(&self) -> Result<Option<Scalar>, Problem> {
        let total = self.plain.value()?;
        Ok(total.map(|total| Scalar {
            total,
            series: self.plain.series(),
        }))
    }

    /// The histogram's `_sum` and `_count`; `None` when there is neither.
    ///
    /// # Errors
    /// One is missing, they have unlike series, or a value cannot be believed.
    pub fn histogram(&self) -> Result<Option<HistogramTotal>, Problem> {
        match (self.sum.value()?, self.count.value()?) {
            (None, None) => Ok(None),
            (Some(sum), Some(count)) if self.sum.has_series_of(&self.count) => Ok(Some(HistogramTotal { sum, count })),
            _ => Err(Problem::Unpaired),
        }
    }

    fn part(&mut self, part: Part) -> &mut Total {
        match part {
            Part::Plain => &mut self.plain,
            Part::Sum => &mut self.sum,
            Part::Count => &mut self.count,
        }
    }
}

impl Scalar {
    /// One number for the pod, by the family's rule.
    pub fn merged(self, merge: crate::families::Merge) -> f64 {
        match merge {
            crate::families::Merge::Sum => self.total,
            #[expect(clippy::cast_precision_loss, reason = "at most MAX_SERIES")]
            crate::families::Merge::Mean => self.total / self.series as f64,
        }
    }
}

/// Reads the families of `selection` from a body. Timestamps are read over: only our own clock counts.
///
/// # Errors
/// The body is beyond a limit that no honest one reaches.
pub fn read(body: &[u8], selection: &Selection) -> Result<Exposition, ReadError> {
    let mut exposition = Exposition {
        families: vec![Family::default(); selection.families().len()],
        samples: 0,
        rejected: 0,
        duplicates: 0,
        terminated: body.last().is_none_or(|last| *last == b'\n'),
    };
    let mut ends = memchr_iter(b'\n', body);
    let (mut start, mut number) = (0, 0);
    while start <= body.len() {
        let end = ends.next().unwrap_or(body.len());
        let text = body.get(start..end).unwrap_or_default();
        start = end + 1;
        number += 1;
        if text.len() > MAX_LINE {
            return Err(ReadError::LineTooLong { number });
        }
        // Most lines are samples that nobody asked for.
        if text.first().is_some_and(u8::is_ascii_lowercase) && selection.rules_out(text) {
            exposition.samples += 1;
        } else {
            exposition.read_line(line::classify(text), selection);
        }
        if exposition.samples > MAX_SAMPLES {
            return Err(ReadError::TooManySamples);
        }
    }
    Ok(exposition)
}

impl Exposition {
    fn read_line(&mut self, line: Line<'_>, selection: &Selection) {
        match line {
            Line::Blank => {}
            Line::Garbage => self.rejected += 1,
            Line::Comment(text) => self.declare(text, selection),
            Line::Sample(text) => {
                self.samples += 1;
                for (index, part) in selection.wanting(text) {
                    self.add(index, part, line::sample(text));
                }
            }
        }
    }

    fn declare(&mut self, comment: &[u8], selection: &Selection) {
        let Some((index, declared)) = selection.declared(comment) else {
            return;
        };
        if let Some(family) = self.families.get_mut(index) {
            family.declared.get_or_insert(declared);
        }
    }

    fn add(&mut self, index: usize, part: Part, sample: Result<line::Sample<'_>, Problem>) {
        let Some(family) = self.families.get_mut(index) else { return };
        match family.part(part).add(sample) {
            total::Added::Counted => {}
            total::Added::Duplicate => self.duplicates += 1,
            total::Added::Refused => self.rejected += 1,
        }
    }
}

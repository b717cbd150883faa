//! Which families to read, prepared so that most lines of a body are passed over after a few comparisons.

use super::DeclaredType;
use super::line::{ends_name, type_line};

/// Families to read. Build it once for many bodies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    families: Vec<String>,
    names: Vec<Name>,
    /// The lengths of all names, each once.
    lengths: Vec<usize>,
}

/// Which samples of a family a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The family's own name.
    Plain,
    /// `<family>_sum`.
    Sum,
    /// `<family>_count`.
    Count,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    text: String,
    family: usize,
    part: Part,
}

impl Selection {
    /// A family given twice is kept once.
    pub fn new(families: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let mut selection = Self::default();
        for family in families {
            let family = family.into();
            if !selection.families.contains(&family) {
                selection.families.push(family);
            }
        }
        for (index, family) in selection.families.iter().enumerate() {
            for (part, suffix) in [(Part::Plain, ""), (Part::Sum, "_sum"), (Part::Count, "_count")] {
                let text = format!("{family}{suffix}");
                if !selection.lengths.contains(&text.len()) {
                    selection.lengths.push(text.len());
                }
                selection.names.push(Name {
                    text,
                    family: index,
                    part,
                });
            }
        }
        selection
    }

    /// The families, in the order of [`super::Exposition::family`].
    pub fn families(&self) -> &[String] {
        &self.families
    }

    /// Where a family is in [`Selection::families`].
    pub fn index_of(&self, family: &str) -> Option<usize> {
        self.families.iter().position(|known| known == family)
    }

    /// Every sample name that is read: each family's own, and with `_sum` and `_count`.
    pub fn sample_names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| name.text.as_str())
    }

    /// The family whose TYPE line a comment is, and the type.
    pub(super) fn declared(&self, comment: &[u8]) -> Option<(usize, DeclaredType)> {
        // As servers write it, it can be ruled out without being split.
        let impossible = match comment.strip_prefix(b"# TYPE ") {
            Some([b' ' | b'\t', ..]) => false,
            Some(name) => !self.families.iter().any(|family| ends_name(name.get(family.len()))),
            None => comment.starts_with(b"# HELP "),
        };
        if impossible {
            return None;
        }
        let (name, declared) = type_line(comment)?;
        let family = self.families.iter().position(|family| family.as_bytes() == name)?;
        Some((family, declared))
    }

    /// Families, and parts of them, that a sample line belongs to.
    pub(super) fn wanting(&self, line: &[u8]) -> impl Iterator<Item = (usize, Part)> {
        // One byte for each length rules out most lines; names are compared on the few that are left.
        let possible = self.lengths.iter().any(|length| ends_name(line.get(*length)));
        let names = if possible { self.names.as_slice() } else { &[] };
        names
            .iter()
            .filter(move |name| ends_name(line.get(name.text.len())) && line.starts_with(name.text.as_bytes()))
            .map(|name| (name.family, name.part))
    }
}

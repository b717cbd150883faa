//! Which families to read, prepared so that most lines of a body are passed over after a few comparisons.

use super::DeclaredType;
use super::line::{ends_name, type_line};

/// Where a name's probe lies.
const PROBE: std::ops::Range<usize> = 8..16;

/// Families to read. Build it once for many bodies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    families: Vec<String>,
    /// One per family: eight bytes from inside its name, which most lines do not have there.
    probes: Vec<[u8; 8]>,
    /// A family's name is too short for a probe, so probes rule nothing out.
    short: bool,
    sample_names: Vec<String>,
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

const PARTS: [(Part, &str); 3] = [(Part::Plain, ""), (Part::Sum, "_sum"), (Part::Count, "_count")];

impl Selection {
    /// A family given twice is kept once.
    pub fn new(families: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let mut selection = Self::default();
        for family in families {
            let family = family.into();
            if selection.families.contains(&family) {
                continue;
            }
            match probe(family.as_bytes()) {
                Some(probe) => selection.probes.push(probe),
                None => selection.short = true,
            }
            let names = PARTS.map(|(_, suffix)| format!("{family}{suffix}"));
            selection.sample_names.extend(names);
            selection.families.push(family);
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
        self.sample_names.iter().map(String::as_str)
    }

    /// The family whose TYPE line a comment is, and the type.
    pub(super) fn declared(&self, comment: &[u8]) -> Option<(usize, DeclaredType)> {
        // As servers write it, it can be ruled out without being split.
        let impossible = match comment.strip_prefix(b"# TYPE ") {
            Some([b' ' | b'\t', ..]) => false,
            Some(name) => self.rules_out(name) || self.beginning(name).next().is_none(),
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
    pub(super) fn wanting<'a>(&'a self, line: &'a [u8]) -> impl Iterator<Item = (usize, Part)> + 'a {
        self.beginning(line)
            .filter_map(|(index, rest)| Some((index, part_before(rest)?)))
    }

    /// Whether no family's name can stand at the beginning of a text, told by eight bytes of it. `false` settles nothing.
    #[inline]
    pub(super) fn rules_out(&self, text: &[u8]) -> bool {
        probe(text).is_some_and(|found| !self.short && !self.probes.contains(&found))
    }

    /// Families with whose name a text begins, and what follows it.
    fn beginning<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (usize, &'a [u8])> {
        let named = move |(index, family): (usize, &String)| Some((index, text.strip_prefix(family.as_bytes())?));
        self.families.iter().enumerate().filter_map(named)
    }
}

#[inline]
fn probe(text: &[u8]) -> Option<[u8; 8]> {
    text.get(PROBE)?.first_chunk().copied()
}

/// The part whose suffix is all that stands between the family's name and the name's end.
fn part_before(rest: &[u8]) -> Option<Part> {
    let is_part = |(_, suffix): &(Part, &str)| {
        let after = rest.strip_prefix(suffix.as_bytes());
        after.is_some_and(|after| ends_name(after.first()))
    };
    PARTS.into_iter().find(is_part).map(|(part, _)| part)
}

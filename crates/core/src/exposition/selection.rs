//! Which families to read, prepared so that most lines of a body are passed over after a few comparisons.

use super::line::name_length;

/// Families to read. Build it once for many bodies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    families: Vec<String>,
    names: Vec<Name>,
    /// What all names begin with.
    prefix: String,
    /// One bit per length of a name that is wanted.
    lengths: [u64; 4],
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
    /// Names longer than 248 bytes are never found. A family given twice is kept once.
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
                if let Some(bits) = selection.lengths.get_mut(text.len() / 64) {
                    *bits |= 1 << (text.len() % 64);
                }
                selection.names.push(Name {
                    text,
                    family: index,
                    part,
                });
            }
        }
        selection.prefix = common_prefix(&selection.families);
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

    pub(super) fn family_index(&self, name: &[u8]) -> Option<usize> {
        self.families.iter().position(|family| family.as_bytes() == name)
    }

    /// Families, and parts of them, that a sample line belongs to.
    pub(super) fn wanting(&self, line: &[u8]) -> impl Iterator<Item = (usize, Part)> {
        let name = self.possible(line);
        self.names
            .iter()
            .take(if name.is_some() { self.names.len() } else { 0 })
            .filter(move |known| name.is_some_and(|name| known.text.as_bytes() == name))
            .map(|known| (known.family, known.part))
    }

    fn possible<'a>(&self, line: &'a [u8]) -> Option<&'a [u8]> {
        if !line.starts_with(self.prefix.as_bytes()) {
            return None;
        }
        let length = name_length(line);
        let bits = self.lengths.get(length / 64)?;
        (bits >> (length % 64) & 1 == 1).then(|| line.get(..length)).flatten()
    }
}

fn common_prefix(names: &[String]) -> String {
    let Some((first, rest)) = names.split_first() else {
        return String::new();
    };
    let shared = |name: &String| first.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
    let length = rest.iter().map(shared).min().unwrap_or(first.len());
    first.get(..length).unwrap_or_default().to_owned()
}

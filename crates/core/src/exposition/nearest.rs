//! For a metric that a pod does not expose: the name it does expose that looks most like it.
//! Slower than reading; meant for the moment a person needs the hint.

use memchr::memchr_iter;

use super::line::{self, Line};

/// Distinct families compared; a vLLM server has about 50.
const MAX_FAMILIES: usize = 400;
const MAX_NAME: usize = 100;

/// The family in `body` whose name is nearest to `wanted`; `None` when none is near enough to be a misspelling or a renaming.
pub fn nearest_name(body: &[u8], wanted: &str) -> Option<String> {
    let mut best: Option<(usize, &[u8])> = None;
    let mut previous: &[u8] = &[];
    let mut families = 0;
    let mut start = 0;
    for end in memchr_iter(b'\n', body).chain(Some(body.len())) {
        let text = body.get(start..end).unwrap_or_default();
        start = end + 1;
        let Some(name) = family_name(text) else { continue };
        if name == previous {
            continue;
        }
        previous = name;
        families += 1;
        if families > MAX_FAMILIES {
            break;
        }
        let distance = distance(name, wanted.as_bytes());
        if best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, name));
        }
    }
    let (distance, name) = best?;
    let near = distance <= wanted.len() / 2;
    near.then(|| String::from_utf8_lossy(name).into_owned())
}

fn family_name(text: &[u8]) -> Option<&[u8]> {
    let name = match line::classify(text) {
        Line::Comment(comment) => line::type_line(comment)?.0,
        Line::Sample(sample) => {
            let name = sample.get(..line::name_length(sample))?;
            [&b"_bucket"[..], b"_sum", b"_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(*suffix))
                .unwrap_or(name)
        }
        Line::Blank | Line::Garbage => return None,
    };
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
    (!name.is_empty() && name.len() <= MAX_NAME && name.iter().all(plain)).then_some(name)
}

/// Levenshtein's distance.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (index, left) in a.iter().enumerate() {
        let mut diagonal = index;
        let mut before = index + 1;
        for (cell, right) in row.iter_mut().skip(1).zip(b) {
            let replaced = diagonal + usize::from(left != right);
            diagonal = *cell;
            *cell = replaced.min(before + 1).min(diagonal + 1);
            before = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or(a.len())
}

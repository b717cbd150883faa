//! How large an image's last layer is: what the Dockerfiles add to their base. Reads archives in the OCI layout, which all
//! three builders write.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Manifests and indexes are a few kilobytes.
const LARGEST_DOCUMENT: u64 = 1 << 20;
/// An index may name an index, once.
const DEEPEST: usize = 3;

/// Bytes of a layer.
pub(super) struct Layer {
    pub(super) stored: u64,
    /// As on a node's disk.
    pub(super) unpacked: u64,
}

/// The last layer of the image in `archive`.
pub(super) fn last_layer(archive: &Path) -> Result<Layer> {
    let mut document = document(archive, "index.json")?;
    for _ in 0..DEEPEST {
        if let Some(layers) = document.get("layers").and_then(Value::as_array) {
            let last = layers.last().context("an image without layers")?;
            return measure(archive, last);
        }
        let first = document.pointer("/manifests/0").context("an index without manifests")?;
        document = self::document(archive, &blob(first)?)?;
    }
    bail!("{} has no manifest with layers", archive.display())
}

fn measure(archive: &Path, descriptor: &Value) -> Result<Layer> {
    let kind = descriptor.get("mediaType").and_then(Value::as_str).unwrap_or_default();
    find(archive, &blob(descriptor)?, |entry| {
        let stored = entry.size();
        let unpacked = match kind.rsplit_once(['+', '.']).map(|(_, end)| end) {
            Some("tar") => stored,
            Some("gzip") => gzip_length(entry)?,
            _ => bail!("a layer of type {kind:?} has no length of its own"),
        };
        Ok(Layer { stored, unpacked })
    })
}

/// A gzip stream ends in its length.
fn gzip_length(mut stream: impl Read) -> Result<u64> {
    let (mut buffer, mut last) = (vec![0; 1 << 16], Vec::new());
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        last.extend_from_slice(buffer.get(..read).unwrap_or_default());
        last.drain(..last.len().saturating_sub(4));
    }
    let last: [u8; 4] = last.try_into().ok().context("a layer is cut short")?;
    Ok(u64::from(u32::from_le_bytes(last)))
}

fn document(archive: &Path, path: &str) -> Result<Value> {
    find(archive, path, |entry| {
        ensure!(entry.size() <= LARGEST_DOCUMENT, "{path} is {} bytes long", entry.size());
        Ok(serde_json::from_reader(entry)?)
    })
}

fn blob(descriptor: &Value) -> Result<String> {
    let digest = descriptor.get("digest").and_then(Value::as_str);
    Ok(format!("blobs/{}", digest.context("no digest")?.replace(':', "/")))
}

fn find<T>(archive: &Path, path: &str, read: impl FnOnce(tar::Entry<'_, File>) -> Result<T>) -> Result<T> {
    let file = File::open(archive).with_context(|| format!("opening {}", archive.display()))?;
    for entry in tar::Archive::new(file).entries()? {
        let entry = entry?;
        if entry.path()?.as_ref() == Path::new(path) {
            return read(entry).with_context(|| format!("{path} of {}", archive.display()));
        }
    }
    bail!("{} has no {path}: it is no OCI archive", archive.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{self, Entry, Image};

    #[test]
    fn the_last_layer_is_measured_in_an_archive() {
        let file = std::env::temp_dir().join(format!("xtask-size-{}.tar", std::process::id()));
        let image = Image {
            name: "x/y:1".to_owned(),
            entries: vec![Entry::Text {
                path: "etc/file",
                text: "text",
            }],
            entrypoint: Vec::new(),
            user: None,
            labels: Vec::new(),
        };
        oci::write(&image, &file).unwrap();
        let layer = last_layer(&file);
        std::fs::remove_file(&file).unwrap();
        let layer = layer.unwrap();
        // A header, a block of content, two blocks of end.
        assert_eq!((layer.stored, layer.unpacked), (2048, 2048));
    }

    #[test]
    fn the_length_of_a_gzip_stream_is_its_end_however_it_is_read() {
        let stream = [&[0x1f, 0x8b][..], &[7; 70_000], &[0x39, 0x30, 0, 0]].concat();
        assert_eq!(gzip_length(stream.as_slice()).unwrap(), 12_345);
        let halves = stream.as_slice().take(69_999).chain(&stream[69_999..]);
        assert_eq!(gzip_length(halves).unwrap(), 12_345);
        assert!(gzip_length(&stream[..3]).is_err());
    }
}

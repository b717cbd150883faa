//! Container images without an engine: one layer of given files, as an OCI archive that containerd imports.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// One image to be made.
pub(crate) struct Image {
    /// Its full reference; nothing is ever pulled under it.
    pub(crate) name: String,
    pub(crate) entries: Vec<Entry>,
    pub(crate) entrypoint: Vec<String>,
    /// `UID:GID`; the kubelet cannot prove that a name is not root. `None`: root.
    pub(crate) user: Option<&'static str>,
    pub(crate) labels: Vec<(&'static str, String)>,
}

/// One path of the layer.
pub(crate) enum Entry {
    /// A file of the host, with mode 0755 (programs and libraries).
    File {
        path: String,
        from: PathBuf,
    },
    Text {
        path: &'static str,
        text: &'static str,
    },
    Link {
        path: String,
        to: String,
    },
    /// A folder with this mode.
    Folder {
        path: &'static str,
        mode: u32,
    },
}

/// Writes `image` as the archive `file`, whole or not at all.
///
/// # Errors
/// A file of the host cannot be read, or the archive not be written.
pub(crate) fn write(image: &Image, file: &Path) -> Result<()> {
    let layer = layer(&image.entries)?;
    let layer_digest = digest(&layer);
    let labels: serde_json::Map<String, Value> = image
        .labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    let config = serde_json::to_vec(&json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "Entrypoint": image.entrypoint,
            "User": image.user.unwrap_or_default(),
            "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
    }))?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    }))?;
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    if let Some(entry) = entry.as_object_mut() {
        let names = json!({"io.containerd.image.name": image.name, "org.opencontainers.image.ref.name": image.name});
        entry.insert("annotations".to_owned(), names);
    }
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [entry]}))?;

    let fresh = file.with_extension("new");
    let mut archive = tar::Builder::new(File::create(&fresh).with_context(|| format!("creating {}", fresh.display()))?);
    append(&mut archive, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    append(&mut archive, "index.json", 0o644, &index)?;
    for blob in [&layer, &config, &manifest] {
        append(
            &mut archive,
            &format!("blobs/{}", digest(blob).replace(':', "/")),
            0o644,
            blob,
        )?;
    }
    archive.into_inner()?.flush()?;
    fs::rename(&fresh, file).with_context(|| format!("writing {}", file.display()))
}

fn layer(entries: &[Entry]) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for entry in entries {
        match entry {
            Entry::File { path, from } => {
                let bytes = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
                append(&mut tar, path, 0o755, &bytes)?;
            }
            Entry::Text { path, text } => append(&mut tar, path, 0o644, text.as_bytes())?,
            Entry::Link { path, to } => {
                let mut header = header(tar::EntryType::Symlink, 0o777, 0);
                tar.append_link(&mut header, path, to)?;
            }
            Entry::Folder { path, mode } => {
                let mut header = header(tar::EntryType::Directory, *mode, 0);
                tar.append_data(&mut header, path, std::io::empty())?;
            }
        }
    }
    Ok(tar.into_inner()?)
}

fn append<W: Write>(tar: &mut tar::Builder<W>, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
    let mut header = header(tar::EntryType::Regular, mode, bytes.len() as u64);
    tar.append_data(&mut header, path, bytes)
        .with_context(|| format!("adding {path}"))
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len(),
        "platform": {"architecture": architecture(), "os": "linux"}})
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

/// Of this machine, in Go's words.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

//! The committed code is what the generator makes of the committed proto. Run with `REGENERATE=1` to rewrite it.

use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message;

#[test]
fn committed_code_matches_the_proto() {
    let crate_dir = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let proto_dir = crate_dir.join("../../proto");
    let mut descriptors = protox::compile(["externalscaler.proto"], [&proto_dir]).unwrap();
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("externalscaler");
    fs::create_dir_all(&scratch).unwrap();
    fs::write(scratch.join("externalscaler.bin"), descriptors.encode_to_vec()).unwrap();
    tonic_prost_build::configure()
        .build_transport(true)
        .btree_map(".")
        .out_dir(&scratch)
        .compile_fds(descriptors)
        .unwrap();

    for file in ["externalscaler.rs", "externalscaler.bin"] {
        let fresh = fs::read(scratch.join(file)).unwrap();
        let committed = crate_dir.join("src/generated").join(file);
        if env::var_os("REGENERATE").is_some() {
            fs::write(&committed, &fresh).unwrap();
        }
        assert!(
            fs::read(&committed).unwrap_or_default() == fresh,
            "{file} is out of date: run the tests of this crate with REGENERATE=1"
        );
    }
}

//! Compiles the `.proto` files without protoc, and keeps a descriptor set for reflection and manifests.

use std::{env, fs, path::PathBuf};

use prost::Message;

const FILES: [&str; 4] = [
    "edgeio/api/v1/application.proto",
    "edgeio/cluster/v1/worker.proto",
    "edgeio/link/v1/link.proto",
    "edgeio/root/v1/cluster.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=edgeio");
    let set = protox::Compiler::new(["."])?
        .include_imports(true)
        .include_source_info(true)
        .open_files(FILES)?
        .file_descriptor_set();
    let mut slim = set.clone();
    for file in &mut slim.file {
        file.source_code_info = None;
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("edgeio_descriptor.bin"), slim.encode_to_vec())?;
    // Ordered maps: the same spec must always have the same bytes, since its hash names it.
    tonic_prost_build::configure()
        .btree_map(".")
        .compile_fds(set)?;
    Ok(())
}

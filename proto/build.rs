//! Compiles the `.proto` files without protoc, and keeps a descriptor set for reflection and manifests.

use std::{env, fs, path::PathBuf};

/// What our servers serve: described to whoever asks, and nothing of it without a rule of who may call it.
const SERVED: [&str; 7] = [
    "edgeio/api/v1/access.proto",
    "edgeio/api/v1/application.proto",
    "edgeio/api/v1/join.proto",
    "edgeio/cluster/v1/worker.proto",
    "edgeio/link/v1/link.proto",
    "edgeio/options/v1/options.proto",
    "edgeio/root/v1/cluster.proto",
];

/// What other programs serve to workers, on a socket of their machine. Not in the descriptor set, so that no server of ours can come
/// to serve it: one with a service that is not described does not start.
const DRIVERS: &str = "edgeio/runtime/v1/driver.proto";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=edgeio");
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).open_files(SERVED)?;
    // Encoded by protox and not from the set below, which has no place for options of our own: the rules of who may call.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let slim = compiler.encode_file_descriptor_set();
    fs::write(out.join("edgeio_descriptor.bin"), slim)?;
    compiler.open_file(DRIVERS)?;
    let set = compiler.include_source_info(true).file_descriptor_set();
    // Ordered maps: the same spec must always have the same bytes, since its hash names it.
    tonic_prost_build::configure()
        .btree_map(".")
        .compile_fds(set)?;
    Ok(())
}

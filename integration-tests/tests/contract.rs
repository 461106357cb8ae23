//! The contract in `proto/` and its committed image: what breaks somebody is refused.
//!
//! Runs the real buf on copies of the files. That the image changes only with a line in CHANGELOG.md is tidy's.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};

const APPLICATION: &str = "edgeio/api/v1/application.proto";
const IMAGE_FIELD: &str = "  string image = 4;\n";

fn proto() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto")
}

fn image() -> PathBuf {
    proto().join("edgeio.binpb")
}

/// buf as `get-tools` puts it, else the one on PATH.
fn buf(args: &[&Path]) -> Result<Output> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin/buf");
    let program = if ours.exists() {
        ours
    } else {
        PathBuf::from("buf")
    };
    Command::new(program)
        .args(args)
        .output()
        .context("run buf: `make test` gets it, or integration-tests/tools/get-tools test")
}

fn breaking(copy: &Path) -> Result<Output> {
    buf(&[
        Path::new("breaking"),
        copy,
        Path::new("--against"),
        &image(),
    ])
}

fn lint(copy: &Path) -> Result<Output> {
    buf(&[Path::new("lint"), copy])
}

/// A copy of the .proto files and of buf's rules in which `from` in `file` is replaced by `to`.
fn copy_with(file: &str, from: &str, to: &str) -> Result<tempfile::TempDir> {
    let copy = tempfile::tempdir()?;
    fs::copy(proto().join("buf.yaml"), copy.path().join("buf.yaml"))?;
    copy_protos(&proto().join("edgeio"), &copy.path().join("edgeio"))?;
    let path = copy.path().join(file);
    let text = fs::read_to_string(&path).with_context(|| format!("read {file}"))?;
    ensure!(
        text.contains(from),
        "{file} no longer has {from:?}: choose another line for this test"
    );
    fs::write(&path, text.replacen(from, to, 1))?;
    Ok(copy)
}

fn copy_protos(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_protos(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn the_image_is_what_the_files_say() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let now = dir.path().join("now.binpb");
    let args = ["build", "--exclude-source-info", "-o"].map(Path::new);
    let built = buf(&[args[0], &proto(), args[1], args[2], &now])?;
    assert!(built.status.success(), "{}", printed(&built));
    assert!(
        fs::read(now)? == fs::read(image())?,
        "the .proto files have changed: run `make contract` and add the line that it prints to CHANGELOG.md"
    );
    Ok(())
}

#[test]
fn what_breaks_somebody_is_refused() -> Result<()> {
    let cases = [
        ("a field is gone", IMAGE_FIELD, "", "FIELD"),
        (
            "another number",
            IMAGE_FIELD,
            "  string image = 44;\n",
            "Field",
        ),
        (
            "another type",
            IMAGE_FIELD,
            "  bytes image = 4;\n",
            "changed type from \"string\" to \"bytes\"",
        ),
        (
            "another name",
            IMAGE_FIELD,
            "  string picture = 4;\n",
            "changed name from \"image\" to \"picture\"",
        ),
        (
            "an RPC is gone",
            "  rpc Scale(ScaleRequest)",
            "  rpc Resize(ScaleRequest)",
            "RPC \"Scale\"",
        ),
        (
            "another enum number",
            "INSTANCE_PHASE_RUNNING = 4;",
            "INSTANCE_PHASE_RUNNING = 44;",
            "Enum value \"4\"",
        ),
    ];
    for (case, from, to, says) in cases {
        let refused = breaking(copy_with(APPLICATION, from, to)?.path())?;
        let text = printed(&refused);
        assert!(!refused.status.success(), "{case}: accepted");
        assert!(
            text.to_lowercase().contains(&says.to_lowercase()),
            "{case}: not {says:?} but\n{text}"
        );
    }
    Ok(())
}

#[test]
fn what_breaks_nobody_is_accepted() -> Result<()> {
    let more = format!("{IMAGE_FIELD}  // Another one.\n  string one_more = 400;\n");
    let copy = copy_with(APPLICATION, IMAGE_FIELD, &more)?;
    for accepted in [breaking(copy.path())?, lint(copy.path())?] {
        assert!(accepted.status.success(), "{}", printed(&accepted));
    }
    Ok(())
}

#[test]
fn a_field_without_a_comment_is_refused() -> Result<()> {
    let bare = format!("{IMAGE_FIELD}  string bare = 400;\n");
    let refused = lint(copy_with(APPLICATION, IMAGE_FIELD, &bare)?.path())?;
    let text = printed(&refused);
    assert!(
        !refused.status.success() && text.contains("\"bare\""),
        "accepted or for another reason:\n{text}"
    );
    Ok(())
}

//! How a Rust file looks.

use anyhow::Result;

use super::{assert_none, read, rust_files};

#[test]
fn each_file_says_what_it_is_for() -> Result<()> {
    let mut offenders = Vec::new();
    for name in rust_files()? {
        let source = read(&name)?;
        let doc: Vec<&str> = source
            .lines()
            .map_while(|line| line.strip_prefix("//!"))
            .collect();
        // Three words are a title, not a purpose.
        if doc.join(" ").split_whitespace().count() <= 3 {
            offenders.push(name);
        }
    }
    assert_none(
        "begin with `//!`: purpose, what always holds, what is deliberately absent",
        &offenders,
    );
    Ok(())
}

/// Finds `words` in code lines of the files that `applies` picks.
fn lines_with(words: &[&str], applies: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for name in rust_files()?.into_iter().filter(|name| applies(name)) {
        for (number, line) in read(&name)?.lines().enumerate() {
            if let Some(word) = words.iter().find(|word| line.contains(*word)) {
                found.push(format!("{name}:{}: {word}", number + 1));
            }
        }
    }
    Ok(found)
}

#[test]
fn nothing_is_half_done() -> Result<()> {
    let stubs = [
        "todo!(",
        "unimplemented!(",
        "// TODO",
        "// FIXME",
        "// XXX",
        "// HACK",
        "//TODO",
    ];
    assert_none(
        "finish it, or file it as an issue",
        &lines_with(&stubs, |_| true)?,
    );
    Ok(())
}

#[test]
fn no_test_is_ignored() -> Result<()> {
    assert_none(
        "run it, or remove it",
        &lines_with(&["#[ignore"], |_| true)?,
    );
    Ok(())
}

#[test]
fn no_rpc_answers_unimplemented() -> Result<()> {
    // The client may have to understand the code: an older server may say it.
    let serves = |name: &str| {
        !name.starts_with("services/lib/client/") && !name.starts_with("services/cli/")
    };
    let found = lines_with(
        &[
            "Status::unimplemented(",
            "Status::new(Code::Unimplemented",
            "=> Code::Unimplemented",
        ],
        serves,
    )?;
    assert_none("an RPC exists when it works", &found);
    Ok(())
}

#[test]
fn lints_are_excepted_with_a_reason_and_never_allowed() -> Result<()> {
    let mut offenders = lines_with(&["#[allow(", "#![allow(", ", allow("], |_| true)?;
    for name in rust_files()? {
        let source = read(&name)?;
        for (at, _) in source.match_indices("[expect(") {
            let attribute = source[at..].split(")]").next().unwrap_or_default();
            if !attribute.contains("reason = \"") {
                let line = source[..at].lines().count();
                offenders.push(format!("{name}:{line}: expect without a reason"));
            }
        }
    }
    assert_none("write #[expect(.., reason = \"..\")]", &offenders);
    Ok(())
}

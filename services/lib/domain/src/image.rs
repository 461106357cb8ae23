//! Image references in the grammar of the distribution project's `reference` package, as far as a spec needs it.

/// Why an image reference was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// It does not follow the grammar.
    #[error(
        "{0:?} is not an image reference: write [HOST[:PORT]/]NAME[:TAG][@sha256:HEX] in lower case"
    )]
    Syntax(String),
}

/// Checks an image reference: optional host and port, path, optional tag, optional digest.
///
/// # Errors
/// Says what would be right.
pub fn check(text: &str) -> Result<(), ImageError> {
    let syntax = || ImageError::Syntax(text.chars().take(80).collect());
    if text.is_empty() || text.len() > 512 {
        return Err(syntax());
    }
    let (rest, digest) = text
        .split_once('@')
        .map_or((text, None), |(rest, digest)| (rest, Some(digest)));
    if digest.is_some_and(|digest| !is_digest(digest)) {
        return Err(syntax());
    }
    let slash = rest.rfind('/').map_or(0, |at| at + 1);
    let (path, tag) = rest[slash..].find(':').map_or((rest, None), |at| {
        (&rest[..slash + at], Some(&rest[slash + at + 1..]))
    });
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err(syntax());
    }
    let mut parts: Vec<&str> = path.split('/').collect();
    if parts.len() > 1 && is_host(parts[0]) {
        parts.remove(0);
    }
    if parts.iter().all(|part| is_component(part)) {
        Ok(())
    } else {
        Err(syntax())
    }
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

fn is_tag(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= 128
        && text.starts_with(word)
        && text.chars().all(|c| word(c) || c == '.' || c == '-')
}

/// The first part is a host when it has a dot or a port or is `localhost`, as docker decides it.
fn is_host(text: &str) -> bool {
    let (host, port) = text
        .split_once(':')
        .map_or((text, None), |(host, port)| (host, Some(port)));
    let looks = host.contains('.') || port.is_some() || host == "localhost";
    looks && host.split('.').all(is_label) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// A part of a host name between its dots.
fn is_label(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(word) && text.ends_with(word) && text.chars().all(|c| word(c) || c == '-')
}

/// A part of a path: words with one dot, one or two underscores, or dashes between them.
fn is_component(text: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut between = text.split(word).filter(|separator| !separator.is_empty());
    text.starts_with(word)
        && text.ends_with(word)
        && between.all(|separator| {
            matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn accepts_references_and_refuses_the_rest() {
        let hex = "a".repeat(64);
        for good in [
            "busybox",
            "busybox:1.36",
            "library/nginx",
            "127.0.0.1:5000/a/b:v1",
            "localhost/x",
            "ghcr.io/org/app:1.0",
            "a.b_c__d---e/f:1..2",
            &format!("app@sha256:{hex}"),
            &format!("r:5000/app:1@sha256:{hex}"),
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "UPPER",
            "a b",
            "a:",
            "a@sha256:12",
            "a//b",
            "/a",
            "a/",
            "a:b:c",
            "host:99999/a",
            "a@md5:1",
            "é",
            "-a",
            "../a",
            "a..b",
            "a._b",
            "a___b",
            "x./a",
            "a-.b/c",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}

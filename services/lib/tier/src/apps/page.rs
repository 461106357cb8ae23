//! Pages of lists: sizes, tokens, and an end before a message grows too large.

use data_encoding::BASE64URL_NOPAD;
use edgeio_domain::violation::Violations;
use prost::Message;

use super::AppError;

const DEFAULT_SIZE: u32 = 100;
const MAX_SIZE: u32 = 1000;
/// A page ends here even if it has room: clients read 4 MiB by default.
const MAX_BYTES: usize = 3 * 1024 * 1024;

/// How many items a page holds at most.
pub(crate) fn size(asked: u32, faults: &mut Violations) -> usize {
    if asked > MAX_SIZE {
        faults.add(
            "page_size",
            format!("must be from 1 to {MAX_SIZE}, or 0 for {DEFAULT_SIZE}"),
        );
    }
    let size = if asked == 0 { DEFAULT_SIZE } else { asked };
    usize::try_from(size.min(MAX_SIZE)).unwrap_or(usize::MAX)
}

/// Writes an opaque token. No part holds a newline.
pub(crate) fn seal(parts: &[&str]) -> String {
    BASE64URL_NOPAD.encode(parts.join("\n").as_bytes())
}

/// Reads a token of `N` parts that begins with `tag`.
///
/// # Errors
/// It is no such token; `path` is the field that holds it.
pub(crate) fn unseal<const N: usize>(
    path: &str,
    tag: &str,
    token: &str,
) -> Result<[String; N], AppError> {
    let wrong = || {
        AppError::field(
            path,
            "is no token of this call: pass one on as it was given, or leave it out to begin",
        )
    };
    let bytes = BASE64URL_NOPAD
        .decode(token.as_bytes())
        .map_err(|_| wrong())?;
    let text = String::from_utf8(bytes).map_err(|_| wrong())?;
    let parts: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let parts: [String; N] = parts.try_into().map_err(|_| wrong())?;
    if parts.first().is_some_and(|first| first == tag) {
        Ok(parts)
    } else {
        Err(wrong())
    }
}

/// A page as it fills.
pub(crate) struct Page<T> {
    items: Vec<T>,
    size: usize,
    bytes: usize,
    last: String,
}

impl<T: Message> Page<T> {
    pub(crate) fn new(size: usize) -> Self {
        Self {
            items: Vec::new(),
            size,
            bytes: 0,
            last: String::new(),
        }
    }

    /// Adds an item whose place is `token`; false if it is full, and then another page is needed. The first item
    /// always has room.
    pub(crate) fn push(&mut self, item: T, token: impl FnOnce() -> String) -> bool {
        self.bytes += item.encoded_len();
        if self.items.len() >= self.size || self.bytes > MAX_BYTES && !self.items.is_empty() {
            return false;
        }
        self.items.push(item);
        self.last = token();
        true
    }

    /// The items, and the token when more follow.
    pub(crate) fn more(self) -> (Vec<T>, String) {
        (self.items, self.last)
    }

    /// The items of the last page.
    pub(crate) fn end(self) -> (Vec<T>, String) {
        (self.items, String::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_by_its_own_call_only() {
        let token = seal(&["a", "default", "web"]);
        assert_eq!(unseal::<3>("page_token", "a", &token).unwrap()[2], "web");
        for (tag, text) in [
            ("b", token.as_str()),
            ("a", "???"),
            ("a", "YQ"),
            ("a", "YQpi"),
        ] {
            assert!(
                matches!(
                    unseal::<3>("page_token", tag, text),
                    Err(AppError::Invalid(_))
                ),
                "{text}"
            );
        }
    }

    #[test]
    fn a_page_ends_by_count_and_by_bytes_but_holds_one() {
        let mut page = Page::new(2);
        assert!(page.push("a".to_owned(), || "1".into()));
        assert!(page.push("b".to_owned(), || "2".into()));
        assert!(!page.push("c".to_owned(), || "3".into()));
        assert_eq!(
            page.more(),
            (vec!["a".to_owned(), "b".to_owned()], "2".to_owned())
        );

        let big = "x".repeat(MAX_BYTES + 1);
        let mut page = Page::new(9);
        assert!(page.push(big, || "1".into()));
        assert!(!page.push("small".to_owned(), || "2".into()));
        assert_eq!(page.more().1, "1");
    }
}

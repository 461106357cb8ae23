//! Chance from a seed, and what hostile input is made of: texts, numbers at the edges, and changes of bytes.

use rand::{Rng as _, RngCore as _, SeedableRng as _, rngs::StdRng};

/// Texts that have broken parsers before, here or elsewhere.
const TEXTS: &[&str] = &[
    "",
    " ",
    "*",
    ">",
    ".",
    "..",
    "../../etc/passwd",
    "/",
    "\0",
    "\u{7f}\u{1b}[2J",
    "\r\nx: y",
    "\u{202e}txt.exe",
    "\u{feff}",
    "é\u{301}",
    "\u{1f980}",
    "%s%n%00",
    "${jndi:x}",
    "'; DROP TABLE children; --",
    "null",
    "~",
    "-",
    "--",
    "-1",
    "0",
    "00000000000000000000000000000000000001",
    "170141183460469231731687303715884105727",
    "9223372036854775807",
    "18446744073709551615",
    "1e308",
    "NaN",
    "INFINITY",
    "true",
    "a",
    "default",
    "shop",
    "web",
    "native",
    "docker",
    "never",
    "always",
    "exclusive",
    "available",
    "keep_original",
    "busybox:1.36",
    "500m",
    "64Mi",
    "10s",
    "99999999999999999999h",
    "amd64",
    "tcp",
    "UNKNOWN_ENUM_VALUE",
];

const NUMBERS: &[u64] = &[
    0,
    1,
    2,
    3,
    4,
    7,
    127,
    128,
    255,
    65_535,
    65_536,
    i32::MAX as u64,
    u32::MAX as u64,
    i64::MAX as u64,
    i64::MAX as u64 + 1,
    u64::MAX - 1,
    u64::MAX,
];

/// Chance that repeats: the same seed, the same throws.
#[derive(Debug)]
pub struct Dice(StdRng);

impl Dice {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// A number below `bound`, or 0 when that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 {
            0
        } else {
            self.0.random_range(0..bound)
        }
    }

    /// True in one of so many throws.
    pub fn one_in(&mut self, throws: usize) -> bool {
        self.below(throws) == 0
    }

    /// One of the list; nothing of an empty one.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        list.get(self.below(list.len()))
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number that is small mostly, and at an edge else.
    pub fn number(&mut self) -> u64 {
        match self.below(4) {
            0 | 1 => self.below(4) as u64,
            2 => self.pick(NUMBERS).copied().unwrap_or_default(),
            _ => self.any() >> self.below(64),
        }
    }

    /// Bytes, `most` at most.
    pub fn bytes(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.below(most + 1)];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// One of three ids, so that what belongs together meets.
    pub fn id(&mut self) -> uuid::Uuid {
        uuid::Uuid::from_u128(1 + self.below(3) as u128)
    }

    /// A text.
    pub fn text(&mut self) -> String {
        match self.below(12) {
            0 => self.id().to_string(),
            1 => "x".repeat(self.below(300)),
            2 => "\u{1f980}".repeat(self.below(200)),
            3 if self.one_in(8) => "y".repeat(1 << self.below(17)),
            4 => String::from_utf8_lossy(&self.bytes(24)).into_owned(),
            _ => self.pick(TEXTS).copied().unwrap_or_default().to_owned(),
        }
    }

    /// The bytes after a few changes; `other` is an input of the same kind, for splices.
    pub fn change(&mut self, mut bytes: Vec<u8>, other: &[u8]) -> Vec<u8> {
        for _ in 0..=self.below(5) {
            let at = self.below(bytes.len() + 1);
            match self.below(11) {
                0 => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << self.below(8);
                    }
                }
                1 => {
                    let any = self.any();
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = any.to_le_bytes()[0];
                    }
                }
                2 => bytes.truncate(at),
                3 => drop(bytes.drain(..at)),
                4 => {
                    let end = (at + self.below(16)).min(bytes.len());
                    drop(bytes.drain(at..end));
                }
                5 => {
                    let more = self.bytes(8);
                    bytes.splice(at..at, more);
                }
                6 => {
                    let from = self.below(other.len() + 1);
                    let until = from + self.below(other.len() - from + 1);
                    let part = other.get(from..until).unwrap_or_default();
                    bytes.splice(at..at, part.iter().copied());
                }
                7 => {
                    let end = (at + 1 + self.below(32)).min(bytes.len());
                    let part = bytes.get(at..end).unwrap_or_default().to_vec();
                    let times = 1 + self.below(64);
                    bytes.splice(at..at, part.repeat(times));
                }
                8 => {
                    let text = self.text();
                    bytes.splice(at..at, text.into_bytes());
                }
                // The longest varint, which is also a length that lies.
                9 => {
                    let end = (at + 1).min(bytes.len());
                    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
                    bytes.splice(at..end, huge);
                }
                // No UTF-8: a lone continuation, an overlong form, a surrogate.
                _ => {
                    let bad: &[u8] = match self.below(3) {
                        0 => &[0x80],
                        1 => &[0xc0, 0xaf],
                        _ => &[0xed, 0xa0, 0x80],
                    };
                    bytes.splice(at..at, bad.iter().copied());
                }
            }
            if bytes.len() > super::LONGEST {
                bytes.truncate(super::LONGEST);
            }
        }
        bytes
    }
}

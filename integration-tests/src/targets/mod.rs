//! Every parser that outsiders reach, each as a function from bytes to nothing that must hold its laws whatever the bytes are.
//!
//! One list, [`ALL`], for the seeded runs of `make test` (`tests/parsers.rs`) and for cargo-fuzz (`make fuzz`, `fuzz/`). A law that
//! is broken is a panic of [`Target::run`]. Laws of all: no panic, no overflow, time and memory in proportion to the
//! input. What may be read and has a printed form reads back as the same; nothing outside a grammar gets through.
//! Deliberately absent: sockets and databases, which the live runs (`tests/hostile`) have.

mod dice;
mod files;
mod frames;
mod link;
mod manifest;
pub mod messages;
mod requests;
mod text;
mod tokens;

pub use dice::Dice;

/// Longest input that the runs make and that cargo-fuzz is told to make, in bytes: the bus's largest message and the frames
/// around it. Larger ones are refused by size before they are read.
pub const LONGEST: usize = 66 * 1024;

/// A parser and its laws.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: that of its cargo-fuzz target, and of its folder of inputs that once broke a law.
    pub name: &'static str,
    /// What it must hold beyond the laws of all.
    pub laws: &'static str,
    /// Runs it. Panics when a law is broken.
    pub run: fn(&[u8]),
    /// An input that means something, to begin from.
    pub seed: fn(&mut Dice) -> Vec<u8>,
    /// Inputs of one run of `make test`: so many that each target takes a second or two.
    pub runs: u32,
}

/// Every target.
pub const ALL: &[Target] = &[
    Target {
        name: "manifest",
        laws: "what is read is written as JSON and read as the same; alias bombs and nesting are refused",
        run: manifest::run,
        seed: manifest::seed,
        runs: 1_500,
    },
    Target {
        name: "requests",
        laws: "the message of each RPC decodes to what it encodes, and the handler's checks answer",
        run: requests::run,
        seed: requests::seed,
        runs: 6_000,
    },
    Target {
        name: "json",
        laws: "the JSON form of each RPC's message, as tools send it, reads back as the same message",
        run: requests::run_json,
        seed: requests::seed_json,
        runs: 3_000,
    },
    Target {
        name: "link_up",
        laws: "a parent takes any sequence of a child's messages, and what it answers fits the bus",
        run: link::run_up,
        seed: link::seed_up,
        runs: 1_500,
    },
    Target {
        name: "link_down",
        laws: "a worker takes any sequence of its cluster's messages, and what it says fits the bus",
        run: link::run_down,
        seed: link::seed_down,
        runs: 1_200,
    },
    Target {
        name: "bus",
        laws: "a payload is its subject's worker's own or is refused",
        run: link::run_bus,
        seed: link::seed_bus,
        runs: 2_500,
    },
    Target {
        name: "subject",
        laws: "one spelling; no wildcard, dot or space of anyone's choosing in a built subject",
        run: text::subject,
        seed: text::subject_seed,
        runs: 40_000,
    },
    Target {
        name: "image",
        laws: "no reference has a space, a control character or more than 512 bytes",
        run: text::image,
        seed: text::image_seed,
        runs: 40_000,
    },
    Target {
        name: "quantity",
        laws: "an amount is in its range and reads back from its printed form",
        run: text::quantity,
        seed: text::quantity_seed,
        runs: 40_000,
    },
    Target {
        name: "name",
        laws: "a name is one DNS label of 40 characters at most; any text makes a name",
        run: text::name,
        seed: text::name_seed,
        runs: 40_000,
    },
    Target {
        name: "address",
        laws: "a server's address reads back from its printed form",
        run: text::address,
        seed: text::address_seed,
        runs: 40_000,
    },
    Target {
        name: "credential",
        laws: "nothing but the one credential proves a worker, and only with its own key",
        run: text::credential,
        seed: text::credential_seed,
        runs: 300,
    },
    Target {
        name: "join_token",
        laws: "one spelling; what is read reads back; the secret is not shown",
        run: tokens::join_token,
        seed: tokens::join_token_seed,
        runs: 10_000,
    },
    Target {
        name: "machine_token",
        laws: "only what the named key signed, for this server or for joining, in its time, proves that key",
        run: tokens::machine_token,
        seed: tokens::machine_token_seed,
        runs: 200,
    },
    Target {
        name: "id_token",
        laws: "only what the provider signed, for this service, in its time, makes a user, with the roles of its groups",
        run: tokens::id_token,
        seed: tokens::id_token_seed,
        runs: 200,
    },
    Target {
        name: "ledger",
        laws: "good records are read up to the first bad one; damage is told from a torn write",
        run: files::ledger,
        seed: files::ledger_seed,
        runs: 1_500,
    },
];

/// A target by its name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    ALL.iter().find(|target| target.name == name)
}

/// Runs a target by its name, for cargo-fuzz.
///
/// # Panics
/// A law is broken, or there is no such target.
pub fn run(name: &str, bytes: &[u8]) {
    let target = find(name);
    assert!(target.is_some(), "no target {name}");
    if let Some(target) = target {
        (target.run)(bytes);
    }
}

/// An input of a target: one that means something, changed in up to a few ways or not at all.
#[must_use]
pub fn input(target: &Target, dice: &mut Dice) -> Vec<u8> {
    let first = (target.seed)(dice);
    if dice.one_in(8) {
        return first;
    }
    let other = (target.seed)(dice);
    let mut bytes = dice.change(first, &other);
    bytes.truncate(LONGEST);
    bytes
}

//! Every parser that outsiders reach, fed from a seed: see `src/targets`, whose laws hold for any input.
//!
//! `EDGEIO_PARSERS_SEED` takes another seed than the one that stands here, `EDGEIO_PARSERS_TIMES` multiplies the inputs,
//! `EDGEIO_PARSERS_TARGET` takes one target. An input that breaks a law is kept in `tests/seeds/parsers/TARGET/` and run
//! for ever from then on; `make fuzz` searches on from there.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use edgeio_integration_tests::targets::{ALL, Dice, LONGEST, Target, find, input};
use sha2::{Digest as _, Sha256};

const SEED: u64 = 20_261_124;

/// No input takes longer. An honest one takes a millisecond; only a machine that stands still or a parser that is quadratic in
/// something takes seconds.
const SLOW: Duration = Duration::from_secs(20);

/// So much may the largest memory of this process rise by all targets together. The inputs themselves are 66 KiB at most.
const MEMORY: u64 = 256 << 20;

fn setting(name: &str) -> Result<Option<u64>> {
    let value = std::env::var(name).ok();
    let parse = |text: String| text.parse().with_context(|| format!("{name}={text}"));
    value.map(parse).transpose()
}

fn kept(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/seeds/parsers")
        .join(target.name)
}

/// Runs one input. One that breaks a law is kept, so that it is never lost.
fn one(target: &Target, bytes: &[u8], whence: &str) -> Result<()> {
    let from = Instant::now();
    let held = catch_unwind(AssertUnwindSafe(|| (target.run)(bytes)));
    let took = from.elapsed();
    if held.is_ok() && took < SLOW {
        return Ok(());
    }
    let name = hex::encode(Sha256::digest(bytes)).split_off(48);
    let dir = kept(target);
    fs::create_dir_all(&dir).context("make a folder for the input")?;
    let file = dir.join(name);
    fs::write(&file, bytes).context("keep the input")?;
    bail!(
        "target {} broke a law ({}) after {took:?} with an input {whence}; it is kept as {}",
        target.name,
        target.laws,
        file.display()
    );
}

/// The largest resident memory of this process so far, in bytes.
fn peak() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.context("no VmHWM")?.parse::<u64>()? * 1024)
}

#[test]
fn parsers_hold_their_laws_for_seeded_inputs() -> Result<()> {
    let seed = setting("EDGEIO_PARSERS_SEED")?.unwrap_or(SEED);
    let times = setting("EDGEIO_PARSERS_TIMES")?.unwrap_or(1);
    let only = std::env::var("EDGEIO_PARSERS_TARGET").ok();
    if let Some(name) = &only {
        ensure!(find(name).is_some(), "no target `{name}`");
    }
    let before = peak()?;
    for target in ALL
        .iter()
        .filter(|target| only.as_deref().is_none_or(|name| name == target.name))
    {
        let from = Instant::now();
        let mut dice = Dice::new(seed);
        let runs = u64::from(target.runs) * times;
        let mut bytes = 0;
        for number in 0..runs {
            let input = input(target, &mut dice);
            bytes += input.len();
            one(target, &input, &format!("{number} of seed {seed}"))?;
        }
        println!(
            "{:>10}: {runs} inputs, {} KiB, {:.1} s (seed {seed})",
            target.name,
            bytes / 1024,
            from.elapsed().as_secs_f64()
        );
        let risen = peak()?.saturating_sub(before);
        ensure!(risen < MEMORY, "{} has taken {risen} bytes", target.name);
    }
    Ok(())
}

#[test]
fn inputs_that_broke_a_law_hold() -> Result<()> {
    let mut count = 0;
    for target in ALL {
        let Ok(files) = fs::read_dir(kept(target)) else {
            continue;
        };
        for file in files {
            let path = file?.path();
            let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
            one(target, &bytes, &format!("of {}", path.display()))?;
            count += 1;
        }
    }
    ensure!(count > 0, "no input was ever kept: the folder is lost");
    Ok(())
}

/// Runs of bytes that no generator of ours makes: all of one byte, and the longest that is allowed.
#[test]
fn parsers_take_any_length() -> Result<()> {
    for target in ALL {
        for byte in [0, b' ', b'9', b'[', b'{', b'-', b'.', 0x80, 0xff] {
            for length in [0, 1, 2, 1000, LONGEST] {
                one(target, &vec![byte; length], "of one byte, repeated")?;
            }
        }
    }
    Ok(())
}

#[test]
fn the_same_seed_makes_the_same_inputs() {
    for target in ALL {
        let all = |seed| -> Vec<Vec<u8>> {
            let mut dice = Dice::new(seed);
            (0..20).map(|_| input(target, &mut dice)).collect()
        };
        assert_eq!(all(1), all(1), "{}", target.name);
        assert_ne!(all(1), all(2), "{}", target.name);
    }
}

/// cargo-fuzz has a program for each target: the list cannot be read at build time there.
#[test]
fn each_target_has_its_program_for_the_fuzzer() -> Result<()> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).context("read fuzz/Cargo.toml")?;
    for target in ALL {
        let name = target.name;
        ensure!(
            manifest.contains(&format!(
                "name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\""
            )),
            "fuzz/Cargo.toml has no program for {name}"
        );
        let program = fs::read_to_string(fuzz.join(format!("fuzz_targets/{name}.rs")));
        let program = program.with_context(|| format!("read the program of {name}"))?;
        ensure!(
            program.contains(&format!("targets::run(\"{name}\", bytes)")),
            "the program of {name} runs something else"
        );
    }
    Ok(())
}

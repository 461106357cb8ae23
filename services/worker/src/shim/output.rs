//! A job's output on disk: bounded, with stream and time of every line.
//!
//! The format is that of the Kubernetes container runtime interface, one line `<RFC 3339 time> <stdout|stderr> <F|P> <text>`, `P` marking a
//! piece whose line goes on: one reader then serves every runtime. Two files of at most `cap` bytes each, `output.log` and the older
//! `output.log.1`. Output that the disk has no room for is dropped, since blocking the job would be worse.

use std::{
    fs,
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use chrono::{DateTime, SecondsFormat, Utc};

/// Which of the two a line came on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Appends output and keeps it bounded.
pub struct Log {
    path: PathBuf,
    file: fs::File,
    size: u64,
    cap: u64,
}

impl Log {
    /// Opens or makes the log; earlier runs' output stays.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path, cap: u64) -> io::Result<Self> {
        let file = append(path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            size,
            cap,
        })
    }

    /// Appends one chunk as it was read from the job.
    ///
    /// # Errors
    /// The disk is full or gone; the chunk is lost.
    pub fn write(&mut self, stream: Stream, chunk: &[u8], at: SystemTime) -> io::Result<()> {
        let head = format!("{} {} ", rfc3339(at), stream.as_str());
        let mut text = Vec::with_capacity(chunk.len() + 64);
        for line in chunk.split_inclusive(|b| *b == b'\n') {
            let (tag, line) = match line.strip_suffix(b"\n") {
                Some(line) => ("F ", line),
                None => ("P ", line),
            };
            for part in [head.as_bytes(), tag.as_bytes(), line, b"\n"] {
                text.extend_from_slice(part);
            }
        }
        let more = u64::try_from(text.len()).unwrap_or(u64::MAX);
        if self.size > 0 && self.size.saturating_add(more) > self.cap {
            fs::rename(&self.path, older(&self.path))?;
            self.file = append(&self.path)?;
            self.size = 0;
        }
        self.file.write_all(&text)?;
        self.size += more;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

/// The last `max_bytes` of what the job wrote, both streams in order of arrival.
///
/// # Errors
/// The files cannot be read; missing ones are empty.
pub fn tail(path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
    // A line of no text costs 40 bytes on disk and one in the answer: more than this never has to be read.
    let window = u64::try_from(max_bytes)
        .unwrap_or(u64::MAX)
        .saturating_mul(48)
        .saturating_add(4096);
    let newest = last_bytes(path, window)?;
    let mut text = Vec::new();
    if strip(&newest).len() < max_bytes {
        text = last_bytes(&older(path), window)?;
    }
    text.extend_from_slice(&newest);
    let plain = strip(&text);
    let from = plain.len().saturating_sub(max_bytes);
    Ok(plain.get(from..).unwrap_or_default().to_vec())
}

/// The last `window` bytes, from the beginning of a line.
fn last_bytes(path: &Path, window: u64) -> io::Result<Vec<u8>> {
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let from = file.metadata()?.len().saturating_sub(window);
    file.seek(SeekFrom::Start(from))?;
    let mut text = Vec::new();
    file.take(window).read_to_end(&mut text)?;
    if from > 0 {
        let first = text
            .iter()
            .position(|b| *b == b'\n')
            .map_or(text.len(), |at| at + 1);
        text.drain(..first);
    }
    Ok(text)
}

/// The job's own bytes. Lines of another form are left out: a power cut may tear one.
fn strip(log: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(log.len());
    for line in log.split(|b| *b == b'\n') {
        let mut fields = line.splitn(4, |b| *b == b' ');
        let (Some(_), Some(_)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (Some(tag), Some(text)) = (fields.next(), fields.next()) else {
            continue;
        };
        plain.extend_from_slice(text);
        if tag == b"F" {
            plain.push(b'\n');
        }
    }
    plain
}

/// `2026-01-31T23:59:59.000000001Z`.
fn rfc3339(at: SystemTime) -> String {
    DateTime::<Utc>::from(at).to_rfc3339_opts(SecondsFormat::Nanos, true)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn the_tail_is_the_jobs_own_bytes_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("output.log");
        let mut log = Log::open(&path, 1 << 20).unwrap();
        log.write(Stream::Stdout, b"one\ntw", at(1)).unwrap();
        log.write(Stream::Stdout, b"o\n", at(2)).unwrap();
        log.write(Stream::Stderr, b"\nthree", at(3)).unwrap();
        assert_eq!(tail(&path, 100).unwrap(), b"one\ntwo\n\nthree");
        assert_eq!(tail(&path, 6).unwrap(), b"\nthree");
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("1970-01-01T00:00:01.000000000Z stdout F one\n"),
            "{text}"
        );
        assert_eq!(tail(&dir.path().join("none.log"), 10).unwrap(), b"");
    }

    #[test]
    fn the_log_stays_bounded_and_the_tail_crosses_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("output.log");
        let mut log = Log::open(&path, 4096).unwrap();
        for n in 0..1000 {
            log.write(Stream::Stdout, format!("line {n}\n").as_bytes(), at(n))
                .unwrap();
        }
        let size = |p: &Path| fs::metadata(p).unwrap().len();
        assert!(size(&path) <= 4096 && size(&older(&path)) <= 4096);
        let text = String::from_utf8(tail(&path, 1000).unwrap()).unwrap();
        assert!(text.ends_with("line 998\nline 999\n"), "{text}");
        assert!(
            text.contains("line 960\n"),
            "the older file is read too: {text}"
        );
        // Opening again goes on where it was.
        drop(log);
        let mut log = Log::open(&path, 4096).unwrap();
        log.write(Stream::Stdout, b"more\n", at(0)).unwrap();
        assert!(tail(&path, 100).unwrap().ends_with(b"line 999\nmore\n"));
    }

    #[test]
    fn many_empty_lines_fill_the_tail() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("output.log");
        let mut log = Log::open(&path, 1 << 20).unwrap();
        log.write(Stream::Stdout, &[b'\n'; 5000], at(0)).unwrap();
        assert_eq!(tail(&path, 4096).unwrap().len(), 4096);
    }
}

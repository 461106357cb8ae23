//! What jobs say of themselves: each native job writes a line when it begins and one when it is asked to end, into one file of
//! its bed. The order of the lines is the order of the events, whatever edgeIO believes: so two runs of one replica at a time,
//! a start that nobody asked for and a job that vanished are proven by the jobs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use anyhow::{Context, Result};
use edgeio_proto::api::v1::ServiceSpec;

use super::{Bed, manifest::script};

/// The variable that tells one version of a service from the next.
const WORD: &str = "WORD";
/// The shell that runs a job; its other processes are its children.
const SHELL: &str = "/bin/sh -c trap";

/// A job's line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// `start` or `stop`.
    pub event: String,
    /// Which replica.
    pub replica: Replica,
    /// The instance.
    pub instance: String,
    /// The job's process.
    pub pid: u32,
    /// The version of the service.
    pub word: String,
    /// When, in seconds of CLOCK_BOOTTIME, by hundredths.
    pub boot: String,
}

/// A replica: application, service, ordinal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Replica {
    /// Its application.
    pub application: String,
    /// Its service.
    pub service: String,
    /// Its number.
    pub ordinal: String,
}

/// The diary of a bed's jobs.
#[derive(Debug, Clone)]
pub struct Diary {
    path: PathBuf,
}

/// What a diary says in sum.
#[derive(Debug, Default)]
pub struct Account {
    /// Runs that began.
    pub starts: usize,
    /// Those that have not ended, by replica.
    pub open: BTreeMap<Replica, Vec<Line>>,
    /// Instances that ever began.
    pub instances: BTreeSet<String>,
    /// What must not be: two runs of a replica at a time, an instance that began again, an end without a beginning.
    pub faults: Vec<String>,
}

impl Diary {
    /// Of a bed.
    #[must_use]
    pub fn of(bed: &Bed) -> Self {
        Self {
            path: bed.dir().join("diary"),
        }
    }

    /// A native job that keeps the diary and only stays. Jobs with another word are another version of the service.
    #[must_use]
    pub fn keeper(&self, bed: &Bed, name: &str, replicas: u32, word: &str) -> ServiceSpec {
        let who = "$EDGEIO_APPLICATION $EDGEIO_SERVICE $EDGEIO_ORDINAL $EDGEIO_INSTANCE $$ $WORD";
        let diary = self.path.display();
        // The shell appends each line by one write, so lines never mix. A request to end may come at any moment, also before the
        // first line: it is noted, and acted on when that is written.
        let text = format!(
            "trap 'ended=1; kill $! 2>/dev/null' TERM\n\
             read up rest </proc/uptime; echo \"start {who} $up\" >>{diary}\n\
             sleep 100000 & [ -n \"$ended\" ] || wait\n\
             kill $! 2>/dev/null; [ -n \"$ended\" ] || exit 1\n\
             read up rest </proc/uptime; echo \"stop {who} $up\" >>{diary}"
        );
        let mut service = bed.mark(script(name, replicas, &text));
        service.env.insert(WORD.to_owned(), word.to_owned());
        service
    }

    /// All lines so far.
    ///
    /// # Errors
    /// The file cannot be read, or holds what no job wrote.
    pub fn lines(&self) -> Result<Vec<Line>> {
        let text = match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.context("read the diary")?,
        };
        // A line that is being written has no end yet.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(line).collect()
    }

    /// What the lines say in sum.
    ///
    /// # Errors
    /// See [`Diary::lines`].
    pub fn account(&self) -> Result<Account> {
        Ok(account(self.lines()?))
    }
}

/// The processes of a bed that keep its diary, of all that carry its mark.
#[must_use]
pub fn keepers(bed: &Bed) -> BTreeSet<super::native::Process> {
    let jobs = bed.jobs().into_iter();
    jobs.filter(|job| job.command.starts_with(SHELL)).collect()
}

fn line(text: &str) -> Result<Line> {
    let words: Vec<&str> = text.split(' ').collect();
    let [
        event,
        application,
        service,
        ordinal,
        instance,
        pid,
        word,
        boot,
    ] = words[..]
    else {
        anyhow::bail!("no line of a diary: {text:?}");
    };
    Ok(Line {
        event: event.to_owned(),
        replica: Replica {
            application: application.to_owned(),
            service: service.to_owned(),
            ordinal: ordinal.to_owned(),
        },
        instance: instance.to_owned(),
        pid: pid.parse().context("read a process number in the diary")?,
        word: word.to_owned(),
        boot: boot.to_owned(),
    })
}

fn account(lines: Vec<Line>) -> Account {
    let mut all = Account::default();
    for line in lines {
        let open = all.open.entry(line.replica.clone()).or_default();
        if line.event == "start" {
            all.starts += 1;
            if let Some(other) = open.first() {
                all.faults
                    .push(format!("two at a time: {other:?} and {line:?}"));
            }
            if !all.instances.insert(line.instance.clone()) {
                all.faults.push(format!("began again: {line:?}"));
            }
            open.push(line);
            continue;
        }
        let before = open.len();
        open.retain(|run| (run.pid, &run.instance) != (line.pid, &line.instance));
        if open.len() + 1 != before {
            all.faults
                .push(format!("an end without its beginning: {line:?}"));
        }
    }
    all.open.retain(|_, runs| !runs.is_empty());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Account {
        account(text.lines().map(|text| line(text).unwrap()).collect())
    }

    #[test]
    fn one_after_the_other_is_well() {
        let all = told("start a s 0 i1 7 w 1.0\nstop a s 0 i1 7 w 2.0\nstart a s 0 i2 8 w 2.0");
        assert!(all.faults.is_empty(), "{:?}", all.faults);
        assert_eq!((all.starts, all.open.len()), (2, 1));
    }

    #[test]
    fn faults_are_seen() {
        for (text, fault) in [
            (
                "start a s 0 i1 7 w 1.0\nstart a s 0 i2 8 w 1.0",
                "two at a time",
            ),
            (
                "start a s 0 i1 7 w 1.0\nstop a s 0 i1 7 w 1.0\nstart a s 0 i1 8 w 1.0",
                "began again",
            ),
            ("stop a s 0 i1 7 w 1.0", "an end without"),
        ] {
            let all = told(text);
            assert_eq!(all.faults.len(), 1, "{text}: {:?}", all.faults);
            assert!(all.faults[0].contains(fault), "{:?}", all.faults);
        }
    }
}

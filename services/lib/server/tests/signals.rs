//! Signals against a real process: this program runs itself as the child that is signalled.
//!
//! Without the test harness, because the child's `main` must be its own.

#![expect(clippy::unwrap_used, reason = "a test program: a panic is its report")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use edgeio_server::shutdown::{Shutdown, Signals};
use rustix::process::{Pid, Signal, kill_process};

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("child-graceful") => child(true),
        Some("child-stubborn") => child(false),
        _ => {
            first_signal_stops_gracefully();
            second_signal_ends_at_once();
        }
    }
}

/// Serves until a stop is asked for; a stubborn one never ends by itself.
fn child(graceful: bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (trigger, stop) = Shutdown::new();
        tokio::spawn(Signals::install().unwrap().drive(trigger));
        say("ready");
        stop.wait().await;
        say("stopping");
        if !graceful {
            std::future::pending::<()>().await;
        }
    });
}

fn say(word: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{word}").unwrap();
    out.flush().unwrap();
}

struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    fn start(mode: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(mode)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut running = Self { child, lines };
        running.hear("ready");
        running
    }

    fn hear(&mut self, word: &str) {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), word);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn end(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

fn first_signal_stops_gracefully() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut child = Running::start("child-graceful");
        child.signal(signal);
        child.hear("stopping");
        assert!(child.end().success(), "{signal:?}");
    }
}

fn second_signal_ends_at_once() {
    for (first, second, code) in [
        (Signal::TERM, Signal::TERM, 143),
        (Signal::TERM, Signal::INT, 130),
    ] {
        let mut child = Running::start("child-stubborn");
        child.signal(first);
        child.hear("stopping");
        child.signal(second);
        assert_eq!(child.end().code(), Some(code), "{first:?} then {second:?}");
    }
}

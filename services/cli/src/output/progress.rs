//! Live progress: a block that is redrawn on a terminal, one line per change elsewhere.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use super::{Out, text::clean};

/// Used when a terminal does not tell its width.
const DEFAULT_WIDTH: usize = 80;

/// One thing that makes progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// What it is; rows are drawn in this order.
    pub(crate) key: String,
    /// Where it stands: a change of it is worth a line of its own.
    pub(crate) stage: String,
    /// More, that may change often, such as the percentage of a pull.
    pub(crate) detail: String,
}

/// Progress of several things.
pub(crate) struct Progress {
    out: Out,
    drawn: usize,
    stages: BTreeMap<String, String>,
}

impl Progress {
    pub(crate) fn new(out: Out) -> Self {
        Self {
            out,
            drawn: 0,
            stages: BTreeMap::new(),
        }
    }

    /// Shows where all things stand now.
    pub(crate) fn show(&mut self, rows: &[Row]) {
        let text = if self.out.notes_on_terminal {
            let (width, height) = terminal_size::terminal_size()
                .map_or((DEFAULT_WIDTH, usize::MAX), |(w, h)| {
                    (w.0.into(), h.0.into())
                });
            self.redraw(rows, width, height)
        } else {
            self.changes(rows)
        };
        // A person who does not see progress loses nothing else.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    /// Says something between two drawings.
    pub(crate) fn note(&mut self, text: &str) {
        self.drawn = 0;
        self.out.note(text);
    }

    fn redraw(&mut self, rows: &[Row], width: usize, height: usize) -> String {
        let mut text = match self.drawn {
            0 => String::new(),
            lines => format!("\u{1b}[{lines}A\u{1b}[J"),
        };
        let key_width = rows
            .iter()
            .map(|row| row.key.chars().count())
            .max()
            .unwrap_or(0);
        // A block taller than the screen cannot be redrawn: the rest is counted.
        let fits = height.saturating_sub(2).max(1);
        for row in rows.iter().take(fits) {
            let line = clean(&format!(
                "{:<key_width$}  {}  {}",
                row.key, row.stage, row.detail
            ));
            text.extend(line.trim_end().chars().take(width.saturating_sub(1)));
            text.push('\n');
        }
        self.drawn = rows.len().min(fits);
        if rows.len() > fits {
            text += &format!("and {} more\n", rows.len() - fits);
            self.drawn += 1;
        }
        text
    }

    fn changes(&mut self, rows: &[Row]) -> String {
        let mut text = String::new();
        for row in rows {
            if self.stages.get(&row.key) == Some(&row.stage) {
                continue;
            }
            self.stages.insert(row.key.clone(), row.stage.clone());
            let line = clean(&format!("{}  {}  {}", row.key, row.stage, row.detail));
            text += &format!("{}\n", line.trim_end());
        }
        let gone: Vec<String> = self
            .stages
            .keys()
            .filter(|key| !rows.iter().any(|row| row.key == **key))
            .cloned()
            .collect();
        for key in gone {
            self.stages.remove(&key);
            text += &format!("{}  gone\n", clean(&key));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, stage: &str, detail: &str) -> Row {
        Row {
            key: key.into(),
            stage: stage.into(),
            detail: detail.into(),
        }
    }

    #[test]
    fn without_a_terminal_each_change_is_one_line() {
        let mut progress = Progress::new(Out {
            notes_on_terminal: false,
        });
        assert_eq!(
            progress.changes(&[row("a/0", "Preparing", "10 %")]),
            "a/0  Preparing  10 %\n"
        );
        assert_eq!(progress.changes(&[row("a/0", "Preparing", "20 %")]), "");
        assert_eq!(
            progress.changes(&[row("a/0", "Running", "")]),
            "a/0  Running\n"
        );
        assert_eq!(progress.changes(&[]), "a/0  gone\n");
    }

    #[test]
    fn on_a_terminal_the_block_is_redrawn_within_its_size() {
        let mut progress = Progress::new(Out {
            notes_on_terminal: true,
        });
        let rows = [
            row("a", "Preparing", "\u{1b}[2Jlong long"),
            row("bb", "Running", ""),
        ];
        assert_eq!(
            progress.redraw(&rows, 18, 50),
            "a   Preparing  lo\nbb  Running\n"
        );
        assert_eq!(
            progress.redraw(&rows[..1], 80, 50),
            "\u{1b}[2A\u{1b}[Ja  Preparing  long long\n"
        );
        let many: Vec<Row> = (0..9).map(|i| row(&i.to_string(), "Running", "")).collect();
        assert!(
            progress
                .redraw(&many, 80, 5)
                .ends_with("2  Running\nand 6 more\n")
        );
        assert!(progress.redraw(&many, 80, 5).starts_with("\u{1b}[4A"));
    }
}

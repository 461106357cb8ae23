//! Rows, and the three forms in which they leave: a table for people, a JSON line each, Markdown for the README.

use std::{
    fs,
    io::{self, Write},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{
    machine::Machine,
    options::Options,
    stats::{Comparison, Series},
};

/// One measured thing.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    bench: &'static str,
    variant: String,
    unit: &'static str,
    n: usize,
    p50: f64,
    p90: f64,
    p99: f64,
    floor_p50: Option<f64>,
    compared: Option<Comparison>,
    goal: Option<(&'static str, String, bool)>,
}

impl Row {
    /// A row of `bench`; `unit` is that of the samples.
    pub(crate) fn new(
        bench: &'static str,
        variant: impl Into<String>,
        unit: &'static str,
        series: &Series,
    ) -> Self {
        Self {
            bench,
            variant: variant.into(),
            unit,
            n: series.n(),
            p50: series.p50(),
            p90: series.quantile(0.9),
            p99: series.quantile(0.99),
            floor_p50: None,
            compared: None,
            goal: None,
        }
    }

    /// Sets it beside its floor.
    pub(crate) fn over(mut self, compared: Comparison, floor: &Series) -> Self {
        self.floor_p50 = Some(floor.p50());
        self.compared = Some(compared);
        self
    }

    /// Judges it by a goal; `words` say what was to be reached and what was.
    pub(crate) fn goal(mut self, id: &'static str, words: impl Into<String>, met: bool) -> Self {
        self.goal = Some((id, words.into(), met));
        self
    }

    fn cells(&self) -> Vec<String> {
        let compared = |pick: fn(&Comparison) -> String| self.compared.as_ref().map(pick);
        vec![
            self.variant.clone(),
            format!("{} {}", figure(self.p50), self.unit),
            figure(self.p90),
            figure(self.p99),
            self.floor_p50.map(figure).unwrap_or_default(),
            compared(|c| {
                format!(
                    "{} ({}..{})",
                    figure(c.over.value),
                    figure(c.over.low),
                    figure(c.over.high)
                )
            })
            .unwrap_or_default(),
            compared(|c| format!("{:.2}", c.ratio.value)).unwrap_or_default(),
            self.n.to_string(),
        ]
    }
}

const HEADS: [&str; 8] = [
    "",
    "median",
    "p90",
    "p99",
    "floor",
    "over the floor (95 %)",
    "ratio",
    "n",
];

/// Three digits that matter.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        x if !x.is_finite() => "-".to_owned(),
        x if x >= 100.0 => format!("{value:.0}"),
        x if x >= 10.0 => format!("{value:.1}"),
        x if x >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// What a run found.
pub(crate) struct Report {
    pub(crate) machine: Machine,
    json: Option<fs::File>,
    markdown: String,
    missed: Vec<String>,
}

impl Report {
    /// Opens the files that were asked for.
    pub(crate) fn new(options: &Options, machine: Machine) -> Result<Self> {
        let open = |path: &std::path::PathBuf| {
            let file = fs::File::options().create(true).append(true).open(path);
            file.with_context(|| format!("open {}", path.display()))
        };
        let json = options.json.as_ref().map(open).transpose()?;
        let report = Self {
            machine,
            json,
            markdown: String::new(),
            missed: Vec::new(),
        };
        say(&report.heading())?;
        Ok(report)
    }

    fn heading(&self) -> String {
        let versions: Vec<String> = self
            .machine
            .versions
            .iter()
            .map(|(program, version)| format!("{program} {version}"))
            .collect();
        format!(
            "Linux {}, {} cores, durable 4 KiB write {} µs, {}",
            self.machine.kernel,
            self.machine.cores,
            figure(self.machine.fdatasync_us),
            versions.join(", "),
        )
    }

    /// Says what is going on, on standard error: standard output is for results.
    pub(crate) fn note(&self, words: &str) -> Result<()> {
        writeln!(io::stderr().lock(), "{words}").context("write to standard error")
    }

    /// Prints rows under a title and keeps them.
    pub(crate) fn rows(&mut self, title: &str, rows: &[Row]) -> Result<()> {
        let cells: Vec<Vec<String>> = rows.iter().map(Row::cells).collect();
        self.table(title, &HEADS, &cells)?;
        for row in rows {
            if let Some((goal, words, met)) = &row.goal {
                self.judge(goal, &format!("{}: {words}", row.variant), *met)?;
            }
            self.json(&self.json_of(row))?;
        }
        Ok(())
    }

    /// Says whether a goal was met, and keeps it for the end.
    pub(crate) fn judge(&mut self, goal: &str, words: &str, met: bool) -> Result<()> {
        let verdict = if met { "met" } else { "MISSED" };
        let line = format!("goal {goal} {verdict}: {words}");
        say(&line)?;
        if !met {
            self.missed.push(line);
        }
        Ok(())
    }

    /// Prints a table of another shape, and keeps it for the README.
    pub(crate) fn table(
        &mut self,
        title: &str,
        heads: &[&str],
        cells: &[Vec<String>],
    ) -> Result<()> {
        let width = |column: usize| {
            let all = cells.iter().filter_map(|row| row.get(column));
            let widest = all.map(|cell| cell.chars().count()).max().unwrap_or(0);
            widest.max(heads.get(column).map_or(0, |head| head.chars().count()))
        };
        let widths: Vec<usize> = (0..heads.len()).map(width).collect();
        let line = |row: Vec<&str>| {
            let padded = row.iter().zip(&widths).enumerate();
            let cells: Vec<String> = padded
                .map(|(column, (cell, width))| {
                    let gap = " ".repeat(width.saturating_sub(cell.chars().count()));
                    if column == 0 {
                        format!("{cell}{gap}")
                    } else {
                        format!("{gap}{cell}")
                    }
                })
                .collect();
            cells.join("  ").trim_end().to_owned()
        };
        say(&format!("\n{title}"))?;
        say(&line(heads.to_vec()))?;
        for row in cells {
            say(&line(row.iter().map(String::as_str).collect()))?;
        }
        let pipe = |row: Vec<&str>| format!("| {} |\n", row.join(" | "));
        self.markdown.push_str(&format!("\n**{title}**\n\n"));
        self.markdown.push_str(&pipe(heads.to_vec()));
        self.markdown.push_str(&format!(
            "|---|{}\n",
            "---:|".repeat(heads.len().saturating_sub(1))
        ));
        for row in cells {
            self.markdown
                .push_str(&pipe(row.iter().map(String::as_str).collect()));
        }
        Ok(())
    }

    /// Writes one JSON line.
    pub(crate) fn json(&mut self, value: &Value) -> Result<()> {
        match &mut self.json {
            Some(file) => writeln!(file, "{value}").context("write the JSON lines"),
            None => Ok(()),
        }
    }

    fn json_of(&self, row: &Row) -> Value {
        let interval = |i: crate::stats::Interval| json!([i.low, i.high]);
        json!({
            "bench": row.bench,
            "goal": row.goal.as_ref().map(|goal| goal.0),
            "met": row.goal.as_ref().map(|goal| goal.2),
            "variant": row.variant,
            "unit": row.unit,
            "n": row.n,
            "p50": row.p50,
            "p90": row.p90,
            "p99": row.p99,
            "floor_p50": row.floor_p50,
            "over": row.compared.map(|c| c.over.value),
            "over_ci95": row.compared.map(|c| interval(c.over)),
            "ratio": row.compared.map(|c| c.ratio.value),
            "ratio_ci95": row.compared.map(|c| interval(c.ratio)),
            "busy_before": self.machine.busy,
            "fdatasync_us": self.machine.fdatasync_us,
            "kernel": self.machine.kernel,
            "cores": self.machine.cores,
            "versions": self.machine.versions.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        })
    }

    /// Says how trustworthy the run was, writes the Markdown, and fails with `--gate` when a goal was missed.
    pub(crate) fn finish(self, options: &Options) -> Result<()> {
        let heading = self.heading();
        let busy = format!(
            "{} rounds; other programs used at most {:.0} % of the machine before a round",
            options.rounds,
            self.machine.busy * 100.0
        );
        say(&format!("\n{busy}"))?;
        let path = options.markdown();
        let text = format!("Measured on {heading}; {busy}.\n{}", self.markdown);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        say(&format!("the same for the README: {}", path.display()))?;
        if options.gate && !self.missed.is_empty() {
            bail!("goals were missed:\n{}", self.missed.join("\n"));
        }
        Ok(())
    }
}

fn say(words: &str) -> Result<()> {
    writeln!(io::stdout().lock(), "{words}").context("write to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_three_digits() {
        for (value, text) in [
            (0.0312, "0.031"),
            (1.234, "1.23"),
            (46.04, "46.0"),
            (258.4, "258"),
        ] {
            assert_eq!(figure(value), text);
        }
        assert_eq!(figure(f64::NAN), "-");
    }
}

//! Columns and label lines for people; every cell is cleaned here, so that no caller can forget it.

use super::text::clean;

/// Rows under headings; the last column may be long. Cells are cleaned here.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| clean(cell)).collect())
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        widest.max(headings.get(column).map_or(0, |heading| heading.len()))
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut text = line(headings.iter().copied(), &widths);
    for row in &rows {
        text += &line(row.iter().map(String::as_str), &widths);
    }
    text
}

fn line<'a>(cells: impl Iterator<Item = &'a str>, widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.zip(widths) {
        line += &format!("{cell:<width$}  ");
    }
    format!("{}\n", line.trim_end())
}

/// `Label  value` lines; those without a value are left out.
pub(crate) fn pairs(pairs: &[(&str, String)]) -> String {
    let pairs: Vec<_> = pairs
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let width = pairs
        .iter()
        .map(|(label, _)| label.len())
        .max()
        .unwrap_or(0);
    pairs
        .iter()
        .map(|(label, value)| format!("{label:<width$}  {}\n", clean(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_are_clean() {
        let rows = [
            vec!["a".into(), "\u{1b}[1mlong one\u{1b}[0m".into()],
            vec!["bbbb".into(), "x".into()],
        ];
        assert_eq!(
            table(&["N", "TEXT"], &rows),
            "N     TEXT\na     long one\nbbbb  x\n"
        );
    }
}

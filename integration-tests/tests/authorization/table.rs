//! The form of the tables: a line of callers, then a line for each RPC: its path, the request as JSON, `|`, a cell for each caller.

use std::collections::BTreeMap;

pub(crate) struct Row {
    pub(crate) request: String,
    pub(crate) cells: Vec<String>,
}

pub(crate) struct Table {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: BTreeMap<String, Row>,
}

impl Table {
    pub(crate) fn parse(text: &str) -> Self {
        let mut columns = Vec::new();
        let mut rows = BTreeMap::new();
        let lines = text.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
            if let Some(names) = line.strip_prefix("callers:") {
                columns = words(names);
                continue;
            }
            let (left, right) = line.rsplit_once('|').expect("a row has a `|`");
            let (path, request) = left.trim().split_once(' ').expect("a row has a request");
            let cells: Vec<String> = words(right);
            assert_eq!(
                cells.len(),
                columns.len(),
                "{path} has not one cell for each caller"
            );
            let row = Row {
                request: request.trim().to_owned(),
                cells,
            };
            let twice = rows.insert(path.to_owned(), row);
            assert!(twice.is_none(), "{path} has two rows");
        }
        Self { columns, rows }
    }
}

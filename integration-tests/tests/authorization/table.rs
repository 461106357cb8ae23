//! The form of the tables: a line of callers, then a line for each RPC: its path, the request as JSON, `|`, a cell for each caller.

pub(crate) struct Row {
    pub(crate) request: String,
    pub(crate) cells: Vec<String>,
}

pub(crate) struct Table {
    pub(crate) columns: Vec<String>,
    /// In the order in which they are written, which is that of the calls.
    pub(crate) rows: Vec<(String, Row)>,
}

impl Table {
    pub(crate) fn parse(text: &str) -> Self {
        let mut columns = Vec::new();
        let mut rows: Vec<(String, Row)> = Vec::new();
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
            let twice = rows.iter().any(|(known, _)| known == path);
            assert!(!twice, "{path} has two rows");
            rows.push((path.to_owned(), row));
        }
        Self { columns, rows }
    }
}

//! Tables of text, and numbers as people read them.

/// Columns of text, each as wide as its widest cell.
pub(super) struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

/// The edge of a column that its cells keep to.
#[derive(Clone, Copy)]
pub(super) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

impl Table {
    /// A table under these headings.
    pub fn new(columns: &[(&str, Align)]) -> Table {
        let columns = columns.iter().map(|&(heading, align)| (heading.to_owned(), align));
        Table { columns: columns.collect(), rows: Vec::new() }
    }

    /// Adds a row: one cell per column.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        let mut row = Vec::from(cells);
        debug_assert_eq!(row.len(), self.columns.len());
        row.resize(self.columns.len(), String::new());
        self.rows.push(row);
    }

    /// The lines, headings first, without spaces at their ends.
    pub fn lines(&self) -> Vec<String> {
        let headings: Vec<String> = self.columns.iter().map(|column| column.0.clone()).collect();
        let lines = || std::iter::once(&headings).chain(&self.rows);
        let width = |i: usize| lines().map(|cells| cells[i].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |cells: &Vec<String>| {
            let columns = cells.iter().zip(&widths).zip(&self.columns);
            let padded = columns.map(|((cell, &width), column)| match column.1 {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        lines().map(line).collect()
    }
}

/// A whole number with a comma between each three digits, as in `5,288,548`.
pub(super) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    let groups: Vec<_> = groups.map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// A number of things, as in `1 argument` and `2 arguments`.
pub(super) fn count(n: usize, thing: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", thousands(n as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let found = [0, 999, 1000, 52_340, 5_288_548].map(thousands);
        assert_eq!(found, ["0", "999", "1,000", "52,340", "5,288,548"]);
        assert_eq!(count(1, "argument"), "1 argument");
        assert_eq!(count(1200, "argument"), "1,200 arguments");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&[("name", Align::Left), ("n", Align::Right)]);
        table.row(["a".into(), "1".into()]);
        table.row(["longer".into(), "1000".into()]);
        assert_eq!(table.lines(), ["name       n", "a          1", "longer  1000"]);
        let bare = Table::new(&[("name", Align::Left), ("n", Align::Right)]);
        assert_eq!(bare.lines(), ["name  n"]);
    }
}

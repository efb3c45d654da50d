//! Tables of text, and numbers as people read them.

/// Columns of text, each as wide as its widest cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

/// The edge of a column that its cells keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

impl Table {
    /// An empty table with these headings.
    pub fn new(columns: &[(&str, Align)]) -> Table {
        let columns = columns.iter().map(|&(heading, align)| (heading.to_owned(), align));
        Table { columns: columns.collect(), rows: Vec::new() }
    }

    /// Adds a row: one cell per column. Missing cells are empty, and there are none beyond the last
    /// column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut row: Vec<String> = cells.into_iter().collect();
        debug_assert_eq!(row.len(), self.columns.len());
        row.resize(self.columns.len(), String::new());
        self.rows.push(row);
    }

    /// Headings, and which edge their columns keep to.
    pub fn columns(&self) -> &[(String, Align)] {
        &self.columns
    }

    /// Cells, row by row.
    pub fn rows(&self) -> &[Vec<String>] {
        &self.rows
    }

    /// The lines, headings first, without spaces at their ends.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let width = |i: usize| {
            let cells = self.rows.iter().map(|row| row[i].chars().count());
            cells.chain([self.columns[i].0.chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let headings = self.columns.iter().map(|column| column.0.clone()).collect();
        std::iter::once(headings).chain(self.rows.iter().cloned()).map(move |row: Vec<String>| {
            let cells =
                row.iter().zip(&widths).zip(&self.columns).map(|((cell, &width), column)| {
                    match column.1 {
                        Align::Left => format!("{cell:<width$}"),
                        Align::Right => format!("{cell:>width$}"),
                    }
                });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
    }
}

/// A whole number with a comma between each three digits, as in `5,288,548`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things, as in `1 image` and `2 images`.
pub fn count(n: usize, thing: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", thousands(n as u64))
}

/// A number of bytes in the largest unit that keeps at least one digit before the point.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut x = n as f64 / 1024.0;
    let mut unit = 0;
    while x >= 1024.0 && unit + 1 < UNITS.len() {
        x /= 1024.0;
        unit += 1;
    }
    format!("{x:.1} {}", UNITS[unit])
}

/// A number to `digits` significant digits, without an exponent: `digits` of 3 gives `0.0123`,
/// `1.23`, `123`, `12345`. A number that is not finite is a dash.
pub fn significant(x: f64, digits: usize) -> String {
    if !x.is_finite() {
        return "-".to_owned();
    }
    if x == 0.0 {
        return "0".to_owned();
    }
    let digits = digits.clamp(1, 17);
    // The exponent after rounding: 99.96 to three digits is 100.
    let rounded = format!("{x:.*e}", digits - 1);
    let exponent = rounded.rsplit_once('e').and_then(|(_, exponent)| exponent.parse().ok());
    let decimals = digits as i32 - 1 - exponent.unwrap_or(0);
    format!("{x:.*}", decimals.clamp(0, 12) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let found = [0, 999, 1000, 52_340, 5_288_548].map(thousands);
        assert_eq!(found, ["0", "999", "1,000", "52,340", "5,288,548"]);
    }

    #[test]
    fn bytes_take_the_unit_that_fits() {
        let found = [0, 1023, 1024, 1536, 5 << 20, 7 << 40, u64::MAX].map(bytes);
        let expected =
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 MiB", "7.0 TiB", "16777216.0 TiB"];
        assert_eq!(found, expected);
    }

    #[test]
    fn figures_keep_their_significant_digits() {
        let found = [0.0, 0.012_34, 1.234_5, 99.96, 123.4, 12_345.6, -0.5, f64::NAN]
            .map(|x| significant(x, 3));
        assert_eq!(found, ["0", "0.0123", "1.23", "100", "123", "12346", "-0.500", "-"]);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&[("name", Align::Left), ("n", Align::Right)]);
        table.row(["a".into(), "1".into()]);
        table.row(["longer".into(), "1000".into()]);
        let lines: Vec<String> = table.lines().collect();
        assert_eq!(lines, ["name       n", "a          1", "longer  1000"]);
    }
}

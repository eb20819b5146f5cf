//! A table of text with the borders of Spark's `show()`. Column widths are comfy-table's business, accents included.

use comfy_table::{CellAlignment, Table};

/// Borders around the table and under the header, none between rows.
const SPARK: &str = "||--+-++|    ++++++";

/// Lays out `rows` under `headers`; column `i` is right-aligned where `right[i]` says so, left-aligned otherwise.
pub(crate) fn aligned(headers: &[&str], rows: &[Vec<String>], right: &[bool]) -> String {
    let mut table = Table::new();
    table.load_preset(SPARK).set_header(headers).add_rows(rows);
    for (column, &right) in table.column_iter_mut().zip(right) {
        if right {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_whatever_their_accents() {
        let rows = [["Amélie", "174200000"], ["Up", "5"]].map(|row| row.map(str::to_owned).to_vec());
        let table = "\
+--------+-----------+
| title  |   revenue |
+--------+-----------+
| Amélie | 174200000 |
| Up     |         5 |
+--------+-----------+";
        assert_eq!(aligned(&["title", "revenue"], &rows, &[false, true]), table);
    }
}

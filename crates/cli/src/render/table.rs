//! Tables without borders, in the seeds' columns.
use comfy_table::{ContentArrangement, Table, presets};

use crate::screen::one_line;

/// Columns in capitals, rows below.
pub fn table<const N: usize>(columns: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(columns);
    for row in rows {
        table.add_row(row.map(|cell| one_line(&cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    trimmed(&table.to_string())
}

/// `name  value` lines for one thing; lines without a value are left out.
pub fn lines<'n>(pairs: impl IntoIterator<Item = (&'n str, Option<String>)>) -> String {
    let pairs: Vec<_> = pairs.into_iter().collect();
    let width = pairs.iter().filter(|(_, value)| value.is_some()).map(|(name, _)| name.len()).max().unwrap_or(0);
    let shown = pairs.into_iter().filter_map(|(name, value)| Some(format!("{name:width$}  {}\n", one_line(&value?))));
    shown.collect()
}

fn trimmed(text: &str) -> String {
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_cannot_break_its_row_or_colour_the_terminal() {
        let text = table(["NAME", "X"], [["a\u{1b}[31m\nb".to_string(), "1".to_string()]]);
        assert_eq!(text, "NAME           X\na\\u{1b}[31m b  1\n");
    }
}

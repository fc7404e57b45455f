//! Text that is aligned, and safe to show.

use std::io::IsTerminal;

/// Aligns tab-separated cells as Docker's client does (Go's `text/tabwriter`, at least ten wide, three spaces apart).
///
/// A column reaches over consecutive lines that have one; what follows a line's last tab belongs to no column.
pub fn tabulate(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|l| vec![0; l.len() - 1]).collect();
    let columns = widths.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns {
        let mut start = 0;
        while start < lines.len() {
            let run = widths[start..]
                .iter()
                .take_while(|w| w.len() > column)
                .count();
            let end = start + run;
            let widest = lines[start..end]
                .iter()
                .map(|l| l[column].chars().count() + 3)
                .max()
                .unwrap_or(0)
                .max(10);
            for line in &mut widths[start..end] {
                line[column] = widest;
            }
            start = end + 1;
        }
    }
    let mut aligned = String::with_capacity(text.len() * 2);
    for (cells, widths) in lines.iter().zip(&widths) {
        for (i, cell) in cells.iter().enumerate() {
            aligned.push_str(cell);
            if let Some(width) = widths.get(i) {
                let pad = width - cell.chars().count();
                aligned.extend(std::iter::repeat_n(' ', pad));
            }
        }
        aligned.push('\n');
    }
    aligned
}

/// A cell of a table: what would break the table or steer a terminal is replaced.
pub fn cell(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// At most so many characters; what is longer ends in `…`.
pub fn ellipsis(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept = text.chars().take(most.saturating_sub(1));
    kept.chain(['…']).collect()
}

/// What a template made: as it is for a file or a pipe, safe for a terminal.
pub fn for_stdout(text: String) -> String {
    if std::io::stdout().is_terminal() {
        for_terminal(&text)
    } else {
        text
    }
}

/// Line ends and tabs stay, other controls are replaced.
fn for_terminal(text: &str) -> String {
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    text.replace(steers, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_as_docker_does() {
        assert_eq!(
            tabulate("REPOSITORY\tTAG\tSIZE\nbusybox\tlatest\t4.42MB\n"),
            "REPOSITORY   TAG       SIZE\nbusybox      latest    4.42MB\n"
        );
        // Cells before a tab are padded even when nothing follows.
        assert_eq!(tabulate("A\t\nb\tc\n"), "A         \nb         c\n");
    }

    #[test]
    fn a_column_ends_where_a_line_lacks_it() {
        assert_eq!(
            tabulate("a long first cell\tx\nno tab\nb\ty\n"),
            "a long first cell   x\nno tab\nb         y\n"
        );
    }

    #[test]
    fn controls_do_not_reach_a_terminal() {
        assert_eq!(
            cell("a\tb\n\u{1b}[31m\u{9b}1m"),
            "a\u{fffd}b\u{fffd}\u{fffd}[31m\u{fffd}1m"
        );
        assert_eq!(for_terminal("a\tb\n\u{7}"), "a\tb\n\u{fffd}");
    }
}

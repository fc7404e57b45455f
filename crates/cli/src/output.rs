//! Tables as Docker's client aligns them.

/// Aligns rows: each column but the last is as wide as its widest cell and three spaces, at least ten.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let widest = rows
            .iter()
            .filter_map(|r| r.get(column))
            .map(|c| c.chars().count())
            .max()
            .unwrap_or(0);
        (widest + 3).max(10)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (i, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if i + 1 < row.len() {
                let pad = widths[i] - cell.chars().count();
                text.extend(std::iter::repeat_n(' ', pad));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_as_docker_does() {
        let rows = [
            vec!["REPOSITORY", "TAG", "SIZE"],
            vec!["busybox", "latest", "4.42MB"],
        ]
        .map(|r| r.into_iter().map(str::to_owned).collect());
        assert_eq!(
            table(&rows),
            "REPOSITORY   TAG       SIZE\nbusybox      latest    4.42MB\n"
        );
    }
}

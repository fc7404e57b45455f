//! `minidock history`.

use clap::{ArgAction, Args};
use minidock_engine::HistoryLine;

use super::common::print;
use crate::failure::Failure;
use crate::format::{Column, List};
use crate::output::{ellipsis, for_stdout};
use crate::place::Place;
use crate::{times, units};

#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Print sizes and dates in human readable format
    #[arg(short = 'H', long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          default_value_t = true, hide_possible_values = true, action = ArgAction::Set, value_name = "BOOL")]
    pub human: bool,
    /// Don't truncate output
    #[arg(long)]
    pub no_trunc: bool,
    /// Only show image ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Image name or id
    #[arg(value_name = "IMAGE")]
    pub image: String,
}

/// A step, and how it is shown.
struct Row {
    line: HistoryLine,
    human: bool,
    whole: bool,
}

impl Row {
    fn id(&self) -> String {
        match &self.line.id {
            None => "<missing>".to_owned(),
            Some(id) if self.whole => id.to_string(),
            Some(id) => id.short().to_owned(),
        }
    }

    fn since(&self) -> String {
        match self.line.created {
            _ if !self.human => times::rfc3339_local(self.line.created),
            // Docker takes 1970 and before for no time.
            Some(time) if time.as_second() > 0 => times::since(Some(time)),
            _ => "N/A".to_owned(),
        }
    }

    fn created_by(&self) -> String {
        let text = self.line.created_by.replace('\t', " ");
        if self.whole {
            text
        } else {
            ellipsis(&text, 45)
        }
    }
}

const COLUMNS: [Column<Row>; 6] = [
    Column {
        name: "ID",
        header: "IMAGE",
        value: Row::id,
    },
    Column {
        name: "CreatedSince",
        header: "CREATED",
        value: Row::since,
    },
    Column {
        name: "CreatedAt",
        header: "CREATED AT",
        value: |r| times::rfc3339_local(r.line.created),
    },
    Column {
        name: "CreatedBy",
        header: "CREATED BY",
        value: Row::created_by,
    },
    Column {
        name: "Size",
        header: "SIZE",
        value: |r| {
            if r.human {
                units::size(r.line.size)
            } else {
                r.line.size.to_string()
            }
        },
    },
    Column {
        name: "Comment",
        header: "COMMENT",
        value: |r| r.line.comment.clone(),
    },
];

const LIST: List<'static, Row> = List {
    columns: &COLUMNS,
    default: &["ID", "CreatedSince", "CreatedBy", "Size", "Comment"],
    instead: &[],
    methods: &[],
};
const EXACT: List<'static, Row> = List {
    default: &["ID", "CreatedAt", "CreatedBy", "Size", "Comment"],
    ..LIST
};

/// `minidock history`.
pub fn history(place: &Place, args: HistoryArgs) -> Result<u8, Failure> {
    let lines = place.engine()?.history(&args.image)?;
    let rows: Vec<Row> = lines
        .into_iter()
        .map(|line| Row {
            line,
            human: args.human,
            whole: args.no_trunc,
        })
        .collect();
    let format = args.format.as_deref().filter(|f| !f.is_empty());
    let list = if args.human { &LIST } else { &EXACT };
    let text = if args.quiet && format.is_none() {
        rows.iter().map(|r| r.id() + "\n").collect()
    } else {
        list.render(format, &rows)?
    };
    print(&for_stdout(text))?;
    Ok(0)
}

//! `minidock search`.

use clap::Args;
use minidock_engine::{SearchResult, search as search_registry};

use super::common::print;
use super::remote::weather;
use crate::failure::Failure;
use crate::filters::Filters;
use crate::format::{Column, List};
use crate::output::{ellipsis, for_stdout};
use crate::place::Place;

/// What Docker asks for where no limit is given.
const LIMIT: usize = 25;

#[derive(Debug, Args)]
pub struct SearchArgs {
    /// Only what fits: stars=NUMBER, is-official=true
    #[arg(short, long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Most results, 1 to 100
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 0,
        hide_default_value = true
    )]
    pub limit: usize,
    /// Don't truncate output
    #[arg(long)]
    pub no_trunc: bool,
    /// What to look for, on Docker Hub or in the registry that it begins with
    #[arg(value_name = "[REGISTRY/]TERM")]
    pub term: String,
}

/// A result, and how it is shown.
struct Row {
    result: SearchResult,
    whole: bool,
    json: bool,
}

impl Row {
    fn description(&self) -> String {
        let text = self.result.description.replace(['\n', '\r'], " ");
        match self.whole {
            true => text,
            false => ellipsis(&text, 45),
        }
    }

    fn flag(&self, value: bool) -> String {
        match (value, self.json) {
            (true, true) => "true",
            (true, false) => "[OK]",
            (false, true) => "false",
            (false, false) => "",
        }
        .to_owned()
    }
}

const COLUMNS: [Column<Row>; 5] = [
    Column {
        name: "Name",
        header: "NAME",
        value: |r| r.result.name.clone(),
    },
    Column {
        name: "Description",
        header: "DESCRIPTION",
        value: Row::description,
    },
    Column {
        name: "StarCount",
        header: "STARS",
        value: |r| r.result.stars.to_string(),
    },
    Column {
        name: "IsOfficial",
        header: "OFFICIAL",
        value: |r| r.flag(r.result.official),
    },
    // Docker Hub gave automated builds up; Docker says false of all images.
    Column {
        name: "IsAutomated",
        header: "AUTOMATED",
        value: |r| r.flag(false),
    },
];

const LIST: List<'static, Row> = List {
    columns: &COLUMNS,
    default: &["Name", "Description", "StarCount", "IsOfficial"],
    instead: &[],
    methods: &[],
};

/// `minidock search`.
pub fn search(place: &Place, args: SearchArgs) -> Result<u8, Failure> {
    let limit = match args.limit {
        0 => LIMIT,
        limit @ 1..=100 => limit,
        limit => {
            return Err(Failure::usage(format!(
                "limit {limit} is outside the range of [1, 100]"
            )));
        }
    };
    if args.term.contains("://") {
        return Err(Failure::new(format!(
            "invalid repository name ({}): a scheme is no part of it",
            args.term
        )));
    }
    let wanted = Wanted::parse(&args.filter)?;
    let mut results = search_registry(&args.term, limit, &place.pull_options()?, &weather())
        .map_err(minidock_engine::Error::from)?;
    results.retain(|result| wanted.fits(result));
    let format = args.format.as_deref().filter(|f| !f.is_empty());
    let json = format.is_some_and(|f| f == "json" || f.contains("json ."));
    let rows: Vec<Row> = results
        .into_iter()
        .map(|result| Row {
            result,
            whole: args.no_trunc,
            json,
        })
        .collect();
    print(&for_stdout(LIST.render(format, &rows)?))?;
    Ok(0)
}

/// The filters.
struct Wanted {
    stars: u64,
    official: Option<bool>,
    automated: Option<bool>,
}

impl Wanted {
    fn parse(given: &[String]) -> Result<Self, Failure> {
        let given = Filters::parse(given, &["stars", "is-official", "is-automated"])?;
        let mut stars = 0;
        for text in given.all("stars") {
            let least: u64 = text
                .parse()
                .map_err(|_| Failure::new(format!("invalid filter 'stars={text}'")))?;
            stars = stars.max(least);
        }
        Ok(Self {
            stars,
            official: given.flag("is-official")?,
            automated: given.flag("is-automated")?,
        })
    }

    fn fits(&self, result: &SearchResult) -> bool {
        result.stars >= self.stars
            && self.official.is_none_or(|wanted| wanted == result.official)
            && self.automated != Some(true)
    }
}

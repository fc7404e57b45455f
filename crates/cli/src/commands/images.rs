//! `minidock images`.

use clap::Args;
use minidock_engine::{ImageFilters, ImageSummary};

use super::common::print;
use crate::failure::Failure;
use crate::filters::Filters;
use crate::format::{Column, List};
use crate::output::for_stdout;
use crate::place::Place;
use crate::{times, units};

#[derive(Debug, Args)]
pub struct ImagesArgs {
    /// Show all images (there are no hidden ones)
    #[arg(short, long)]
    pub all: bool,
    /// Only show image ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Show digests
    #[arg(long)]
    pub digests: bool,
    /// Don't truncate output
    #[arg(long)]
    pub no_trunc: bool,
    /// Only what fits: dangling=true, label=NAME[=VALUE], before=IMAGE, since=IMAGE, reference=PATTERN, until=TIME
    #[arg(short, long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Only this repository or reference; may be a pattern
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub reference: Option<String>,
}

/// One name of an image.
pub struct Row {
    repository: String,
    tag: String,
    digest: String,
    id: String,
    image: ImageSummary,
}

/// The fields of a row.
const COLUMNS: [Column<Row>; 11] = [
    Column {
        name: "ID",
        header: "IMAGE ID",
        value: |r| r.id.clone(),
    },
    Column {
        name: "Repository",
        header: "REPOSITORY",
        value: |r| r.repository.clone(),
    },
    Column {
        name: "Tag",
        header: "TAG",
        value: |r| r.tag.clone(),
    },
    Column {
        name: "Digest",
        header: "DIGEST",
        value: |r| r.digest.clone(),
    },
    Column {
        name: "CreatedSince",
        header: "CREATED",
        value: |r| times::since(r.image.created),
    },
    Column {
        name: "CreatedAt",
        header: "CREATED AT",
        value: |r| times::long(r.image.created),
    },
    Column {
        name: "Size",
        header: "SIZE",
        value: |r| units::size(r.image.size),
    },
    Column {
        name: "Containers",
        header: "CONTAINERS",
        value: |_| "N/A".to_owned(),
    },
    Column {
        name: "VirtualSize",
        header: "SIZE",
        value: |r| units::size_4(r.image.size),
    },
    Column {
        name: "SharedSize",
        header: "SHARED SIZE",
        value: |_| "N/A".to_owned(),
    },
    Column {
        name: "UniqueSize",
        header: "UNIQUE SIZE",
        value: |_| "N/A".to_owned(),
    },
];

const LIST: List<'static, Row> = List {
    columns: &COLUMNS,
    default: &["Repository", "Tag", "ID", "CreatedSince", "Size"],
    instead: &[("CreatedSince", "N/A")],
    methods: &[],
};
const DIGESTS: List<'static, Row> = List {
    default: &["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"],
    ..LIST
};

/// What Docker calls the format `raw`.
const RAW: &str = "repository: {{.Repository}}\ntag: {{.Tag}}\nimage_id: {{.ID}}\n\
    created_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n";

/// `minidock images`.
pub fn images(place: &Place, args: ImagesArgs) -> Result<u8, Failure> {
    let images = place.engine()?.images(&filters(&args)?)?;
    let format = match args.format.as_deref() {
        Some("raw") => Some(RAW),
        Some(format) if !format.is_empty() => Some(format),
        _ => None,
    };
    let digests = args.digests || format.is_some_and(|f| f == "json" || f.contains(".Digest"));
    let rows: Vec<Row> = images
        .into_iter()
        .flat_map(|image| rows(image, digests, args.no_trunc))
        .collect();
    let list = if args.digests { &DIGESTS } else { &LIST };
    let text = if args.quiet && format.is_none() {
        rows.iter().map(|r| format!("{}\n", r.id)).collect()
    } else {
        list.render(format, &rows)?
    };
    print(&for_stdout(text))?;
    Ok(0)
}

fn filters(args: &ImagesArgs) -> Result<ImageFilters, Failure> {
    let given = Filters::parse(
        &args.filter,
        &["dangling", "label", "before", "since", "reference", "until"],
    )?;
    Ok(ImageFilters {
        dangling: given.flag("dangling")?,
        labels: given.labels(),
        before: given.all("before").to_vec(),
        since: given.all("since").to_vec(),
        references: given
            .all("reference")
            .iter()
            .chain(&args.reference)
            .cloned()
            .collect(),
        until: given.until()?,
    })
}

/// The lines of an image, as Docker makes them: one a tag, or one a tag and digest where digests are shown; a
/// repository that knows it by digest only has a line without tag.
fn rows(image: ImageSummary, with_digests: bool, whole_id: bool) -> Vec<Row> {
    const NONE: &str = "<none>";
    let id = if whole_id {
        image.id.to_string()
    } else {
        image.id.short().to_owned()
    };
    let mut lines: Vec<(&str, &str, String)> = Vec::new();
    let digests_of = |repository: &str| {
        let digests = image.digests.iter().filter(|(r, _)| *r == repository);
        digests.map(|(_, d)| d.to_string()).collect::<Vec<_>>()
    };
    for (repository, tag) in &image.tags {
        match digests_of(repository) {
            digests if with_digests && !digests.is_empty() => {
                lines.extend(digests.into_iter().map(|d| (&**repository, &**tag, d)));
            }
            _ => lines.push((repository, tag, NONE.to_owned())),
        }
    }
    for (repository, digest) in &image.digests {
        let seen = lines
            .iter()
            .any(|(r, tag, _)| r == repository && (!with_digests || *tag != NONE));
        if !seen {
            lines.push((repository, NONE, digest.to_string()));
        }
    }
    if lines.is_empty() {
        lines.push((NONE, NONE, NONE.to_owned()));
    }
    let lines = lines.into_iter().map(|(repository, tag, digest)| Row {
        repository: repository.to_owned(),
        tag: tag.to_owned(),
        digest,
        id: id.clone(),
        image: image.clone(),
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use minidock_engine::oci::Digest;

    use super::*;

    fn lines(tags: &[(&str, &str)], digests: &[(&str, &str)], with: bool) -> Vec<String> {
        let image = ImageSummary {
            id: Digest::sha256(b""),
            created: None,
            size: 0,
            tags: tags
                .iter()
                .map(|(r, t)| ((*r).into(), (*t).into()))
                .collect(),
            digests: digests
                .iter()
                .map(|(r, d)| ((*r).to_owned(), Digest::sha256(d.as_bytes())))
                .collect::<BTreeSet<_>>(),
        };
        let name = |digest: &str| match digests
            .iter()
            .find(|(_, d)| Digest::sha256(d.as_bytes()).to_string() == digest)
        {
            Some((_, d)) => (*d).to_owned(),
            None => digest.to_owned(),
        };
        rows(image, with, false)
            .iter()
            .map(|r| format!("{}:{}@{}", r.repository, r.tag, name(&r.digest)))
            .collect()
    }

    #[test]
    fn an_image_has_the_lines_that_docker_gives_it() {
        assert_eq!(lines(&[], &[], false), ["<none>:<none>@<none>"]);
        let tags = [("a", "1"), ("a", "2"), ("b", "1")];
        let digests = [("a", "D"), ("c", "E")];
        assert_eq!(
            lines(&tags, &digests, false),
            ["a:1@<none>", "a:2@<none>", "b:1@<none>", "c:<none>@E"]
        );
        assert_eq!(
            lines(&tags, &digests, true),
            ["a:1@D", "a:2@D", "b:1@<none>", "c:<none>@E"]
        );
        // Two digests of one repository are one line, unless digests are shown.
        let two = [("c", "E"), ("c", "F")];
        assert_eq!(lines(&[], &two, false).len(), 1);
        assert_eq!(lines(&[], &two, true).len(), 2);
    }
}

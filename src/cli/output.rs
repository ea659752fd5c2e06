//! Answers as a table for people, or as JSON or YAML for programs.

use std::{
    io::{self, Write},
    time::Duration,
};

use clap::ValueEnum;
use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;

use super::failure::Failure;
use crate::{
    client::{
        ClientError, Page,
        types::{Changed, Created, List, NewToken},
    },
    model::Millis,
};

/// How answers are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table
    #[default]
    Table,
    /// A table with more columns
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// Something that can be a row.
pub trait Row {
    /// The names of the columns.
    fn head(wide: bool) -> Vec<&'static str>;
    /// The cells.
    fn cells(&self, wide: bool) -> Vec<String>;
}

/// Writes answers to standard output.
#[derive(Debug)]
pub struct Output {
    format: Format,
}

fn broken(error: io::Error) -> Failure {
    Failure::local(
        format!("standard output can't be written: {error}"),
        "the change, if it was one, was made",
    )
}

/// Writes all of it; a reader that went away, as `head` does, is no failure.
pub fn print(bytes: &[u8]) -> Result<(), Failure> {
    print_on(bytes).map(drop)
}

/// As [`print`], of what goes on and on; whether anybody still reads it.
pub fn print_on(bytes: &[u8]) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        other => other.map(|()| true).map_err(broken),
    }
}

/// Prints what a shell needs to complete `command`.
pub fn completion(shell: clap_complete::Shell, command: &mut clap::Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, command, "quorate", &mut script);
    print(&script)
}

fn table<R: Row>(rows: &[R], wide: bool) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(R::head(wide));
    for row in rows {
        table.add_row(row.cells(wide));
    }
    let text = table.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    format!("{}\n", lines.join("\n"))
}

impl Output {
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    /// Whether the answer is for people.
    pub fn is_table(&self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }

    fn wide(&self) -> bool {
        self.format == Format::Wide
    }

    /// A value as JSON or YAML.
    pub fn value<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        let unwritable =
            |error: String| Failure::local(format!("the answer can't be shown: {error}"), "try `-o json`");
        let text = match self.format {
            Format::Yaml => serde_yaml_ng::to_string(value).map_err(|error| unwritable(error.to_string()))?,
            _ => serde_json::to_string_pretty(value).map_err(|error| unwritable(error.to_string()))? + "\n",
        };
        print(text.as_bytes())
    }

    /// Objects as a table, or `whole` as data.
    pub fn rows<R: Row, T: Serialize>(&self, rows: &[R], whole: &T) -> Result<(), Failure> {
        if self.is_table() {
            print(table(rows, self.wide()).as_bytes())
        } else {
            self.value(whole)
        }
    }

    /// A list.
    pub fn list<R: Row + Serialize>(&self, list: &List<R>) -> Result<(), Failure> {
        self.rows(&list.items, list)?;
        if self.is_table() && list.next.is_some() {
            eprintln!("there are more: leave --limit out to see all");
        }
        Ok(())
    }

    /// One object.
    pub fn one<R: Row + Serialize>(&self, object: &R) -> Result<(), Failure> {
        self.rows(std::slice::from_ref(object), object)
    }

    /// A sentence for people, or `value` as data.
    pub fn said<T: Serialize>(&self, sentence: &str, value: &T) -> Result<(), Failure> {
        if self.is_table() {
            print(format!("{sentence}\n").as_bytes())
        } else {
            self.value(value)
        }
    }

    /// A new object.
    pub fn created(&self, kind: &str, created: &Created) -> Result<(), Failure> {
        self.said(&format!("{kind} {} is {}", created.name, created.id), created)
    }

    /// A change.
    pub fn changed(&self, sentence: &str, changed: &Changed) -> Result<(), Failure> {
        self.said(&format!("{sentence} (revision {})", changed.revision), changed)
    }

    /// A new token; for people, its text alone on standard output, so that it can go into a file.
    pub fn new_token(&self, token: &NewToken) -> Result<(), Failure> {
        if self.is_table() {
            eprintln!("{} is shown this once: keep it in a safe place", token.id);
        }
        self.said(&token.token, token)
    }
}

/// All pages of a list, or one page when a limit is given.
pub async fn all_pages<R>(
    mut page: Page,
    fetch: impl AsyncFn(&Page) -> Result<List<R>, ClientError>,
) -> Result<List<R>, ClientError> {
    let limited = page.limit.is_some();
    page.limit = page.limit.or(Some(1000));
    let mut whole = fetch(&page).await?;
    while !limited && whole.next.is_some() {
        page.after = whole.next.take();
        let more = fetch(&page).await?;
        whole.items.extend(more.items);
        whole.next = more.next;
        whole.revision = more.revision;
    }
    Ok(whole)
}

/// A name as the API writes it, such as `at_least_once`.
pub fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        other => other.map(|value| value.to_string()).unwrap_or_default(),
    }
}

/// What is absent, as a dash.
pub fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Bytes for people.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = "B";
    for larger in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == "B" {
        format!("{count} B")
    } else {
        format!("{value:.1} {unit}")
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn now() -> Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Millis(since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}

/// How long ago a moment was.
pub fn age(then: Millis) -> String {
    span(now().since(then).as_secs())
}

/// The moment so long ago.
pub fn ago(span: Duration) -> Millis {
    let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    Millis(now().0.saturating_sub(span))
}

/// When something ends.
pub fn end(end: Option<Millis>) -> String {
    match end {
        None => "never".to_owned(),
        Some(end) if end <= now() => "expired".to_owned(),
        Some(end) => format!("in {}", span(end.since(now()).as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pair(&'static str, &'static str);

    impl Row for Pair {
        fn head(wide: bool) -> Vec<&'static str> {
            if wide { vec!["NAME", "MORE"] } else { vec!["NAME"] }
        }

        fn cells(&self, wide: bool) -> Vec<String> {
            let all = [self.0, self.1].map(str::to_owned);
            all[..if wide { 2 } else { 1 }].to_vec()
        }
    }

    #[test]
    fn tables_have_no_trailing_blanks_and_wide_ones_more_columns() {
        let rows = [Pair("a", "x"), Pair("long-name", "y")];
        let narrow = table(&rows, false);
        assert_eq!(narrow.lines().count(), 3);
        assert!(narrow.lines().all(|line| line == line.trim_end()), "{narrow:?}");
        assert!(!narrow.contains('x') && table(&rows, true).contains('x'));
    }

    #[tokio::test]
    async fn all_pages_are_fetched_unless_limited() {
        let fetch = async |page: &Page| {
            let from: u64 = page.after.as_deref().map_or(0, |after| after.parse().unwrap());
            Ok(List {
                items: vec![from, from + 1],
                next: (from < 4).then(|| (from + 2).to_string()),
                revision: from,
            })
        };
        let whole = all_pages(Page::default(), fetch).await.unwrap();
        assert_eq!((whole.items, whole.next), (vec![0, 1, 2, 3, 4, 5], None));
        let limit = Some(2);
        let part = all_pages(
            Page {
                limit,
                ..Page::default()
            },
            fetch,
        )
        .await
        .unwrap();
        assert_eq!((part.items.len(), part.next), (2, Some("2".into())));
    }

    #[test]
    fn figures_are_for_people() {
        assert_eq!((bytes(1), bytes(1536).as_str()), ("1 B".into(), "1.5 KiB"));
        assert_eq!(
            [span(5), span(600), span(90_000)],
            ["5s", "10m", "25h"].map(str::to_owned)
        );
        assert_eq!(
            word(&crate::model::DisconnectPolicy::AtLeastOnce),
            "at_least_once"
        );
    }
}

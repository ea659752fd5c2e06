//! The documentation holds together: every link from one page to another, and to a heading in it, leads somewhere.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Directories that have no pages of ours.
const NOT_OURS: [&str; 3] = ["target", "dist", ".git"];

fn pages(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !NOT_OURS.contains(&name) {
            pages(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The lines of a page that are not code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

/// What links on a page point to.
fn targets(text: &str) -> Vec<String> {
    let rest = prose(text).flat_map(|line| line.split("](").skip(1));
    rest.filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.to_owned())
        .collect()
}

/// How GitHub names a heading in a link: small letters and digits, and a dash for each space.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter_map(|c| match c {
        ' ' | '-' => Some('-'),
        '_' => Some('_'),
        c if c.is_alphanumeric() => c.to_lowercase().next(),
        _ => None,
    });
    kept.collect()
}

fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text).filter_map(|line| line.strip_prefix('#'));
    headings
        .map(|heading| anchor(heading.trim_start_matches('#')))
        .collect()
}

/// Why a link on `page` leads nowhere.
fn broken(page: &Path, text: &str, target: &str) -> Option<String> {
    if target.contains("://") {
        return None;
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = page.parent().unwrap().join(file);
    let there = match (file, fs::metadata(&path)) {
        ("", _) => text.to_owned(),
        (_, Ok(_)) if heading.is_empty() => return None,
        (_, Ok(_)) => fs::read_to_string(&path).unwrap(),
        (_, Err(error)) => return Some(error.to_string()),
    };
    (!anchors(&there).contains(&heading.to_owned())).then(|| "there is no such heading".into())
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    let mut found = Vec::new();
    pages(Path::new(env!("CARGO_MANIFEST_DIR")), &mut found);
    assert!(found.len() > 5, "{found:?}");
    let mut wrong = Vec::new();
    let mut links = 0;
    for page in found {
        let text = fs::read_to_string(&page).unwrap();
        for target in targets(&text) {
            links += 1;
            if let Some(why) = broken(&page, &text, &target) {
                wrong.push(format!("{}: {target}: {why}", page.display()));
            }
        }
    }
    assert!(links > 10, "hardly any link was found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_leads_nowhere_is_found() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text =
        "# A page `of` mine\n```\n[no](link.md)\n```\n[a](nowhere.md) and [b](#a-page-of-mine), [c](#not)";
    let targets = targets(text);
    assert_eq!(targets, ["nowhere.md", "#a-page-of-mine", "#not"]);
    let wrong = targets.iter().map(|target| broken(&page, text, target).is_some());
    assert_eq!(wrong.collect::<Vec<_>>(), [true, false, true]);
}

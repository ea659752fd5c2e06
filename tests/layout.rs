//! Holds the map in `src/lib.rs` against the code: who imports whom, who may use which library, and
//! how large files get.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Libraries with one user each.
const OWNED: [(&str, &[&str]); 6] = [
    ("openraft", &["consensus"]),
    ("sled", &["consensus"]),
    ("bollard", &["engine"]),
    ("redis", &["cache"]),
    ("axum", &["api"]),
    ("clap", &["cli", "dev", "process", "main"]),
];

/// Imports that the map allows for one part of a module only.
const NARROW: [(&str, &str, &str); 1] = [
    // The shapes of requests and answers, which client and API share.
    ("client", "api", "api::types"),
];

const LONGEST_FILE: usize = 450;
/// Tables of cases are long, and read one by one.
const LONGEST_TEST_FILE: usize = 550;

/// A file of `src`.
struct Source {
    path: PathBuf,
    /// The module right below the crate's root.
    module: String,
    text: String,
    /// Without comments and strings.
    code: String,
}

impl Source {
    fn is_test(&self) -> bool {
        let name = self.path.to_string_lossy();
        name.contains("/tests/") || name.ends_with("tests.rs") || name.ends_with("/fixture.rs")
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let (mut found, mut dirs) = (Vec::new(), vec![root().join("src")]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(source(path));
            }
        }
    }
    assert!(found.len() > 100, "the sources were not found");
    found
}

fn source(path: PathBuf) -> Source {
    let text = fs::read_to_string(&path).unwrap();
    let inside = path.strip_prefix(root().join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str();
    let module = first.to_string_lossy().trim_end_matches(".rs").to_owned();
    Source {
        code: code_of(&text),
        path: path.strip_prefix(root()).unwrap().to_owned(),
        module,
        text,
    }
}

/// The text without line comments, strings and characters that could look like code.
fn code_of(text: &str) -> String {
    let mut code = String::new();
    for line in text.lines() {
        let mut quoted = false;
        let mut chars = line.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\\' if quoted => drop(chars.next()),
                '"' => quoted = !quoted,
                '/' if !quoted && chars.peek() == Some(&'/') => break,
                _ if quoted => {}
                c => code.push(c),
            }
        }
        code.push('\n');
    }
    code
}

/// What stands behind each `crate::`: a path, or several in braces.
fn crate_paths(code: &str) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            paths.extend(members(group));
        } else {
            paths.extend(path(rest));
        }
    }
    paths
}

/// The paths in a group up to its closing brace, without what is in braces within them.
fn members(group: &str) -> Vec<String> {
    let (mut depth, mut member, mut found) = (1, String::new(), Vec::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && c == ',') {
            found.extend(path(&member));
            member.clear();
        } else if depth == 1 || c == '{' {
            member.push(c);
        }
        if depth == 0 {
            break;
        }
    }
    found
}

fn path(text: &str) -> Option<String> {
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let text = text.trim_start();
    let path = &text[..text.find(|c| !part(c)).unwrap_or(text.len())];
    (!path.is_empty()).then(|| path.trim_end_matches(':').to_owned())
}

/// The table in the documentation of `src/lib.rs`: each module and what it may import.
fn map() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | `"));
    let map: BTreeMap<_, _> = rows
        .map(|row| {
            let (module, rest) = row.split_once("` |").unwrap();
            let imports = rest.rsplit('|').nth(1).unwrap();
            let names = imports.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            (module.to_owned(), names)
        })
        .collect();
    assert!(map.len() > 15, "the map was not found");
    map
}

fn complain(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn modules_import_only_what_the_map_allows() {
    let map = map();
    let mut wrong = Vec::new();
    for Source {
        path, module, code, ..
    } in sources()
    {
        if matches!(module.as_str(), "lib" | "main") {
            continue;
        }
        let Some(allowed) = map.get(&module) else {
            wrong.push(format!("{}: `{module}` is not on the map", path.display()));
            continue;
        };
        for import in crate_paths(&code) {
            let target = import.split("::").next().unwrap();
            if target != module && !allowed.contains(target) {
                wrong.push(format!(
                    "{}: `{module}` may not import `{target}`",
                    path.display()
                ));
            }
            for (from, to, part) in NARROW {
                if (from, to) == (module.as_str(), target) && !import.starts_with(part) {
                    wrong.push(format!(
                        "{}: of `{to}`, `{from}` may import `{part}` only",
                        path.display()
                    ));
                }
            }
        }
    }
    complain(wrong);
}

#[test]
fn no_module_reaches_another_by_super() {
    let mut wrong = Vec::new();
    // Tests may be declared deeper than their file lies.
    for Source { path, code, .. } in sources().into_iter().filter(|source| !source.is_test()) {
        let parts = path.components().count() - 1;
        let depth = if path.ends_with("mod.rs") {
            parts - 1
        } else {
            parts
        };
        for line in code.lines().filter(|line| line.contains("use super::")) {
            // What is indented is in a module inside the file.
            let inside = usize::from(line.starts_with(' '));
            if line.matches("super::").count() >= depth + inside && depth > 0 {
                wrong.push(format!("{}: {}", path.display(), line.trim()));
            }
        }
    }
    complain(wrong);
}

/// The map may grow; these rules of it may not change.
#[test]
fn the_map_keeps_what_must_not_change() {
    let map = map();
    let imports = |module: &str| map[module].iter().map(String::as_str).collect::<Vec<_>>();
    assert!(imports("model").is_empty() && imports("wire").is_empty());
    assert_eq!(imports("command"), ["model"]);
    assert_eq!(imports("state"), ["command", "model"]);
    assert_eq!(imports("plan"), ["command", "model", "state"]);
    assert_eq!(imports("client"), ["api", "model"]);
    assert_eq!(imports("cli"), ["client", "model", "security"]);
    assert!(!map["consensus"].contains("api") && !map["consensus"].contains("control"));
    for module in ["security", "telemetry", "config", "engine", "runner"] {
        for above in ["consensus", "control", "session", "api", "node", "cli", "dev"] {
            assert!(!map[module].contains(above), "{module} may not import {above}");
        }
    }
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for module in map.keys() {
        let declared = text.contains(&format!("\npub mod {module};"));
        assert!(declared, "`{module}` is on the map and does not exist");
    }
}

#[test]
fn libraries_have_one_user_each() {
    let mut wrong = Vec::new();
    for Source {
        path, module, code, ..
    } in sources()
    {
        for (library, users) in OWNED {
            let uses = code.match_indices(library).any(|(at, _)| {
                let name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
                let begins = !code[..at].ends_with(name);
                let rest = &code[at + library.len()..];
                begins && (rest.starts_with("::") || code[..at].ends_with("use "))
            });
            if uses && !users.contains(&module.as_str()) {
                wrong.push(format!("{}: `{library}` is for {users:?} only", path.display()));
            }
        }
    }
    complain(wrong);
}

#[test]
fn files_are_short_documented_and_say_what_they_are() {
    let mut wrong = Vec::new();
    for source in sources() {
        let (path, lines) = (source.path.display(), source.text.lines().count());
        let longest = if source.is_test() {
            LONGEST_TEST_FILE
        } else {
            LONGEST_FILE
        };
        if lines > longest {
            wrong.push(format!("{path}: {lines} lines, at most {longest}"));
        }
        if !source.is_test() && !source.text.starts_with("//!") {
            wrong.push(format!("{path}: does not begin by saying what it is for"));
        }
        for part in source.path.components() {
            let name = part.as_os_str().to_string_lossy();
            if ["util", "utils", "common", "helper", "helpers", "misc"]
                .contains(&name.trim_end_matches(".rs"))
            {
                wrong.push(format!("{path}: name it after what it does"));
            }
        }
    }
    complain(wrong);
}

#[test]
fn rules_of_the_compiler_are_in_place() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    for pure in ["src/state/mod.rs", "src/plan/mod.rs"] {
        let ban = "#![deny(clippy::disallowed_types, clippy::disallowed_methods)]";
        assert!(read(pure).lines().any(|line| line == ban), "{pure} lacks {ban}");
    }
    for top in ["src/lib.rs", "src/main.rs"] {
        let rule = "#![forbid(unsafe_code)]";
        assert!(read(top).lines().any(|line| line == rule), "{top} lacks {rule}");
    }
    let mut wrong = Vec::new();
    for Source {
        path, module, code, ..
    } in sources()
    {
        let pure = matches!(module.as_str(), "state" | "plan");
        if pure
            && ["tokio::", "tracing::", "allow(clippy::disallowed"]
                .iter()
                .any(|word| code.contains(word))
        {
            wrong.push(format!("{}: `{module}` is pure", path.display()));
        }
    }
    complain(wrong);
}

#[test]
fn this_test_reads_imports() {
    let code = code_of(
        "use crate::{\n    a::{B, c::D},\n    e,\n};\n// crate::f\nfn g() { crate::h::i(\"crate::j\") }\nuse crate::k::{l, m};",
    );
    let paths: Vec<_> = crate_paths(&code).into_iter().collect();
    assert_eq!(paths, ["a", "e", "h::i", "k"]);
    assert_eq!(members("api::{types, x}, b}"), ["api", "b"]);
}

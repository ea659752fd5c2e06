//! The interpreters on `PATH`, and what they say their versions are.
//!
//! Each is a program of somebody else's, so it runs under a keeper like an agent, for a short time, with
//! an empty environment, and of what it says only a short word that looks like a version is taken. One
//! whose file is the same as before is not asked again.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    task::spawn_blocking,
    time::timeout,
};

use super::{
    process::{Launch, Spawner},
    program::{DEFAULT_PATH, find_program},
    stray::Mark,
};

/// What is looked for, and how each is asked. What can't tell its version is not asked.
const KNOWN: [(&str, &[&str]); 8] = [
    ("bash", &["--version"]),
    ("java", &["-version"]),
    ("node", &["--version"]),
    ("perl", &["-e", r#"print "$^V\n""#]),
    ("php", &["--version"]),
    ("python3", &["--version"]),
    ("ruby", &["--version"]),
    ("sh", &[]),
];

/// For one to answer. One that did not is asked again at the next look.
const ANSWER: Duration = Duration::from_secs(5);

/// Bytes of an answer that are read.
const HEAD: u64 = 1024;

/// The longest version, in bytes.
const VERSION: usize = 64;

/// What tells a file from another one of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

/// What was found before.
#[derive(Debug, Default)]
pub(super) struct Interpreters {
    known: BTreeMap<&'static str, (Stamp, String)>,
}

impl Interpreters {
    /// Looks for all of them; asks those that are new. `dir` is where they run, `boot` the start of the
    /// runner that asks.
    pub(super) async fn find(
        &mut self,
        spawner: &Spawner,
        dir: &Path,
        boot: u64,
    ) -> BTreeMap<String, String> {
        let path = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
        let mut found = BTreeMap::new();
        for (name, args) in KNOWN {
            let (from, on) = (dir.to_owned(), path.clone());
            // A directory on PATH may be one that hangs.
            let looked = spawn_blocking(move || look(name, &from, &on)).await;
            let Some(stamp) = looked.unwrap_or_default() else {
                self.known.remove(name);
                continue;
            };
            let known = self.known.get(name).filter(|(before, _)| *before == stamp);
            let version = match known {
                Some((_, version)) => Some(version.clone()),
                None if args.is_empty() => Some(String::new()),
                None => ask(spawner, launch(&stamp.path, args, dir, &path, boot)).await,
            };
            match &version {
                Some(version) => drop(self.known.insert(name, (stamp, version.clone()))),
                None => drop(self.known.remove(name)),
            }
            found.insert(name.to_owned(), version.unwrap_or_default());
        }
        found
    }
}

fn look(name: &str, dir: &Path, path: &OsString) -> Option<Stamp> {
    let path = find_program(name, dir, path).ok()?;
    let file = fs::metadata(&path).ok()?;
    Some(Stamp {
        path,
        inode: file.ino(),
        size: file.size(),
        changed: (file.mtime(), file.mtime_nsec()),
    })
}

fn launch(program: &Path, args: &[&str], dir: &Path, path: &OsString, boot: u64) -> Launch {
    let mark = Mark::of_look(boot);
    let mut env = vec![("PATH".to_owned(), path.clone())];
    env.extend(
        mark.variables()
            .map(|(key, value)| (key.to_owned(), value.into())),
    );
    Launch {
        program: program.to_owned(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env,
        dir: dir.to_owned(),
        mark,
        fence: None,
    }
}

/// What a program says of itself; empty when that is no version, or it fails. `None` when it did not end
/// in time. Nothing of it is left afterwards.
async fn ask(spawner: &Spawner, launch: Launch) -> Option<String> {
    let program = launch.program.clone();
    let mut process = spawner.spawn(launch).await.ok()?;
    let (out, err) = process.take_output();
    let answer = async {
        let (out, err) = tokio::join!(head(out), head(err));
        let ended = process.wait().await.is_ok_and(|status| status.success());
        ended.then(|| version(&out).or_else(|| version(&err))).flatten()
    };
    match timeout(ANSWER, answer).await {
        Ok(version) => Some(version.unwrap_or_default()),
        Err(_) => {
            tracing::debug!(program = %program.display(), "did not tell its version within {ANSWER:?}");
            // It was given up, whatever comes of its end.
            let _ = process.kill().await;
            None
        }
    }
}

/// The first bytes of an output. Who writes more finds it closed.
async fn head(output: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(output) = output {
        // What was read before an error counts.
        let _ = output.take(HEAD).read_to_end(&mut bytes).await;
    }
    bytes
}

/// The first word that looks like a version, such as `3.11.2` of `Python 3.11.2`.
fn version(said: &[u8]) -> Option<String> {
    let said = String::from_utf8_lossy(said);
    let mut words = said.split_whitespace().map(|word| {
        let word = word.trim_matches('"');
        word.strip_prefix('v').unwrap_or(word)
    });
    let fits = |word: &&str| {
        let numbered = word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
        numbered && word.len() <= VERSION && word.bytes().all(|b| b.is_ascii_graphic())
    };
    words.find(fits).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn versions_are_short_words_of_what_was_said() {
        for (said, expected) in [
            ("Python 3.11.2\n", Some("3.11.2")),
            ("v20.11.1\n", Some("20.11.1")),
            ("openjdk version \"17.0.9\" 2023-10-17\nmore", Some("17.0.9")),
            ("ruby 3.1.2p20 (2022-04-12 revision 4491bb740a)", Some("3.1.2p20")),
            (
                "GNU bash, version 5.2.15(1)-release (x86_64)",
                Some("5.2.15(1)-release"),
            ),
            ("v5.36.0\n", Some("5.36.0")),
            ("PHP 8.2.7 (cli)", Some("8.2.7")),
            ("sh: 0: Illegal option --", None),
            ("", None),
            ("1.\u{1b}[2J", None),
            ("\u{ff11}.2", None),
        ] {
            assert_eq!(version(said.as_bytes()).as_deref(), expected, "{said}");
        }
        assert_eq!(version(format!("9.{}", "9".repeat(VERSION)).as_bytes()), None);
        assert_eq!(version(b"1.0\xff\xfe 2.0"), Some("2.0".to_owned()));
    }

    #[test]
    fn another_file_is_another_interpreter() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ruby");
        let path = dir.path().as_os_str().to_owned();
        let looked = || look("ruby", Path::new("/"), &path);
        assert_eq!(looked(), None);
        fs::write(&file, "#!/bin/sh\n").unwrap();
        assert_eq!(looked(), None, "not executable");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let first = looked().unwrap();
        assert_eq!(looked().as_ref(), Some(&first));
        fs::write(&file, "#!/bin/sh\n# other\n").unwrap();
        assert_ne!(looked(), Some(first));
    }
}

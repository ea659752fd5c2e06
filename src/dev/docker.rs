//! Containers of this very binary on this machine's Docker Engine, by the `docker` command: for the
//! demonstration and for tests. Managers watch engines by themselves and need none of this.
//!
//! The image holds the binary and the libraries it is linked with, and nothing else, so it is made
//! within a second from any build.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use crate::process::end::while_doing;

/// Where the engine listens.
const HOST: &str = "unix:///var/run/docker.sock";

/// Where the binary is in the image.
pub const PROGRAM: &str = "/quorate";

/// Why no engine can be used, in words; `None` when one can.
pub fn missing() -> Option<String> {
    docker(&["version", "--format", "{{.Server.Version}}"])
        .err()
        .map(|error| error.to_string())
}

/// Runs `docker` with these arguments; gives what it printed.
///
/// # Errors
/// When it can't be run or fails; with its words.
pub fn docker(args: &[&str]) -> io::Result<String> {
    printed(
        Command::new("docker").args(["--host", HOST]).args(args).output(),
        args,
    )
}

/// [`docker`] with a variable in its environment: `--env NAME` then hands it on, and it is not seen
/// in the list of processes.
///
/// # Errors
/// As [`docker`].
pub fn docker_with(variable: (&str, &str), args: &[&str]) -> io::Result<String> {
    let mut command = Command::new("docker");
    command
        .args(["--host", HOST])
        .args(args)
        .env(variable.0, variable.1);
    printed(command.output(), args)
}

fn printed(output: io::Result<Output>, args: &[&str]) -> io::Result<String> {
    let what = args.first().copied().unwrap_or_default();
    let output = output.map_err(while_doing("the `docker` command can't be run"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("`docker {what}` failed: {words}")))
}

/// Makes the image `tag` of `program`, which is a `quorate` binary. `work` is an existing directory
/// for what goes into it; it is left empty.
///
/// # Errors
/// When a library is missing, or `docker` or `tar` fails.
pub fn make_image(program: &Path, tag: &str, work: &Path) -> io::Result<()> {
    let root = work.join("image");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    fs::create_dir_all(root.join("tmp"))?;
    fs::copy(program, inside(&root, Path::new(PROGRAM)))?;
    for library in libraries(program)? {
        let target = inside(&root, &library);
        // It has the image's root above it.
        fs::create_dir_all(target.parent().unwrap_or(&root))?;
        // Copying follows links, so the image has the file under the name it is asked for by.
        fs::copy(&library, target).map_err(while_doing(library.display()))?;
    }
    let imported = import(&root, tag);
    fs::remove_dir_all(&root)?;
    imported
}

fn import(root: &Path, tag: &str) -> io::Result<()> {
    let mut tar = Command::new("tar")
        .args([
            "--create",
            "--numeric-owner",
            "--owner=0",
            "--group=0",
            "--directory",
        ])
        .args([root, Path::new(".")])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(while_doing("`tar` can't be run"))?;
    let entrypoint = format!("ENTRYPOINT [\"{PROGRAM}\"]");
    let arguments = ["import", "--change", &entrypoint, "-", tag];
    let mut command = Command::new("docker");
    command.args(["--host", HOST]).args(arguments);
    if let Some(archive) = tar.stdout.take() {
        command.stdin(archive);
    }
    let imported = printed(command.output(), &arguments);
    if !tar.wait()?.success() {
        return Err(io::Error::other("`tar` failed"));
    }
    imported.map(drop)
}

/// The libraries that the loader would take; none for a static binary.
fn libraries(program: &Path) -> io::Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output();
    let output = output.map_err(while_doing("`ldd` can't be run"))?;
    // `name => /path (0x…)`, or `/path (0x…)` for the loader itself.
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if let Some(missing) = text.lines().find(|line| line.contains("not found")) {
        return Err(io::Error::other(format!(
            "a library is missing: {}",
            missing.trim()
        )));
    }
    let paths = text
        .split_whitespace()
        .filter(|word| word.starts_with('/') && !word.ends_with(':'));
    Ok(paths.map(PathBuf::from).collect())
}

fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

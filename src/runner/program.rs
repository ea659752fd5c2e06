//! From a spec to a process: which file, which environment; with reasons a person can act on.

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::unix::fs::PermissionsExt,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::ExitStatus,
};

use nix::sys::signal::Signal;

use super::{exec, process::Launch, stray::Mark};
use crate::model::{AgentSpec, ContainerId, PlacementId, ReplicaId, Revision};

pub(super) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Who a process is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who {
    pub container: ContainerId,
    pub placement: PlacementId,
    pub replica: ReplicaId,
    pub epoch: Revision,
}

/// How to start an agent, not under a fence yet. Blocks.
///
/// # Errors
/// Why it can't be started, for a person to act on.
pub(super) fn launch(spec: &AgentSpec, who: Who, home: &Path) -> Result<Launch, String> {
    let dir = spec
        .working_dir
        .as_ref()
        .map_or_else(|| home.to_owned(), PathBuf::from);
    match fs::metadata(&dir) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => {
            return Err(format!(
                "the working directory {} is not a directory",
                dir.display()
            ));
        }
        Err(e) => return Err(format!("the working directory {}: {}", dir.display(), plain(&e))),
    }
    let env = environment(spec, who);
    let path = env
        .iter()
        .rev()
        .find(|(key, _)| key == "PATH")
        .map(|(_, v)| v.clone());
    Ok(Launch {
        program: find_program(&spec.command, &dir, &path.unwrap_or_default())?,
        args: spec.args.clone(),
        env,
        dir,
        mark: Mark::of_replica(who.container, who.replica),
        fence: None,
    })
}

/// The clean environment: `PATH`, then what the spec says, then who the agent is, which no spec can
/// change.
fn environment(spec: &AgentSpec, who: Who) -> Vec<(String, OsString)> {
    let path = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let mut all = vec![("PATH".to_owned(), path)];
    all.extend(spec.env.iter().map(|(k, v)| (k.clone(), v.into())));
    all.push(("QUORATE_AGENT".into(), spec.name.as_str().into()));
    let told = [
        ("QUORATE_AGENT_ID", who.replica.agent.to_string()),
        ("QUORATE_REPLICA", who.replica.ordinal.to_string()),
        ("QUORATE_PLACEMENT", who.placement.to_string()),
        ("QUORATE_EPOCH", who.epoch.to_string()),
        ("QUORATE_CONTAINER", who.container.to_string()),
    ];
    all.extend(told.map(|(key, value)| (key.to_owned(), value.into())));
    all
}

/// The file of a command: a path (relative ones from the working directory), or a name on `PATH`.
pub(super) fn find_program(command: &str, dir: &Path, path: &OsString) -> Result<PathBuf, String> {
    if command.contains('/') {
        let file = dir.join(command);
        return check_program(&file).map(|()| file);
    }
    let mut refused = None;
    for place in env::split_paths(path) {
        let file = dir.join(place).join(command);
        match check_program(&file) {
            Ok(()) => return Ok(file),
            Err(why) if file.exists() => refused = refused.or(Some(why)),
            Err(_) => {}
        }
    }
    Err(refused.unwrap_or_else(|| format!("no such program on PATH ({}): {command}", path.display())))
}

fn check_program(file: &Path) -> Result<(), String> {
    let found = fs::metadata(file).map_err(|e| format!("{}: {}", plain(&e), file.display()))?;
    if found.is_dir() {
        return Err(format!("a directory, not a program: {}", file.display()));
    }
    if found.permissions().mode() & 0o111 == 0 {
        return Err(format!("not executable (chmod +x it): {}", file.display()));
    }
    Ok(())
}

fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    }
}

/// How a process ended, in words; `last` is what it said last on standard error.
pub(super) fn ending(status: ExitStatus, last: Option<&str>) -> String {
    let mut words = match (status.code(), status.signal()) {
        (Some(exec::NOT_FOUND | exec::CANNOT_RUN), _)
            if last.is_some_and(|l| l.starts_with("cannot run ")) =>
        {
            return last.unwrap_or_default().to_owned();
        }
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(number)) => {
            let name =
                Signal::try_from(number).map_or_else(|_| format!("signal {number}"), |s| s.to_string());
            let hint = if number == Signal::SIGKILL as i32 {
                " (by hand, or out of memory)"
            } else {
                ""
            };
            format!("killed by {name}{hint}")
        }
        (None, None) => format!("ended: {status}"),
    };
    if let Some(last) = last.filter(|_| !status.success()) {
        words.push_str("; its last words: ");
        words.push_str(last);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AgentId;

    fn spec(command: &str) -> AgentSpec {
        serde_json::from_value(serde_json::json!({
            "name": "worker",
            "command": command,
            "args": ["-c", "true"],
            "env": {"MODE": "test", "QUORATE_EPOCH": "999"},
        }))
        .unwrap()
    }

    fn try_launch(spec: &AgentSpec, home: &Path) -> Result<Launch, String> {
        let who = Who {
            container: ContainerId(2),
            placement: PlacementId(3),
            replica: ReplicaId {
                agent: AgentId(1),
                ordinal: 1,
            },
            epoch: 7,
        };
        launch(spec, who, home)
    }

    #[test]
    fn the_environment_is_clean_and_the_identity_is_not_the_specs() {
        let home = tempfile::tempdir().unwrap();
        let launch = try_launch(&spec("sh"), home.path()).unwrap();
        assert!(launch.program.is_absolute() && launch.program.ends_with("sh"));
        assert_eq!(launch.dir, home.path());
        let last = |key: &str| {
            let all = launch.env.iter().rev();
            all.clone()
                .find(|(k, _)| k == key)
                .map(|(_, v)| v.to_str().unwrap().to_owned())
        };
        assert_eq!(last("MODE").as_deref(), Some("test"));
        assert_eq!(last("QUORATE_EPOCH").as_deref(), Some("7"));
        assert_eq!(last("QUORATE_AGENT").as_deref(), Some("worker"));
        assert_eq!(last("QUORATE_AGENT_ID"), Some(AgentId(1).to_string()));
        assert_eq!(last("QUORATE_REPLICA").as_deref(), Some("1"));
        assert_eq!(last("QUORATE_PLACEMENT"), Some(PlacementId(3).to_string()));
        assert_eq!(
            last("HOME"),
            None,
            "nothing of the runner's own environment but PATH"
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("data"), "x").unwrap();
        for (command, reason) in [
            ("/no/such/file", "no such file: /no/such/file"),
            ("no-such-program", "no such program on PATH"),
            ("./data", "not executable"),
            ("/tmp/", "a directory, not a program"),
        ] {
            let error = try_launch(&spec(command), home.path()).unwrap_err();
            assert!(error.contains(reason), "{command}: {error}");
        }
        let mut lost = spec("sh");
        lost.working_dir = Some("/no/such/dir".into());
        let error = try_launch(&lost, home.path()).unwrap_err();
        assert_eq!(error, "the working directory /no/such/dir: no such file");
    }

    #[test]
    fn endings_are_told_in_words() {
        let exited = |code: i32| ExitStatus::from_raw(code << 8);
        assert_eq!(ending(exited(0), Some("bye")), "exited with status 0");
        assert_eq!(ending(exited(3), None), "exited with status 3");
        assert_eq!(
            ending(exited(1), Some("no db")),
            "exited with status 1; its last words: no db"
        );
        assert_eq!(
            ending(exited(127), Some("cannot run /x: nope")),
            "cannot run /x: nope"
        );
        assert_eq!(
            ending(ExitStatus::from_raw(9), None),
            "killed by SIGKILL (by hand, or out of memory)"
        );
        assert_eq!(ending(ExitStatus::from_raw(15), None), "killed by SIGTERM");
    }
}

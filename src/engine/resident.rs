//! Whether a runner runs in a container already.
//!
//! A second one must not come: an engine that can't say which programs run there gets none brought in.

use bollard::models::{ContainerInspectResponse, ExecInspectResponse};

use super::inside::{Inside, InsideError};

/// Programs started by the engine that are looked at for a runner. One that was brought in is found among
/// the container's processes too.
const MOST_EXECS: usize = 64;

/// A runner that runs in the container: `Some(true)` for one that was brought in under `home`.
///
/// # Errors
/// [`InsideError`] when the engine does not say; a runner may be there or not.
pub(super) async fn runner_in(
    inside: &Inside,
    found: &ContainerInspectResponse,
    home: &str,
) -> Result<Option<bool>, InsideError> {
    for exec in found.exec_ids.iter().flatten().take(MOST_EXECS) {
        match inside.look(exec).await {
            Ok(told) if told.running == Some(true) && is_runner_start(&told) => return Ok(Some(true)),
            Ok(_) => {}
            // It has just ended.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    let lines = inside.processes().await?;
    let line = lines.iter().find(|line| is_runner(line.split_whitespace()));
    Ok(line.map(|line| line.contains(&format!("/{home}/"))))
}

fn is_runner_start(exec: &ExecInspectResponse) -> bool {
    let Some(process) = &exec.process_config else {
        return false;
    };
    let program = process.entrypoint.iter().map(String::as_str);
    let arguments = process.arguments.iter().flatten().map(String::as_str);
    is_runner(program.chain(arguments))
}

fn is_runner<'a>(mut words: impl Iterator<Item = &'a str>) -> bool {
    let program = words.next().and_then(|path| path.rsplit('/').next());
    let runner = program == Some("quorate") && words.next() == Some("runner");
    // One that is only tried out looks at its configuration, and may be left over.
    runner && words.all(|word| word != "--print-config")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runners_are_told_by_their_command_lines() {
        for (line, runs) in [
            ("/quorate runner --name a", true),
            ("quorate runner", true),
            ("/.quorate/quorate runner --name a --print-config", false),
            ("quorate manager", false),
            ("sh -c quorate runner", false),
            ("", false),
        ] {
            assert_eq!(is_runner(line.split_whitespace()), runs, "{line}");
        }
    }
}

//! Where in a container a program can be put so that it runs there.

use bollard::models::{ContainerInspectResponse, MountPointTypeEnum};

/// Places that are tried in one container.
const MOST_PLACES: usize = 8;

/// A directory that may take the binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub path: String,
    /// Only a program inside can write there: what the engine unpacks would not be seen.
    pub by_shell: bool,
    /// The volume that is mounted there.
    pub volume: Option<String>,
}

/// Where the binary may go, the best place first; none where nothing in it may be written.
pub(super) fn places(found: &ContainerInspectResponse) -> Vec<Place> {
    let host = found.host_config.clone().unwrap_or_default();
    if host.readonly_rootfs != Some(true) {
        let root = Place {
            path: "/".into(),
            by_shell: false,
            volume: None,
        };
        return vec![root];
    }
    let volumes = found.mounts.iter().flatten().filter(|mount| {
        // What is bound is somebody's own directory on the engine's machine.
        mount.typ == Some(MountPointTypeEnum::VOLUME) && mount.rw == Some(true)
    });
    let mut volumes: Vec<_> = volumes
        // Without its name nobody could say who else has it.
        .filter_map(|mount| mount.destination.clone().zip(mount.name.clone()))
        .map(|(path, volume)| Place {
            path,
            by_shell: false,
            volume: Some(volume),
        })
        .collect();
    // Without being asked engines mount it so that nothing in it can run.
    let runs = |options: &str| {
        let mut options = options.split(',');
        options.clone().any(|option| option == "exec") && options.all(|option| option != "ro")
    };
    let mut mounted: Vec<_> = host
        .tmpfs
        .unwrap_or_default()
        .into_iter()
        .filter(|(_, options)| runs(options))
        .map(|(path, _)| Place {
            path,
            by_shell: true,
            volume: None,
        })
        .collect();
    volumes.sort_by(|a, b| a.path.cmp(&b.path));
    mounted.sort_by(|a, b| a.path.cmp(&b.path));
    volumes.append(&mut mounted);
    volumes.truncate(MOST_PLACES);
    volumes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspected(json: serde_json::Value) -> ContainerInspectResponse {
        serde_json::from_value(json).unwrap()
    }

    fn paths(json: serde_json::Value) -> Vec<String> {
        let found = places(&inspected(json));
        found.into_iter().map(|place| place.path).collect()
    }

    #[test]
    fn a_read_only_root_leaves_volumes_and_what_may_run_in_memory() {
        let mount = |kind: &str, at: &str, rw| serde_json::json!({"Type": kind, "Name": at, "Destination": at, "RW": rw});
        assert_eq!(paths(serde_json::json!({})), ["/"]);
        let read_only = serde_json::json!({
            "HostConfig": {
                "ReadonlyRootfs": true,
                "Tmpfs": {"/t": "", "/run": "rw,exec", "/ro": "exec,ro"},
            },
            "Mounts": [
                mount("volume", "/v2", true), mount("volume", "/v1", true),
                mount("volume", "/v0", false), mount("bind", "/b", true),
            ],
        });
        assert_eq!(paths(read_only), ["/v1", "/v2", "/run"]);
        assert!(paths(serde_json::json!({"HostConfig": {"ReadonlyRootfs": true}})).is_empty());
    }
}

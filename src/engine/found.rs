//! From an engine's words to ours.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary, ContainerSummaryStateEnum,
    EndpointSettings, EventMessage, EventMessageTypeEnum, HealthStatusEnum,
};

use crate::model::{ContainerId, Found, FoundState, HealthStatus, Labels, Name, Networks};

/// The label of containers that are to be watched.
pub(super) const ENABLED: &str = "quorate.enable=true";

/// The events that are asked for.
pub(super) const EVENTS: [&str; 6] = ["start", "die", "pause", "unpause", "destroy", "health_status"];

/// The events of networks that are asked for.
pub(super) const NETWORK_EVENTS: [&str; 2] = ["connect", "disconnect"];

/// An engine's ids are 64 characters; what is much longer is none.
const MAX_ID: usize = 128;

/// What an event adds to the container's labels.
const NOT_LABELS: [&str; 6] = ["image", "name", "exitCode", "execDuration", "signal", "oldName"];

/// What an event means.
#[derive(Debug)]
pub(super) enum Meaning {
    /// The container is in this state now.
    Now(Found),
    /// The engine has to be asked about the container with this id.
    Ask(String),
    /// It was connected to a network, or disconnected from one; it may be none of ours.
    Moved(String),
}

/// What an event means; `None` when it is none of ours.
pub(super) fn of_event(event: EventMessage) -> Option<Meaning> {
    let of_network = event.typ == Some(EventMessageTypeEnum::NETWORK);
    let actor = event.actor?;
    if of_network {
        let mut told = actor.attributes?;
        return told
            .remove("container")
            .filter(|id| is_id(id))
            .map(Meaning::Moved);
    }
    let container = actor.id.filter(|id| is_id(id))?;
    let told = actor.attributes.unwrap_or_default();
    if !is_enabled(&told) {
        return None;
    }
    let action = event.action?;
    let (state, detail) = match action.as_str() {
        "die" => {
            let code = told.get("exitCode").map_or("?", String::as_str);
            (FoundState::Dead, format!("exited ({code})"))
        }
        "destroy" => (FoundState::Dead, "removed".to_owned()),
        "pause" => (FoundState::Paused, "paused".to_owned()),
        "start" | "unpause" => return Some(Meaning::Ask(container)),
        action if action.starts_with("health_status") => return Some(Meaning::Ask(container)),
        _ => return None,
    };
    let name = told.get("name").cloned().unwrap_or_default();
    let image = told.get("image").cloned().unwrap_or_default();
    let labels = told
        .into_iter()
        .filter(|(key, _)| !NOT_LABELS.contains(&key.as_str()))
        .collect();
    Some(Meaning::Now(found(
        container, &name, image, labels, state, detail,
    )))
}

/// A container of a list; `None` when it is none of ours.
pub(super) fn of_summary(summary: ContainerSummary) -> Option<Found> {
    use ContainerSummaryStateEnum::{PAUSED, RUNNING};
    let container = summary.id.filter(|id| is_id(id))?;
    let labels = summary.labels.filter(is_enabled)?;
    let (state, words) = match summary.state? {
        ContainerSummaryStateEnum::EMPTY => return None,
        RUNNING => (FoundState::Running, RUNNING.to_string()),
        PAUSED => (FoundState::Paused, PAUSED.to_string()),
        other => (FoundState::Dead, other.to_string()),
    };
    let name = summary
        .names
        .and_then(|names| names.into_iter().next())
        .unwrap_or_default();
    let detail = summary
        .status
        .filter(|status| !status.is_empty())
        .unwrap_or(words);
    let image = summary.image.unwrap_or_default();
    let networks = summary.network_settings.and_then(|settings| settings.networks);
    // A paused container's words leave its health out.
    let health = (state == FoundState::Running).then(|| health_in(&detail));
    let found = found(container, &name, image, labels, state, detail);
    Some(Found {
        networks: found.networks.or(networks.map(names)),
        health: found.health.or(health),
        ..found
    })
}

/// An inspected container; `None` when it is none of ours.
pub(super) fn of_inspection(inspection: ContainerInspectResponse) -> Option<Found> {
    use ContainerStateStatusEnum::{PAUSED, RUNNING};
    let container = inspection.id.filter(|id| is_id(id))?;
    let config = inspection.config?;
    let labels = config.labels.filter(is_enabled)?;
    let told = inspection.state?;
    let status = told.status?;
    let state = match status {
        ContainerStateStatusEnum::EMPTY => return None,
        RUNNING => FoundState::Running,
        PAUSED => FoundState::Paused,
        _ => FoundState::Dead,
    };
    use HealthStatusEnum::{HEALTHY, STARTING, UNHEALTHY};
    let (health, detail) = match told.health.and_then(|health| health.status) {
        Some(told @ STARTING) => (HealthStatus::Starting, format!("{status} ({told})")),
        Some(told @ HEALTHY) => (HealthStatus::Healthy, format!("{status} ({told})")),
        Some(told @ UNHEALTHY) => (HealthStatus::Unhealthy, format!("{status} ({told})")),
        _ => (HealthStatus::Unchecked, status.to_string()),
    };
    let name = inspection.name.unwrap_or_default();
    let image = config.image.unwrap_or_default();
    let networks = inspection.network_settings.and_then(|settings| settings.networks);
    let found = found(container, &name, image, labels, state, detail);
    Some(Found {
        networks: found.networks.or(networks.map(names)),
        health: found.health.or(Some(health)),
        ..found
    })
}

/// The health in a list's words, such as `Up 2 minutes (unhealthy)`.
fn health_in(words: &str) -> HealthStatus {
    match words.rsplit_once('(').map(|(_, end)| end) {
        Some("healthy)") => HealthStatus::Healthy,
        Some("unhealthy)") => HealthStatus::Unhealthy,
        Some("health: starting)") => HealthStatus::Starting,
        _ => HealthStatus::Unchecked,
    }
}

fn names(networks: HashMap<String, EndpointSettings>) -> Networks {
    Networks::lenient(networks.into_keys())
}

/// A container without what only lists and inspections tell. The dead have no health, and are on no network.
fn found(
    container: String,
    name: &str,
    image: String,
    labels: HashMap<String, String>,
    state: FoundState,
    detail: String,
) -> Found {
    let name = fitting(name, &container);
    // In an order, so that what goes over the bound is the same each time.
    let labels: BTreeMap<_, _> = labels.into_iter().collect();
    Found {
        id: ContainerId(rand::random()),
        container,
        name,
        image,
        labels: Labels::lenient(labels),
        networks: (state == FoundState::Dead).then(Networks::default),
        health: (state == FoundState::Dead).then_some(HealthStatus::Unchecked),
        state,
        detail,
    }
}

fn is_id(id: &str) -> bool {
    (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Whether the engine kept to the filter; some ignore what they don't know.
fn is_enabled(labels: &HashMap<String, String>) -> bool {
    let wanted = ENABLED.split_once('=');
    wanted.is_some_and(|(key, value)| labels.get(key).is_some_and(|found| found == value))
}

/// An engine's name for a container made to fit our rule for names.
fn fitting(theirs: &str, container: &str) -> Name {
    let kept: String = theirs
        .trim_start_matches('/')
        .chars()
        .map(|c| match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9' | '.' | '_' | '-') => c,
            _ => '-',
        })
        .take(63)
        .collect();
    let edges = |c: char| !c.is_ascii_alphanumeric();
    let short: String = container.chars().take(12).collect();
    kept.trim_matches(edges).parse().unwrap_or_else(|_| {
        let instead = format!("container-{}", short.to_ascii_lowercase());
        // Letters, digits and a dash, of which the last is a letter or a digit: see `is_id`.
        instead.parse().expect("an id makes a name")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(action: &str, labels: &[(&str, &str)]) -> Option<Meaning> {
        let attributes: HashMap<_, _> = labels.iter().copied().collect();
        let json = serde_json::json!({
            "Type": "container", "Action": action,
            "Actor": {"ID": "ab12", "Attributes": attributes},
        });
        of_event(serde_json::from_value(json).unwrap())
    }

    #[test]
    fn names_are_made_to_fit() {
        for (theirs, ours) in [
            ("/web_1", "web_1"),
            ("/Web.A", "web.a"),
            ("/_x_", "x"),
            ("/héllo wörld", "h-llo-w-rld"),
            ("/", "container-ab12"),
            ("", "container-ab12"),
        ] {
            assert_eq!(fitting(theirs, "ab12").as_str(), ours, "{theirs}");
        }
        assert_eq!(fitting(&"x".repeat(200), "ab12").len(), 63);
        assert_eq!(fitting(&format!("{}-y", "x".repeat(62)), "ab12").len(), 62);
    }

    #[test]
    fn a_death_is_told_by_the_event_alone() {
        let ours = [
            ("quorate.enable", "true"),
            ("exitCode", "137"),
            ("name", "Web"),
            ("zone", "a"),
        ];
        let Some(Meaning::Now(found)) = event("die", &ours) else {
            panic!()
        };
        assert_eq!(found.state, FoundState::Dead);
        assert_eq!(
            (found.detail.as_str(), found.name.as_str()),
            ("exited (137)", "web")
        );
        let labels: Vec<_> = found.labels.iter().collect();
        assert_eq!(labels, [("quorate.enable", "true"), ("zone", "a")]);
        assert!(matches!(event("start", &ours), Some(Meaning::Ask(id)) if id == "ab12"));
        assert!(matches!(
            event("health_status: healthy", &ours),
            Some(Meaning::Ask(_))
        ));
        assert!(event("exec_create: sh", &ours).is_none());
    }

    #[test]
    fn what_is_not_labelled_is_not_ours() {
        assert!(event("die", &[]).is_none());
        assert!(event("die", &[("quorate.enable", "false")]).is_none());
    }

    #[test]
    fn a_network_tells_which_container_moved() {
        let event = |container: &str| {
            let json = serde_json::json!({
                "Type": "network", "Action": "connect",
                "Actor": {"ID": "ff00", "Attributes": {"container": container, "name": "inner", "type": "bridge"}},
            });
            of_event(serde_json::from_value(json).unwrap())
        };
        assert!(matches!(event("ab12"), Some(Meaning::Moved(id)) if id == "ab12"));
        assert!(event("../x").is_none() && event("").is_none());
    }

    #[test]
    fn a_list_tells_networks_and_health_of_the_living() {
        let told = |state: &str, status: &str| {
            let json = serde_json::json!({
                "Id": "ab12", "Names": ["/w"], "State": state, "Status": status,
                "Labels": {"quorate.enable": "true"},
                "NetworkSettings": {"Networks": {"b": {}, "a": {}}},
            });
            let found = of_summary(serde_json::from_value(json).unwrap()).unwrap();
            let networks = found
                .networks
                .map(|networks| networks.iter().collect::<Vec<_>>().join(","));
            (networks.unwrap(), found.health)
        };
        for (status, health) in [
            ("Up 3 minutes", HealthStatus::Unchecked),
            ("Up 3 seconds (health: starting)", HealthStatus::Starting),
            ("Up 3 minutes (healthy)", HealthStatus::Healthy),
            ("Up 3 minutes (unhealthy)", HealthStatus::Unhealthy),
        ] {
            assert_eq!(told("running", status), ("a,b".into(), Some(health)), "{status}");
        }
        assert_eq!(told("paused", "Up 3 minutes (Paused)"), ("a,b".into(), None));
        let dead = ("".into(), Some(HealthStatus::Unchecked));
        assert_eq!(told("exited", "Exited (0) 3 minutes ago"), dead);
    }

    #[test]
    fn a_list_tells_who_runs() {
        for (state, expected) in [
            ("running", Some(FoundState::Running)),
            ("paused", Some(FoundState::Paused)),
            ("exited", Some(FoundState::Dead)),
            ("created", Some(FoundState::Dead)),
            ("", None),
        ] {
            let json = serde_json::json!({
                "Id": "ab12", "Names": ["/w"], "State": state, "Labels": {"quorate.enable": "true"},
            });
            let found = of_summary(serde_json::from_value(json).unwrap());
            assert_eq!(found.map(|f| f.state), expected, "{state:?}");
        }
    }
}

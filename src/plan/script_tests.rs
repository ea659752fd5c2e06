//! Scripts: what a cluster is asked, line by line, and what became of it, as people read it.
//!
//! `scripts/*.script` holds them. A line that begins with `> ` is a command; what stands below it, indented, is
//! what the state or the plan answered. `UPDATE_SCRIPTS=1` writes what is answered now over it: read the
//! difference before you keep it. [`Play::command`] lists the commands.

use std::{
    fmt::{Display, Write as _},
    fs,
    path::Path,
};

use super::{explain, place};
use crate::{
    command::{AgentCommand, Binding, Command, Condition, ContainerCommand, Outcome},
    model::{
        Agent, AgentId, Capabilities, Container, ContainerId, ContainerState, Desired, DisconnectPolicy,
        EventId, Labels, ReplicaId, Resources, session::PlacementReport,
    },
    state::bench::{StateBench, spec},
};

const UPDATE: &str = "UPDATE_SCRIPTS";

/// What a script has brought about so far.
#[derive(Default)]
struct Play {
    bench: StateBench,
    /// The last plan, which is proposed later.
    planned: Vec<Binding>,
    /// What was answered to the command under way.
    answer: String,
}

/// The words of a line: `key=value` pairs, and the others.
struct Words<'a> {
    plain: Vec<&'a str>,
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    fn of(line: &'a str) -> Self {
        let (pairs, plain): (Vec<_>, Vec<_>) = line
            .split_whitespace()
            .map(|word| (word, word.split_once('=')))
            .partition(|(_, pair)| pair.is_some());
        Self {
            plain: plain.into_iter().map(|(word, _)| word).collect(),
            pairs: pairs.into_iter().filter_map(|(_, pair)| pair).collect(),
        }
    }

    /// Takes the value of `key` out.
    fn take(&mut self, key: &str) -> Option<&'a str> {
        let at = self.pairs.iter().position(|(known, _)| *known == key)?;
        Some(self.pairs.remove(at).1)
    }

    fn number(&mut self, key: &str) -> Option<u64> {
        self.take(key).map(|value| value.parse().unwrap())
    }

    fn resources(&mut self) -> Resources {
        Resources {
            cpu_millis: self.number("cpu").unwrap_or(0),
            memory_bytes: self.number("mib").unwrap_or(0) << 20,
        }
    }
}

impl Play {
    /// Carries one line out.
    fn command(&mut self, line: &str) -> String {
        let mut words = Words::of(line);
        let verb = words.plain.remove(0);
        let name = words.plain.first().copied().unwrap_or_default();
        let rest = || words.plain.iter().skip(1).copied().collect::<Vec<_>>().join(" ");
        match verb {
            // container NAME [cpu=MILLIS] [mib=N] [LABEL=VALUE…]: its runner connects for the first time.
            "container" => self.container(name, words),
            // runner NAME: its runner starts anew.
            "runner" => self.connect(&self.found(name), None),
            // suspect | lost | fenced | back NAME: what the leader says of its silence.
            "suspect" => self.judge(name, ContainerState::Suspect, false),
            "lost" => self.judge(name, ContainerState::Lost, false),
            "fenced" => self.judge(name, ContainerState::Lost, true),
            "back" => self.judge(name, ContainerState::Ready, false),
            // leaves NAME: its runner says goodbye.
            "leaves" => {
                let Container { id, boot, .. } = self.found(name);
                self.container_command(ContainerCommand::Leave { id, boot });
            }
            // cordon NAME [REASON…], uncordon NAME, remove NAME
            "cordon" => {
                let (id, reason) = (self.found(name).id, rest());
                let condition = Condition::Any;
                self.container_command(ContainerCommand::Cordon {
                    id,
                    reason,
                    condition,
                });
            }
            "uncordon" => {
                let (id, condition) = (self.found(name).id, Condition::Any);
                self.container_command(ContainerCommand::Uncordon { id, condition });
            }
            "remove" => {
                let (id, condition) = (self.found(name).id, Condition::Any);
                self.container_command(ContainerCommand::Remove { id, condition });
            }
            // agent NAME [cpu=MILLIS] [mib=N] [constraints=SELECTOR] [strategy=WORD] [at_least_once]
            "agent" => self.deploy(name, words),
            // start | stop | delete NAME
            "start" => self.desire(name, Desired::Running),
            "stop" => self.desire(name, Desired::Stopped),
            "delete" => self.desire(name, Desired::Removed),
            // report NAME STATE [from=CONTAINER] [epoch=N]: by the runner that has it unless said otherwise.
            "report" => self.report(name, words),
            // plan: what should be done. propose: the last plan, however old.
            "plan" => self.plan(),
            "propose" => {
                let bindings = std::mem::take(&mut self.planned);
                self.apply(Command::Agent(AgentCommand::Place(bindings)));
            }
            // explain NAME: what is said of each container.
            "explain" => self.explain(name),
            // show: all containers and agents.
            "show" => self.show(),
            _ => panic!("there is no command `{verb}`"),
        }
        std::mem::take(&mut self.answer)
    }

    fn say(&mut self, what: impl Display) {
        writeln!(self.answer, "  {what}").unwrap();
    }

    /// Applies a command and tells what became of it.
    fn apply(&mut self, command: Command) {
        let before = EventId::end_of(self.bench.revision);
        let reply = self.bench.reply(None, command);
        let at = reply.revision;
        let events = self.bench.state.events(Some(before)).unwrap();
        match reply.result {
            Err(why) => self.say(format_args!("{at}: refused: {why}")),
            Ok(Outcome::Placed { made, refused }) => {
                self.say(format_args!("{at}: {made} placed, {refused} refused"));
            }
            Ok(_) if events.is_empty() => self.say(format_args!("{at}: done")),
            Ok(_) => {}
        }
        for event in events {
            let (kind, name) = (event.subject.kind(), event.name.as_ref().unwrap());
            let what = word(&event.what);
            self.say(format_args!("{at}: {kind} {name} is {what}: {}", event.reason));
        }
    }

    fn container_command(&mut self, command: ContainerCommand) {
        self.apply(Command::Container(command));
    }

    fn found(&self, name: &str) -> Container {
        let found = self.bench.state.find_container(name);
        (**found.unwrap_or_else(|| panic!("there is no container `{name}`"))).clone()
    }

    fn agent(&self, name: &str) -> Agent {
        let found = self.bench.state.find_agent(name);
        (**found.unwrap_or_else(|| panic!("there is no agent `{name}`"))).clone()
    }

    fn container(&mut self, name: &str, mut words: Words<'_>) {
        let resources = words.resources();
        let id = ContainerId(self.bench.revision + 1);
        let labels = words
            .pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        self.container_command(ContainerCommand::Register {
            id,
            name: name.parse().unwrap(),
            labels: Labels::lenient(labels),
        });
        self.connect(&self.found(name), Some(resources));
    }

    fn connect(&mut self, known: &Container, resources: Option<Resources>) {
        self.container_command(ContainerCommand::Connect {
            id: known.id,
            boot: known.boot + 1,
            manager: 1,
            address: "10.0.0.1:1".into(),
            engine_container: None,
            labels: known.labels.clone(),
            capabilities: Capabilities::default(),
            resources: resources.unwrap_or(known.resources),
        });
    }

    fn judge(&mut self, name: &str, state: ContainerState, fenced: bool) {
        let Container { id, version, .. } = self.found(name);
        let reason = match (state, fenced) {
            (ContainerState::Ready, _) => "heartbeats arrive",
            (_, true) => "its runner has stopped its agents by its own clock",
            (_, false) => "no heartbeat",
        };
        self.container_command(ContainerCommand::Judge {
            id,
            version,
            term: self.bench.state.term(),
            state,
            fenced,
            reason: reason.into(),
        });
    }

    fn deploy(&mut self, name: &str, mut words: Words<'_>) {
        let mut spec = spec(name);
        spec.resources = words.resources();
        spec.constraints = words.take("constraints").unwrap_or_default().parse().unwrap();
        let strategy = words.take("strategy").unwrap_or("least_loaded");
        spec.strategy = serde_json::from_value(strategy.into()).unwrap();
        if words.plain.contains(&"at_least_once") {
            spec.on_disconnect = DisconnectPolicy::AtLeastOnce;
        }
        let id = AgentId(self.bench.revision + 1);
        self.apply(Command::Agent(AgentCommand::Deploy {
            id,
            spec: spec.into(),
        }));
    }

    fn desire(&mut self, name: &str, desired: Desired) {
        let (id, condition) = (self.agent(name).id, Condition::Any);
        self.apply(Command::Agent(AgentCommand::SetDesired {
            id,
            desired,
            condition,
        }));
    }

    fn report(&mut self, name: &str, mut words: Words<'_>) {
        let now = self.bench.agent(self.agent(name).id.0);
        let (container, boot) = match words.take("from") {
            Some(other) => (self.found(other).id, self.found(other).boot),
            None => {
                let id = now.container.unwrap();
                (id, self.bench.state.container(id).unwrap().boot)
            }
        };
        let state = serde_json::from_value(words.plain[1].into()).unwrap();
        let report = PlacementReport {
            epoch: words.number("epoch").unwrap_or(now.epoch),
            reason: "its runner says so".into(),
            ..self.bench.seen(self.agent(name).id.0, state)
        };
        self.apply(Command::Agent(AgentCommand::Report {
            container,
            boot,
            reports: vec![report],
        }));
    }

    fn plan(&mut self) {
        let plan = place(&self.bench.state, 1_000);
        for binding in &plan.bindings {
            let agent = self.agent_of(binding.replica);
            let container = self.name_of(binding.container);
            self.say(format_args!("{agent} to {container}"));
        }
        for waiting in &plan.waiting {
            let agent = self.agent_of(waiting.replica);
            self.say(format_args!("{agent} waits: {}", waiting.reason));
        }
        if plan.bindings.is_empty() && plan.waiting.is_empty() {
            self.say("nothing to do");
        }
        self.planned = plan.bindings;
    }

    fn explain(&mut self, name: &str) {
        let agent = self.agent(name);
        let state = self.bench.state.clone();
        for (id, verdict) in explain(&state, &agent) {
            let container = self.name_of(id);
            self.say(format_args!("{container}: {verdict}"));
        }
    }

    fn show(&mut self) {
        let state = self.bench.state.clone();
        for container in state.containers(None) {
            let used = state.placed(container.id).map(|placed| placed.used);
            let used = used.unwrap_or_default();
            let (name, is) = (&container.name, word(&container.state));
            let of = container.resources;
            self.say(format_args!("container {name} is {is}: {used} of {of} in use"));
        }
        for agent in state.agents(None) {
            let now = self.bench.agent(agent.id.0);
            let (name, is, reason) = (&agent.spec.name, word(&now.state), &now.reason);
            let place = match now.container {
                Some(id) => format!(" in {} by epoch {}", self.name_of(id), now.epoch),
                None => String::new(),
            };
            self.say(format_args!("agent {name} is {is}{place}: {reason}"));
        }
    }

    fn agent_of(&self, replica: ReplicaId) -> String {
        self.bench
            .state
            .agent(replica.agent)
            .unwrap()
            .spec
            .name
            .to_string()
    }

    fn name_of(&self, id: ContainerId) -> String {
        self.bench.state.container(id).unwrap().name.to_string()
    }
}

/// A state or an event as data has it.
fn word(what: &impl serde::Serialize) -> String {
    serde_json::json!(what).as_str().unwrap().to_owned()
}

/// The script with what is answered now.
fn played(text: &str) -> String {
    let (mut play, mut now) = (Play::default(), String::new());
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            writeln!(now, "{line}").unwrap();
            now += &play.command(command);
        } else if !line.starts_with("  ") {
            writeln!(now, "{line}").unwrap();
        }
    }
    now
}

#[test]
fn scripts_are_answered_as_they_say() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plan/scripts");
    let mut paths: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 5, "scripts were not found: {paths:?}");
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let now = played(&text);
        if std::env::var_os(UPDATE).is_some() {
            fs::write(&path, &now).unwrap();
            continue;
        }
        let name = path.display();
        for (n, (expected, line)) in (1..).zip(text.lines().zip(now.lines())) {
            assert_eq!(
                expected, line,
                "{name}:{n}; {UPDATE}=1 writes what is answered now"
            );
        }
        assert_eq!(
            text.lines().count(),
            now.lines().count(),
            "{name}; {UPDATE}=1 writes what is answered now"
        );
    }
}

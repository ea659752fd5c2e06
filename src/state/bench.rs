//! States for tests, made by commands as in life.

use super::State;
use crate::{
    command::{
        AgentCommand, Binding, ClusterCommand, Command, Condition, ContainerCommand, EngineCommand, Outcome,
        Proposal, Rejection, Reply, RequestKey,
    },
    model::{
        AgentId, AgentSpec, AgentState, Assessment, Capabilities, Container, ContainerId, ContainerState,
        Desired, EngineId, Found, FoundState, Generation, HealthStatus, JoinRole, JoinToken, JoinTokenId,
        Labels, Millis, PlacementId, ReplicaId, Resources, Revision, Strategy, session::PlacementReport,
    },
};

/// The term of all entries.
pub(crate) const TERM: u64 = 5;
/// The join token that [`StateBench::new`] makes.
pub(crate) const TOKEN: JoinTokenId = JoinTokenId(1);

/// A state and short ways to change it; checked after each entry.
#[derive(Default)]
pub(crate) struct StateBench {
    pub state: State,
    pub revision: Revision,
    /// For measurements: a check walks over the whole state.
    pub unchecked: bool,
}

pub(crate) type Result<T = Outcome> = std::result::Result<T, Rejection>;

impl StateBench {
    /// With a join token.
    pub(crate) fn new() -> Self {
        let mut bench = Self::default();
        let token = JoinToken {
            id: TOKEN,
            role: JoinRole::Runner,
            hash: [0; 32],
            expires_at: None,
            uses_left: None,
            version: 0,
        };
        bench
            .apply(Command::Cluster(ClusterCommand::CreateJoinToken(token)))
            .unwrap();
        bench
    }

    pub(crate) fn reply(&mut self, key: Option<RequestKey>, command: Command) -> Reply {
        self.revision += 1;
        let proposal = Proposal {
            at: Millis(self.revision),
            by: crate::command::Principal::Manager,
            key,
            command,
        };
        let reply = self.state.apply(self.revision, TERM, &proposal);
        if !self.unchecked {
            self.state.check().unwrap();
        }
        reply
    }

    pub(crate) fn apply(&mut self, command: Command) -> Result {
        self.reply(None, command).result
    }

    pub(crate) fn container_command(&mut self, command: ContainerCommand) -> Result {
        self.apply(Command::Container(command))
    }

    pub(crate) fn enroll(&mut self, id: u64, name: &str, theirs: Option<&str>) -> Result {
        self.container_command(ContainerCommand::Enroll {
            id: ContainerId(id),
            token: TOKEN,
            name: name.parse().unwrap(),
            engine_container: theirs.map(str::to_owned),
        })
    }

    pub(crate) fn register(&mut self, id: u64, name: &str) -> Result {
        self.container_command(ContainerCommand::Register {
            id: ContainerId(id),
            name: name.parse().unwrap(),
            labels: Labels::default(),
        })
    }

    pub(crate) fn connect(&mut self, id: u64, boot: u64, theirs: Option<&str>) -> Result {
        let resources = Resources {
            cpu_millis: 1_000,
            memory_bytes: 0,
        };
        self.connect_with(id, boot, theirs, resources)
    }

    pub(crate) fn connect_with(
        &mut self,
        id: u64,
        boot: u64,
        theirs: Option<&str>,
        resources: Resources,
    ) -> Result {
        self.apply(connect(id, boot, theirs, resources))
    }

    /// A container that enrolled and connected as `c<id>`.
    pub(crate) fn ready(&mut self, id: u64) {
        self.enroll(id, &format!("c{id}"), None).unwrap();
        self.connect(id, 1, None).unwrap();
    }

    /// Containers 1 to `count`, each with a session of start 1 and without bounds of its resources.
    pub(crate) fn with_containers(count: u64) -> Self {
        let mut bench = Self::default();
        for n in 1..=count {
            bench.ready_with(n, "", 0);
        }
        bench
    }

    /// A ready container `c<n>` with labels such as `zone=a,gpu=yes`.
    pub(crate) fn ready_with(&mut self, n: u64, labels: &str, cpu_millis: u64) {
        let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
        let labels = Labels::lenient(pairs.map(|(k, v)| (k.to_owned(), v.to_owned())));
        self.container_command(ContainerCommand::Register {
            id: ContainerId(n),
            name: format!("c{n}").parse().unwrap(),
            labels,
        })
        .unwrap();
        let resources = Resources {
            cpu_millis,
            memory_bytes: 1 << 30,
        };
        self.connect_with(n, 1, None, resources).unwrap();
    }

    pub(crate) fn remove(&mut self, id: u64) -> Result {
        let (id, condition) = (ContainerId(id), Condition::Any);
        self.container_command(ContainerCommand::Remove { id, condition })
    }

    /// What an engine says of the container `c<n>`, in which it is from now on.
    pub(crate) fn observe_known(&mut self, n: u64, state: FoundState, health: Option<HealthStatus>) {
        // Again and again: the first time counts.
        let _ = self.engine(1);
        let known = self.container(n).clone();
        let theirs = format!("ab{n}");
        self.connect_with(n, known.boot, Some(&theirs), known.resources)
            .unwrap();
        let found = Found {
            id: ContainerId(0xf000),
            health,
            ..found(&theirs, &known.name, state)
        };
        self.observe_as_of(0, 1, found).unwrap();
    }

    /// An agent `a<n>` that waits.
    pub(crate) fn waiting(&mut self, n: u64, constraints: &str, cpu_millis: u64) {
        self.waiting_by(n, Strategy::default(), constraints, cpu_millis);
    }

    /// One whose container is chosen by another strategy.
    pub(crate) fn waiting_by(&mut self, n: u64, strategy: Strategy, constraints: &str, cpu_millis: u64) {
        self.deploy(n, |spec| {
            spec.strategy = strategy;
            spec.constraints = constraints.parse().unwrap();
            spec.resources.cpu_millis = cpu_millis;
        })
        .unwrap();
    }

    pub(crate) fn assess(&mut self, id: u64, boot: u64, assessment: Assessment) -> Result {
        let id = ContainerId(id);
        self.container_command(ContainerCommand::Assess { id, boot, assessment })
    }

    pub(crate) fn judge(&mut self, id: u64, state: ContainerState, fenced: bool) -> Result {
        let version = self.container(id).version;
        self.judge_as(id, version, TERM, state, fenced)
    }

    pub(crate) fn judge_as(
        &mut self,
        id: u64,
        version: Revision,
        term: u64,
        state: ContainerState,
        fenced: bool,
    ) -> Result {
        self.container_command(ContainerCommand::Judge {
            id: ContainerId(id),
            version,
            term,
            state,
            fenced,
            reason: "silent".into(),
        })
    }

    pub(crate) fn engine(&mut self, id: u64) -> Result {
        self.apply(Command::Engine(EngineCommand::Add {
            id: EngineId(id),
            name: format!("e{id}").parse().unwrap(),
            url: format!("tcp://10.0.0.{id}:1").parse().unwrap(),
        }))
    }

    pub(crate) fn observe(&mut self, engine: u64, theirs: &str, state: FoundState) -> Result {
        let as_of = self.revision;
        self.observe_as_of(as_of, engine, found(theirs, theirs, state))
    }

    pub(crate) fn observe_as_of(&mut self, as_of: Revision, engine: u64, found: Found) -> Result {
        self.container_command(ContainerCommand::Observe {
            engine: EngineId(engine),
            as_of,
            found: vec![found],
        })
    }

    pub(crate) fn deploy(&mut self, id: u64, change: impl FnOnce(&mut AgentSpec)) -> Result {
        let mut spec = spec(&format!("a{id}"));
        change(&mut spec);
        self.apply(Command::Agent(AgentCommand::Deploy {
            id: AgentId(id),
            spec: spec.into(),
        }))
    }

    pub(crate) fn place(&mut self, agent: u64, container: u64) -> bool {
        let binding = self.binding(agent, container);
        self.bind(binding)
    }

    pub(crate) fn bind(&mut self, binding: Binding) -> bool {
        let placed = self.apply(Command::Agent(AgentCommand::Place(vec![binding])));
        matches!(placed, Ok(Outcome::Placed { made: 1, .. }))
    }

    /// What a plan on the state as it is would say.
    pub(crate) fn binding(&self, agent: u64, container: u64) -> Binding {
        let now = self.agent(agent);
        Binding {
            replica: replica(agent),
            after: now.epoch,
            generation: now.generation,
            container: ContainerId(container),
        }
    }

    /// The runner of a container reports of the agent's placement of now.
    pub(crate) fn report(&mut self, container: u64, agent: u64, state: AgentState) -> Result {
        let report = self.seen(agent, state);
        self.say(container, self.container(container).boot, report)
    }

    /// Reports under another epoch, or of another start, than those of now.
    pub(crate) fn report_as(
        &mut self,
        container: u64,
        boot: u64,
        agent: u64,
        epoch: Revision,
        state: AgentState,
    ) -> Result {
        let report = PlacementReport {
            epoch,
            ..self.seen(agent, state)
        };
        self.say(container, boot, report)
    }

    /// What the runner that has an agent would report of it.
    pub(crate) fn seen(&self, agent: u64, state: AgentState) -> PlacementReport {
        let now = self.agent(agent);
        PlacementReport {
            placement: now.placement.unwrap_or_default(),
            replica: replica(agent),
            epoch: now.epoch,
            generation: now.generation,
            state,
            reason: "seen".into(),
            restarts: 0,
        }
    }

    pub(crate) fn say(&mut self, container: u64, boot: u64, report: PlacementReport) -> Result {
        self.apply(Command::Agent(AgentCommand::Report {
            container: ContainerId(container),
            boot,
            reports: vec![report],
        }))
    }

    pub(crate) fn desire(&mut self, agent: u64, desired: Desired) -> Result {
        self.apply(Command::Agent(AgentCommand::SetDesired {
            id: AgentId(agent),
            desired,
            condition: Condition::Any,
        }))
    }

    /// An agent of one replica, as it is now.
    pub(crate) fn agent(&self, id: u64) -> AgentNow {
        let agent = self.state.agent(AgentId(id)).expect("no such agent");
        let status = self.state.replica(replica(id)).expect("no replica");
        AgentNow {
            desired: agent.desired,
            version: agent.version,
            generation: agent.generation,
            state: status.state,
            reason: status.reason.to_string(),
            placement: status.active.as_ref().map(|placement| placement.id),
            container: status.container(),
            epoch: status.epoch,
        }
    }

    pub(crate) fn container(&self, id: u64) -> &Container {
        self.state.container(ContainerId(id)).expect("no such container")
    }

    pub(crate) fn named(&self, name: &str) -> &Container {
        self.state
            .find_container(name)
            .expect("no container of this name")
    }
}

/// An agent of one replica, with where that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AgentNow {
    pub desired: Desired,
    pub version: Revision,
    pub generation: Generation,
    pub state: AgentState,
    pub reason: String,
    pub placement: Option<PlacementId>,
    pub container: Option<ContainerId>,
    pub epoch: Revision,
}

/// An agent's first replica.
pub(crate) fn replica(agent: u64) -> ReplicaId {
    ReplicaId {
        agent: AgentId(agent),
        ordinal: 1,
    }
}

/// What an engine tells of one container.
pub(crate) fn found(theirs: &str, name: &str, state: FoundState) -> Found {
    Found {
        id: ContainerId(0xf000 + theirs.bytes().map(u64::from).sum::<u64>()),
        container: theirs.into(),
        name: name.parse().unwrap(),
        image: "image".into(),
        labels: Labels::default(),
        networks: None,
        health: None,
        state,
        detail: "exited (137)".into(),
    }
}

/// A runner opens a session.
pub(crate) fn connect(id: u64, boot: u64, theirs: Option<&str>, resources: Resources) -> Command {
    Command::Container(ContainerCommand::Connect {
        id: ContainerId(id),
        boot,
        manager: 1,
        address: "10.0.0.1:1".into(),
        engine_container: theirs.map(str::to_owned),
        labels: Labels::default(),
        capabilities: Capabilities::default(),
        resources,
    })
}

/// What is needed at least, and no more.
pub(crate) fn spec(name: &str) -> AgentSpec {
    serde_json::from_value(serde_json::json!({"name": name, "command": "/bin/true"})).unwrap()
}

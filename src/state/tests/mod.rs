//! The state by its commands: what each may and may not do, and that any sequence of them keeps
//! the invariants.

mod adopt;
mod agents;
mod breaker;
mod changes;
mod codec;
mod commands;
mod containers;
mod discovery;
mod engines;
mod events;
mod managers;
mod property;
mod replay;
mod requests;

use super::State;
use crate::{
    command::{
        AgentCommand, Command, Condition, ContainerCommand, EngineCommand, Outcome, Placement, Proposal,
        Rejection, Reply, RequestKey,
    },
    model::{
        Agent, AgentId, AgentSpec, AgentState, Assessment, Capabilities, Container, ContainerId,
        ContainerState, EngineId, Found, FoundState, JoinRole, JoinToken, JoinTokenId, Labels, Millis,
        Resources, Revision, session::AgentReport,
    },
};

const TERM: u64 = 5;
const TOKEN: JoinTokenId = JoinTokenId(1);

/// A state with one join token, and short ways to change it; checked after each entry.
struct Bench {
    state: State,
    revision: Revision,
}

type Result<T = Outcome> = std::result::Result<T, Rejection>;

impl Bench {
    fn new() -> Self {
        let mut bench = Self {
            state: State::default(),
            revision: 0,
        };
        let token = JoinToken {
            id: TOKEN,
            role: JoinRole::Runner,
            hash: [0; 32],
            expires_at: None,
            uses_left: None,
            version: 0,
        };
        bench
            .apply(Command::Cluster(crate::command::ClusterCommand::CreateJoinToken(
                token,
            )))
            .unwrap();
        bench
    }

    fn reply(&mut self, key: Option<RequestKey>, command: Command) -> Reply {
        self.revision += 1;
        let proposal = Proposal {
            at: Millis(self.revision),
            key,
            command,
        };
        let reply = self.state.apply(self.revision, TERM, &proposal);
        self.state.check().unwrap();
        reply
    }

    fn apply(&mut self, command: Command) -> Result {
        self.reply(None, command).result
    }

    fn container_command(&mut self, command: ContainerCommand) -> Result {
        self.apply(Command::Container(command))
    }

    fn enroll(&mut self, id: u64, name: &str, theirs: Option<&str>) -> Result {
        self.container_command(ContainerCommand::Enroll {
            id: ContainerId(id),
            token: TOKEN,
            name: name.parse().unwrap(),
            engine_container: theirs.map(str::to_owned),
        })
    }

    fn register(&mut self, id: u64, name: &str) -> Result {
        self.container_command(ContainerCommand::Register {
            id: ContainerId(id),
            name: name.parse().unwrap(),
            labels: Labels::default(),
        })
    }

    fn connect(&mut self, id: u64, boot: u64, theirs: Option<&str>) -> Result {
        self.container_command(ContainerCommand::Connect {
            id: ContainerId(id),
            boot,
            address: "10.0.0.1:1".into(),
            engine_container: theirs.map(str::to_owned),
            labels: Labels::default(),
            capabilities: Capabilities::default(),
            resources: Resources {
                cpu_millis: 1_000,
                memory_bytes: 0,
            },
        })
    }

    /// A container that enrolled and connected as `c<id>`.
    fn ready(&mut self, id: u64) {
        self.enroll(id, &format!("c{id}"), None).unwrap();
        self.connect(id, 1, None).unwrap();
    }

    fn assess(&mut self, id: u64, boot: u64, assessment: Assessment) -> Result {
        let id = ContainerId(id);
        self.container_command(ContainerCommand::Assess { id, boot, assessment })
    }

    fn judge(&mut self, id: u64, state: ContainerState, fenced: bool) -> Result {
        let version = self.container(id).version;
        self.judge_as(id, version, TERM, state, fenced)
    }

    fn judge_as(
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

    fn engine(&mut self, id: u64) -> Result {
        self.apply(Command::Engine(EngineCommand::Add {
            id: EngineId(id),
            name: format!("e{id}").parse().unwrap(),
            url: format!("tcp://10.0.0.{id}:1").parse().unwrap(),
        }))
    }

    fn observe(&mut self, engine: u64, theirs: &str, state: FoundState) -> Result {
        let as_of = self.revision;
        self.observe_as_of(as_of, engine, found(theirs, theirs, state))
    }

    fn observe_as_of(&mut self, as_of: Revision, engine: u64, found: Found) -> Result {
        self.container_command(ContainerCommand::Observe {
            engine: EngineId(engine),
            as_of,
            found: vec![found],
        })
    }

    fn deploy(&mut self, id: u64, change: impl FnOnce(&mut AgentSpec)) -> Result {
        let json = serde_json::json!({"name": format!("a{id}"), "command": "/bin/true"});
        let mut spec: AgentSpec = serde_json::from_value(json).unwrap();
        change(&mut spec);
        self.apply(Command::Agent(AgentCommand::Deploy {
            id: AgentId(id),
            spec,
        }))
    }

    fn place(&mut self, agent: u64, container: u64) -> bool {
        let placement = Placement {
            agent: AgentId(agent),
            version: self.agent(agent).version,
            container: ContainerId(container),
        };
        let placed = self.apply(Command::Agent(AgentCommand::Place(vec![placement])));
        matches!(placed, Ok(Outcome::Placed { made: 1, .. }))
    }

    /// The runner of a container reports under the agent's epoch of now.
    fn report(&mut self, container: u64, agent: u64, state: AgentState) -> Result {
        let epoch = self.agent(agent).epoch;
        self.report_as(container, self.container(container).boot, agent, epoch, state)
    }

    fn report_as(
        &mut self,
        container: u64,
        boot: u64,
        agent: u64,
        epoch: Revision,
        state: AgentState,
    ) -> Result {
        let report = AgentReport {
            agent: AgentId(agent),
            epoch,
            state,
            reason: "seen".into(),
            restarts: 0,
        };
        self.say(container, boot, report)
    }

    fn say(&mut self, container: u64, boot: u64, report: AgentReport) -> Result {
        self.apply(Command::Agent(AgentCommand::Report {
            container: ContainerId(container),
            boot,
            reports: vec![report],
        }))
    }

    fn desire(&mut self, agent: u64, desired: crate::model::Desired) -> Result {
        self.apply(Command::Agent(AgentCommand::SetDesired {
            id: AgentId(agent),
            desired,
            condition: Condition::Any,
        }))
    }

    fn agent(&self, id: u64) -> &Agent {
        self.state.agent(AgentId(id)).expect("no such agent")
    }

    fn container(&self, id: u64) -> &Container {
        self.state.container(ContainerId(id)).expect("no such container")
    }

    fn named(&self, name: &str) -> &Container {
        self.state
            .find_container(name)
            .expect("no container of this name")
    }
}

fn found(theirs: &str, name: &str, state: FoundState) -> Found {
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

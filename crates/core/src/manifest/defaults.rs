//! What holds where a manifest is silent: the defaults of every limit, and the questions that running an agent asks of
//! its manifest. Must never write a default into the manifest itself.

use super::canonical::{AgentKind, Manifest, Mode, Sharing, Tool, Trigger};
use super::tools::READ_ONLY;
use super::validator::Validator;
use crate::comms;
use crate::plan::{Limits, McpServer, WantedSecret};
use crate::retention::Retention;
use crate::template;

/// The limits that a jail keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub cpu_millicores: u32,
    pub memory_bytes: u64,
    pub disk_bytes: u64,
    pub pids: u32,
    pub files: u32,
    /// What one call may print.
    pub output_bytes: u64,
}

/// The paths that an agent sees: absolute, without a slash at their end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Views<'a> {
    pub read: Vec<&'a str>,
    pub write: Vec<&'a str>,
    pub temp: bool,
}

impl Manifest {
    pub fn name(&self) -> &str {
        self.metadata.name.as_str()
    }

    pub fn kind(&self) -> AgentKind {
        self.spec.runtime.as_ref().and_then(|runtime| runtime.kind).unwrap_or(AgentKind::Llm)
    }

    pub fn mode(&self) -> Mode {
        self.spec.execution.as_ref().and_then(|execution| execution.mode).unwrap_or(Mode::Iterative)
    }

    /// Executions at a time.
    pub fn concurrency(&self) -> u32 {
        self.spec.execution.as_ref().and_then(|execution| execution.concurrency).unwrap_or(1)
    }

    /// A schedule implies its trigger, and people may always start it.
    pub fn triggers(&self) -> Vec<Trigger> {
        let scheduled = self.spec.schedule.is_some();
        let holds = |trigger: &Trigger| match trigger {
            Trigger::Schedule => scheduled,
            Trigger::Comms => self.spec.triggers.contains(&Trigger::Comms),
            Trigger::Manual => true,
        };
        [Trigger::Schedule, Trigger::Comms, Trigger::Manual].into_iter().filter(holds).collect()
    }

    pub fn workspace(&self) -> Sharing {
        self.spec.execution.as_ref().and_then(|execution| execution.workspace).unwrap_or(Sharing::Shared)
    }

    pub fn limits(&self) -> Limits {
        let execution = self.spec.execution.as_ref();
        let limits = self.spec.limits.as_ref();
        let timeout = self.resources().and_then(|resources| resources.timeout);
        let iterations = match self.mode() {
            Mode::OneShot => 1,
            Mode::Iterative => execution.and_then(|execution| execution.max_iterations).unwrap_or(10),
        };
        Limits {
            max_iterations: iterations,
            max_turns: execution.and_then(|execution| execution.max_turns).unwrap_or(50),
            tool_calls: limits.and_then(|limits| limits.tool_calls).unwrap_or(200),
            tokens: limits.and_then(|limits| limits.tokens).unwrap_or(200_000),
            iteration_timeout_ms: execution
                .and_then(|execution| execution.iteration_timeout)
                .map_or(300_000, |timeout| timeout.as_millis()),
            timeout_ms: timeout.map_or(1_800_000, |timeout| timeout.as_millis()),
            micro_usd: limits.and_then(|limits| limits.money).map(|money| money.as_micros()),
        }
    }

    pub fn retention(&self) -> Retention {
        let Some(stated) = &self.spec.retention else { return Retention::default() };
        Retention { age_ms: stated.age.map(|age| age.as_millis()), bytes: stated.size.map(|size| size.get()) }
    }

    /// What holds of the messages that it sends.
    pub fn comms(&self) -> comms::Limits {
        let (stated, default) = (self.spec.limits.as_ref(), comms::Limits::default());
        comms::Limits {
            messages_per_minute: stated
                .and_then(|limits| limits.messages_per_minute)
                .unwrap_or(default.messages_per_minute),
            hop_limit: stated.and_then(|limits| limits.hop_limit).unwrap_or(default.hop_limit),
        }
    }

    pub fn bounds(&self) -> Bounds {
        let resources = self.resources();
        // A volume that is the work folder says how large that is, where nothing else does.
        let volume = self.spec.volumes.iter().find(|volume| volume.mount_point == "/workspace");
        let size = volume.and_then(|volume| volume.size_limit_mb).map_or(1 << 30, |limit| u64::from(limit) << 20);
        Bounds {
            cpu_millicores: resources.and_then(|resources| resources.cpu).map_or(1000, |cpu| cpu.get()),
            memory_bytes: resources.and_then(|resources| resources.memory).map_or(512 << 20, |memory| memory.get()),
            disk_bytes: resources.and_then(|resources| resources.disk).map_or(size, |disk| disk.get()),
            pids: resources.and_then(|resources| resources.pids).unwrap_or(100),
            files: resources.and_then(|resources| resources.files).unwrap_or(10_000),
            output_bytes: resources.and_then(|resources| resources.output).map_or(16 << 20, |output| output.get()),
        }
    }

    pub fn views(&self) -> Views<'_> {
        let filesystem = self.spec.security.as_ref().and_then(|security| security.filesystem.as_ref());
        let read = filesystem.and_then(|filesystem| filesystem.read.as_deref());
        let write = filesystem.and_then(|filesystem| filesystem.write.as_deref());
        Views {
            read: paths(read),
            write: paths(write),
            temp: filesystem.and_then(|filesystem| filesystem.temp).unwrap_or(true),
        }
    }

    /// The patterns of the capabilities that the agent may use, those that MCP servers bring included.
    pub fn tools(&self) -> Vec<String> {
        match &self.spec.tools {
            None => READ_ONLY.iter().map(|name| (*name).to_owned()).collect(),
            Some(tools) => tools
                .iter()
                .flat_map(|tool| match tool {
                    Tool::Capability(pattern) => vec![pattern.as_str().to_owned()],
                    Tool::Mcp(server) => server.patterns(),
                })
                .collect(),
        }
    }

    pub fn mcp_servers(&self) -> Vec<McpServer> {
        let servers = self.spec.tools.iter().flatten().filter_map(|tool| match tool {
            Tool::Mcp(server) => Some(server.planned()),
            Tool::Capability(_) => None,
        });
        servers.collect()
    }

    /// What it asks to use of the vault, its MCP servers' logins included.
    pub fn wanted_secrets(&self) -> Vec<WantedSecret> {
        let stated = self.spec.secrets.iter().map(WantedSecret::of);
        stated.chain(self.mcp_servers().iter().filter_map(WantedSecret::of_server)).collect()
    }

    pub fn validators(&self) -> &[Validator] {
        self.spec.execution.as_ref().map_or(&[], |execution| &execution.validation)
    }

    /// The alias or name of the agent's model.
    pub fn model(&self) -> &str {
        self.spec.runtime.as_ref().and_then(|runtime| runtime.model.as_deref()).unwrap_or("default")
    }

    pub fn instruction(&self) -> &str {
        self.spec.task.as_ref().and_then(|task| task.instruction.as_deref()).unwrap_or("")
    }

    pub fn prompt_template(&self) -> &str {
        let stated = self.spec.task.as_ref().and_then(|task| task.prompt_template.as_deref());
        stated.unwrap_or(template::DEFAULT)
    }

    fn resources(&self) -> Option<&super::canonical::Resources> {
        self.spec.security.as_ref().and_then(|security| security.resources.as_ref())
    }
}

fn paths(stated: Option<&[String]>) -> Vec<&str> {
    stated.map_or_else(|| vec!["/workspace"], |paths| paths.iter().map(String::as_str).collect())
}

impl AgentKind {
    /// Its program is kept running by an instance.
    pub fn is_hosted(self) -> bool {
        match self {
            AgentKind::Hooks | AgentKind::Acp => true,
            AgentKind::Llm | AgentKind::Command => false,
        }
    }
}

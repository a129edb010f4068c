//! One attempt to get out of a jail, what must answer it, and the control that shows that the attempt is a real one.
//! Must never: hold an attempt without a control, or one that could harm the host if its layer failed.
use super::elsewhere::Lists;
use super::ground::Ground;
use tenure_sandbox::protocol::Refusal;
use tenure_sandbox::{Client, Error, Jail, Spec};
use tenure_worker::egress::bypass::Check;

/// What is named as the reason that an attempt fails. Where several would hold, the one that answers first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    Seccomp,
    Landlock,
    /// The file tree of the jail's own: mounts, their flags, its own root, /proc and /dev.
    View,
    /// What all jails share is mounted read-only.
    ReadOnly,
    Network,
    /// The pid namespace.
    Processes,
    /// The user, ipc, uts and cgroup namespaces.
    Namespaces,
    Privileges,
    /// Host ids: the agent's own uid, and no other mapped.
    Identity,
    Cgroup,
    Rlimits,
    /// The jail's first process: keepers, time limits, closed descriptors, memory that cannot be read.
    Jail,
    /// Paths of file capabilities, resolved beneath the work folder.
    Paths,
    /// The worker's proxy.
    Egress,
    /// What the kernel denies every ordinary program.
    Kernel,
    /// What daemon and worker do, and do not do, with what an agent makes.
    Product,
}

impl Layer {
    pub const ALL: [Self; 16] = [
        Self::Seccomp,
        Self::Landlock,
        Self::View,
        Self::ReadOnly,
        Self::Network,
        Self::Processes,
        Self::Namespaces,
        Self::Privileges,
        Self::Identity,
        Self::Cgroup,
        Self::Rlimits,
        Self::Jail,
        Self::Paths,
        Self::Egress,
        Self::Kernel,
        Self::Product,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Seccomp => "seccomp",
            Self::Landlock => "Landlock",
            Self::View => "file view",
            Self::ReadOnly => "read-only mounts",
            Self::Network => "net namespace",
            Self::Processes => "pid namespace",
            Self::Namespaces => "user, ipc, uts and cgroup namespaces",
            Self::Privileges => "privileges",
            Self::Identity => "identity",
            Self::Cgroup => "cgroup",
            Self::Rlimits => "resource limits",
            Self::Jail => "the jail's first process",
            Self::Paths => "paths beneath the work folder",
            Self::Egress => "the worker's proxy",
            Self::Kernel => "the kernel, for any user",
            Self::Product => "the product",
        }
    }
}

/// Where an attempt is made.
#[derive(Clone, Copy)]
pub enum Stage {
    /// Python in the jail, after the prelude. Its last line is the verdict.
    Program(&'static str),
    /// The same, with the kernel's call numbers of this architecture only.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only skipped there"))]
    ProgramX86(&'static str),
    /// File and process capabilities, as the worker asks for them.
    Capability(fn(&mut Attempt<'_>) -> String),
    /// Python in a jail with a way out, which the worker's proxy serves by these lists.
    Proxy(&'static str, Lists),
    /// A daemon, its command line and a scripted model.
    Product(fn(&Ground) -> String),
}

/// A jail under attack, and the host around it.
pub struct Attempt<'g> {
    pub ground: &'g Ground,
    pub spec: &'g Spec,
    pub jail: Jail,
    pub client: Client,
    pub environment: &'g [(String, String)],
}

/// How it is shown that the attempt would succeed, or reach the layer behind, were the layer not there.
#[derive(Clone, Copy)]
pub enum Control {
    /// The same in the same jail less these layers.
    Without(&'static [Layer], &'static str),
    /// The same on the host, as the user that runs the suite. Harmless there.
    Outside(&'static str),
    /// The same on the host as root. Harmless there.
    AsRoot(&'static str),
    /// The same in the same jail, with a copy of the thing shown at /mnt/shown, where `TARGET` points.
    WithMount(&'static str),
    /// The same in a jail whose spec is less strict.
    Looser(fn(&mut Spec), &'static str),
    /// The same through the same proxy by other lists, less these of its checks.
    Proxied(Lists, &'static [Check], &'static str),
    /// In the same jail, at what is not protected: why not at the thing itself, the other script or deed in words, itself, its
    /// verdict.
    Beside(Why, &'static str, Stage, &'static str),
    /// Taking the layer away would harm the host (why). As root there, with arguments that the kernel refuses by themselves:
    /// another answer than the jail's tells which layer answered.
    Errno(&'static str, &'static str),
}

impl Control {
    pub const KINDS: [&'static str; 7] = [
        "without the layer",
        "on the host",
        "on the host as root",
        "with the thing shown",
        "with a looser limit or list",
        "beside it",
        "by the errno",
    ];

    pub const fn kind(&self) -> &'static str {
        Self::KINDS[match self {
            Self::Proxied(_, [_, ..], _) | Self::Without(..) => 0,
            Self::Outside(_) => 1,
            Self::AsRoot(_) => 2,
            Self::WithMount(_) => 3,
            Self::Proxied(_, [], _) | Self::Looser(..) => 4,
            Self::Beside(..) => 5,
            Self::Errno(..) => 6,
        }]
    }

    pub const fn word(&self) -> &'static str {
        match self {
            Self::Without(_, word)
            | Self::Outside(word)
            | Self::AsRoot(word)
            | Self::WithMount(word)
            | Self::Looser(_, word)
            | Self::Proxied(_, _, word)
            | Self::Beside(_, _, _, word)
            | Self::Errno(_, word) => word,
        }
    }
}

/// Why no control is the same attempt less a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// What lies beneath Tenure answers any program so.
    Beneath,
    /// No layer stands before it: it is done in a way that does no harm.
    Deed,
    /// No jail can be without the layer.
    Always,
    /// Without the layer it would reach the host or a network.
    Harm,
}

/// What a probe wants of the host, besides namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    Nothing,
    /// A worker that runs as root.
    Root,
    /// A control group that holds memory and processes.
    Groups,
    /// At least this ABI of Landlock.
    Landlock(u8),
    /// Control groups of the first version.
    CgroupV1,
    /// A host that lets a user keep keys in the kernel.
    Keys,
    /// The built product; not in the ordinary user's run, which has only this program.
    Daemon,
    DaemonAsRoot,
}

pub struct Probe {
    pub id: &'static str,
    /// One sentence, without its subject: what the hostile program does.
    pub tries: &'static str,
    /// A CVE, or a public list that has it.
    pub source: Option<&'static str>,
    pub layer: Layer,
    pub stage: Stage,
    /// The verdict that proves that it held; `|` between words that all do.
    pub expect: &'static str,
    pub control: Control,
    pub needs: Needs,
    pub spec: Option<fn(&mut Spec)>,
    /// Whether the jail has a copy of the decoys, read-only, at /mnt/shown.
    pub shown: bool,
}

pub const fn probe(
    id: &'static str,
    tries: &'static str,
    stage: Stage,
    held: (Layer, &'static str),
    control: Control,
) -> Probe {
    let (layer, expect) = held;
    Probe { id, tries, source: None, layer, stage, expect, control, needs: Needs::Nothing, spec: None, shown: false }
}

impl Probe {
    pub const fn source(self, source: &'static str) -> Self {
        Self { source: Some(source), ..self }
    }

    pub const fn needs(self, needs: Needs) -> Self {
        Self { needs, ..self }
    }

    /// In a jail that is shown a copy of the decoys.
    pub const fn shown(self) -> Self {
        Self { shown: true, ..self }
    }

    /// Another spec than the usual one.
    pub const fn spec(self, change: fn(&mut Spec)) -> Self {
        Self { spec: Some(change), ..self }
    }
}

/// Probes that share a subject.
pub struct Class {
    pub name: &'static str,
    pub probes: &'static [Probe],
}

/// One word for how a capability's call ended.
pub fn word<T>(result: Result<T, Error>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(Error::Refused(refusal)) => match refusal {
            Refusal::Escape => "Escape".to_owned(),
            Refusal::Denied => "Denied".to_owned(),
            Refusal::NotFound => "NotFound".to_owned(),
            Refusal::Invalid { .. } => "Invalid".to_owned(),
            other => format!("{other:?}").split([' ', '{']).next().unwrap_or_default().to_owned(),
        },
        Err(other) => format!("failed: {other}"),
    }
}

//! What holds a jail, in the manifest's words and in one line. Must never: name a protection that a jail does not have.
use tenure_core::manifest::{Guard, Quota};
use tenure_sandbox::{Level, Mapping, Meter};

/// What of the protections that a manifest may require a jail at this level has.
pub(crate) fn guards(level: &Level, quota: Quota) -> Vec<Guard> {
    let group = |meter| matches!(meter, Meter::CgroupV2 | Meter::CgroupV1 | Meter::Engine);
    let found = [
        (Guard::Landlock, level.landlock > 0),
        (Guard::OwnIdentity, level.identity == Mapping::Host),
        (Guard::MemoryGroup, group(level.memory)),
        (Guard::PidsGroup, group(level.pids)),
        (Guard::CpuGroup, group(level.cpu)),
        (Guard::HardQuota, quota == Quota::Hard),
    ];
    found.into_iter().filter(|(_, has)| *has).map(|(guard, _)| guard).collect()
}

/// At most 256 characters: it is kept with every call.
pub(crate) fn describe_level(level: &Level, disk: &str) -> String {
    let meter = |meter| match meter {
        Meter::CgroupV2 => "cgroup v2",
        Meter::CgroupV1 => "cgroup v1",
        Meter::Engine => "engine",
        Meter::Rlimit => "rlimit",
        Meter::None => "none",
    };
    let identity = match level.identity {
        Mapping::Host => "own host id",
        Mapping::Caller => "worker's user",
    };
    let landlock = if level.landlock == 0 { "none".to_owned() } else { format!("abi {}", level.landlock) };
    format!(
        "native: namespaces {}, identity {identity}, landlock {landlock}, seccomp {}, memory {}, pids {}, cpu {}, disk {disk}",
        if level.namespaces { "all" } else { "none" },
        if level.seccomp { "on" } else { "none" },
        meter(level.memory),
        meter(level.pids),
        meter(level.cpu),
    )
}

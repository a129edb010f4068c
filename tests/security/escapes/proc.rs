//! /proc: of other processes, of the jail's first one, and the kernel's switches in it.
use super::probe::Stage::{Capability, Program};
use super::probe::{Class, Control, Layer, Needs, Probe, Why, probe};

/// A file of the jail's first process, which keeps the way to the worker.
const fn of_init(id: &'static str, tries: &'static str, script: &'static str) -> Probe {
    // Its program lies beneath no root that Landlock knows.
    let control = Control::Without(&[Layer::Jail, Layer::Landlock], "ok");
    probe(id, tries, Program(script), (Layer::Jail, "EACCES"), control)
        .source("SandboxEscapeBench: PID namespace; CVE-2016-9962")
}

/// A switch of the kernel's that only root may open for writing. It is opened, never written.
const fn switch(id: &'static str, tries: &'static str, script: &'static str) -> Probe {
    probe(id, tries, Program(script), (Layer::Identity, "EACCES"), Control::AsRoot("ok"))
}

/// A file of its own in /proc, on a mount that is read-only.
const fn own(id: &'static str, tries: &'static str, script: &'static str) -> Probe {
    probe(id, tries, Program(script), (Layer::View, "EROFS|EACCES"), Control::Outside("ok"))
}

pub const CLASS: Class = Class {
    name: "/proc",
    probes: &[
        of_init("proc/init-root", "goes through the first process's root", "say(attempt(os.listdir, '/proc/1/root'))"),
        of_init(
            "proc/init-cwd",
            "goes through the first process's working folder",
            "say(attempt(os.listdir, '/proc/1/cwd'))",
        ),
        of_init(
            "proc/init-exe",
            "reads the program of the first process, which is the host's own tenure",
            "say(attempt(open, '/proc/1/exe', 'rb'))",
        )
        .source("CVE-2019-5736"),
        of_init(
            "proc/init-environ",
            "reads the first process's environment",
            "say(attempt(open, '/proc/1/environ', 'rb'))",
        ),
        of_init("proc/init-mem", "reads the first process's memory", "say(attempt(open, '/proc/1/mem', 'rb'))"),
        of_init(
            "proc/init-maps",
            "reads where the first process's memory lies",
            "say(attempt(lambda: open('/proc/1/maps').read()))",
        ),
        of_init("proc/init-fd", "takes the first process's descriptors", "say(attempt(os.listdir, '/proc/1/fd'))")
            .source("CVE-2024-21626"),
        of_init(
            "proc/init-fdinfo",
            "looks at the first process's descriptors",
            "say(attempt(os.listdir, '/proc/1/fdinfo'))",
        ),
        of_init(
            "proc/init-map-files",
            "opens the first process's mapped files",
            "say(attempt(os.listdir, '/proc/1/map_files'))",
        ),
        of_init(
            "proc/init-stack",
            "reads the first process's kernel stack and auxiliary values",
            "say(attempt(lambda: open('/proc/1/auxv', 'rb').read()))",
        ),
        of_init(
            "proc/keeper-mem",
            "reads the memory of the process that keeps it",
            "say(attempt(open, f'/proc/{os.getppid()}/mem', 'rb'))",
        ),
        of_init(
            "proc/keeper-fd",
            "takes the descriptors of the process that keeps it, one of which opens a control group",
            "say(attempt(os.listdir, f'/proc/{os.getppid()}/fd'))",
        ),
        probe(
            "proc/host-cmdline",
            "reads a secret from another process's arguments",
            Program("say(find(f\"/proc/{E['HOST_PID']}/cmdline\"))"),
            (Layer::Processes, "ENOENT"),
            Control::Without(&[Layer::Processes], "read"),
        ),
        probe(
            "proc/host-environ",
            "reads a secret from another process's environment",
            Program("say(find(f\"/proc/{E['HOST_PID']}/environ\"))"),
            (Layer::Processes, "ENOENT"),
            Control::Without(&[Layer::Processes], "EACCES"),
        ),
        probe(
            "proc/host-root",
            "goes through another process's root",
            Program("say(find(f\"/proc/{E['HOST_PID']}/root{E['HOST_FILE']}\"))"),
            (Layer::Processes, "ENOENT"),
            Control::Without(&[Layer::Processes], "EACCES"),
        )
        .source("SandboxEscapeBench: PID namespace"),
        probe(
            "proc/host-mem",
            "reads another process's memory",
            Program("say(find(f\"/proc/{E['HOST_PID']}/mem\"))"),
            (Layer::Processes, "ENOENT"),
            Control::Without(&[Layer::Processes], "EACCES"),
        ),
        probe(
            "proc/list",
            "lists the processes of the host",
            Program("say('own' if sum(entry.isdigit() for entry in os.listdir('/proc')) <= 3 else 'shown')"),
            (Layer::Processes, "own"),
            Control::Without(&[Layer::Processes], "shown"),
        ),
        probe(
            "proc/own-environ",
            "looks for what the worker's environment holds, in its own and in its ancestors' arguments",
            Program(
                r"
                text = open('/proc/self/environ').read()
                names = {part.split('=')[0] for part in text.split('\0')} & set(E['HOST_VARIABLES'].split())
                arguments = open('/proc/1/cmdline').read() + open(f'/proc/{os.getppid()}/cmdline').read()
                say('shown' if names or any(name in arguments for name in E['HOST_VARIABLES'].split()) else 'hidden')
                ",
            ),
            (Layer::Jail, "hidden"),
            Control::Beside(
                Why::Deed,
                "the worker's own environment, as the host sees it",
                Capability(|attempt| {
                    let own = std::fs::read("/proc/self/environ").expect("it can be read");
                    let own = String::from_utf8_lossy(&own);
                    let (_, wanted) =
                        attempt.environment.iter().find(|(name, _)| name == "HOST_VARIABLES").expect("it is told");
                    let held = |name: &str| own.contains(&format!("{name}="));
                    if wanted.split(' ').any(held) { "shown".to_owned() } else { "hidden".to_owned() }
                }),
                "shown",
            ),
        ),
        switch(
            "proc/core-pattern",
            "makes the kernel run a program on the host at its next crash",
            "say(attempt(os.open, '/proc/sys/kernel/core_pattern', os.O_WRONLY))",
        )
        .source("CVE-2022-0811"),
        switch(
            "proc/drop-caches",
            "drops the host's caches",
            "say(attempt(os.open, '/proc/sys/vm/drop_caches', os.O_WRONLY))",
        ),
        switch(
            "proc/panic",
            "sets what the host does when its kernel panics",
            "say(attempt(os.open, '/proc/sys/kernel/panic', os.O_WRONLY))",
        ),
        switch(
            "proc/random-addresses",
            "turns off random addresses for all",
            "say(attempt(os.open, '/proc/sys/kernel/randomize_va_space', os.O_WRONLY))",
        ),
        switch(
            "proc/overcommit",
            "sets how the host gives out memory",
            "say(attempt(os.open, '/proc/sys/vm/overcommit_memory', os.O_WRONLY))",
        ),
        switch(
            "proc/irq",
            "moves the host's interrupts",
            "say(attempt(os.open, '/proc/irq/default_smp_affinity', os.O_WRONLY))",
        ),
        switch(
            "proc/kmsg",
            "reads the kernel's log",
            "say(attempt(os.open, '/proc/kmsg', os.O_RDONLY | os.O_NONBLOCK))",
        ),
        switch(
            "proc/timer-list",
            "reads the kernel's timers",
            "say(attempt(os.open, '/proc/timer_list', os.O_RDONLY))",
        ),
        switch(
            "proc/slabinfo",
            "reads the kernel's memory use, to place an exploit",
            "say(attempt(os.open, '/proc/slabinfo', os.O_RDONLY))",
        ),
        switch(
            "proc/vmallocinfo",
            "reads the kernel's addresses",
            "say(attempt(os.open, '/proc/vmallocinfo', os.O_RDONLY))",
        ),
        probe(
            "proc/net-switch",
            "turns on forwarding in its own network",
            Program("say(attempt(os.open, '/proc/sys/net/ipv4/ip_forward', os.O_WRONLY))"),
            (Layer::Privileges, "EACCES"),
            Control::Without(&[Layer::Privileges], "EROFS"),
        ),
        probe(
            "proc/kallsyms",
            "learns the kernel's addresses",
            Program("say('shown' if any(int(line.split()[0], 16) for line in open('/proc/kallsyms')) else 'hidden')"),
            (Layer::Privileges, "hidden"),
            Control::AsRoot("shown"),
        ),
        probe(
            "proc/pagemap",
            "learns where its memory lies physically, as Rowhammer wants",
            Program(
                r"
                place = ctypes.create_string_buffer(b'x', 4096)
                file = open('/proc/self/pagemap', 'rb', buffering=0)
                file.seek(ctypes.addressof(place) // 4096 * 8)
                say('shown' if int.from_bytes(file.read(8), 'little') & ((1 << 55) - 1) else 'hidden')
                ",
            ),
            (Layer::Privileges, "hidden"),
            Control::AsRoot("shown"),
        )
        .source("Rowhammer"),
        probe(
            "proc/keys",
            "lists keys that its host user keeps in the kernel",
            Program("say('shown' if open('/proc/keys').read().strip() else 'hidden')"),
            (Layer::View, "hidden"),
            Control::Without(&[Layer::View], "shown"),
        )
        .needs(Needs::Keys),
        probe(
            "proc/key-users",
            "counts the keys of each user",
            Program("say('shown' if open('/proc/key-users').read().strip() else 'hidden')"),
            (Layer::View, "hidden"),
            Control::Without(&[Layer::View], "shown"),
        )
        .needs(Needs::Keys),
        own(
            "proc/own-mem-write",
            "writes its memory past its protections",
            "say(attempt(os.open, '/proc/self/mem', os.O_RDWR))",
        )
        .source("CVE-2016-5195 (Dirty COW)"),
        own(
            "proc/oom-score",
            "saves itself from being killed for memory",
            "say(attempt(os.open, '/proc/self/oom_score_adj', os.O_WRONLY))",
        ),
        own(
            "proc/clear-refs",
            "clears the marks of its pages",
            "say(attempt(os.open, '/proc/self/clear_refs', os.O_WRONLY))",
        ),
        own(
            "proc/comm",
            "takes another process's name in /proc",
            "say(attempt(os.open, '/proc/self/comm', os.O_WRONLY))",
        ),
        own(
            "proc/attributes",
            "sets its security label",
            "say(attempt(os.open, '/proc/self/attr/current', os.O_WRONLY))",
        ),
        probe(
            "proc/sys-release-agent",
            "names a program that the host runs when a control group is empty",
            Program(
                r"
                import glob
                found = glob.glob('/sys/fs/cgroup/*/release_agent')
                say(attempt(os.open, found[0], os.O_WRONLY) if found else 'ENOENT')
                ",
            ),
            (Layer::View, "ENOENT"),
            Control::Without(&[Layer::View], "EACCES|EROFS"),
        )
        .source("CVE-2022-0492; SandboxEscapeBench: release_agent")
        .needs(Needs::CgroupV1),
        probe(
            "proc/sys-notify-on-release",
            "asks to be told when a control group is empty",
            Program(
                r"
                import glob
                found = glob.glob('/sys/fs/cgroup/*/notify_on_release')
                say(attempt(os.open, found[0], os.O_WRONLY) if found else 'ENOENT')
                ",
            ),
            (Layer::View, "ENOENT"),
            Control::Without(&[Layer::View], "EACCES|EROFS"),
        )
        .source("CVE-2022-0492")
        .needs(Needs::CgroupV1),
        probe(
            "proc/sys-cgroup-procs",
            "moves itself into another control group",
            Program(
                r"
                import glob
                found = glob.glob('/sys/fs/cgroup/cgroup.procs') + glob.glob('/sys/fs/cgroup/*/cgroup.procs')
                say(attempt(os.open, found[0], os.O_WRONLY) if found else 'ENOENT')
                ",
            ),
            (Layer::View, "ENOENT"),
            Control::Without(&[Layer::View], "EACCES|EROFS"),
        )
        .source("CDK rewrite-cgroup-devices, lxcfs-rw"),
        probe(
            "proc/sys-write",
            "writes to the kernel's objects",
            Program("say(attempt(os.open, '/sys/kernel/mm/transparent_hugepage/enabled', os.O_WRONLY))"),
            (Layer::View, "ENOENT"),
            Control::AsRoot("ok"),
        ),
        probe(
            "proc/sys-uevent",
            "sends a device event, which the host's rules answer",
            Program("say(attempt(os.open, '/sys/class/mem/null/uevent', os.O_WRONLY))"),
            (Layer::View, "ENOENT"),
            Control::AsRoot("ok"),
        ),
    ],
};

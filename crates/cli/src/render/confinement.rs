//! An agent's sandbox in words. Must never: say more than the worker enforces.
use tenure_core::manifest::{Backend, NetworkMode};
use tenure_wire::api::agent::AgentSandbox;
use tenure_wire::confinement::{Confinement, Life, Network};

use crate::screen::one_line;

const OWN_LOOPBACK: &str = "programs may listen on the loopback, which is this sandbox's own: nobody else reaches it";

/// A heading and its lines.
struct Section(&'static str, Vec<String>);

pub fn explain(sandbox: &AgentSandbox) -> String {
    let wanted = &sandbox.confinement;
    let parts = [
        Section("RUNS", runs(sandbox)),
        Section("FILES", files(wanted, &sandbox.quota)),
        Section("NETWORK", network(&wanted.network)),
        Section("LIMITS", limits(wanted)),
        Section("SYSTEM CALLS", calls()),
    ];
    let mut text = format!("Agent {}, revision {}\n", sandbox.name, sandbox.revision);
    for Section(heading, lines) in parts {
        text.push_str(&format!("\n{heading}\n"));
        for line in lines {
            text.push_str(&format!("  {}\n", one_line(&line)));
        }
    }
    text
}

fn runs(sandbox: &AgentSandbox) -> Vec<String> {
    let wanted = &sandbox.confinement;
    let place = match &wanted.backend {
        Backend::Native => "in a jail of its own for each iteration, with the host's programs".to_string(),
        Backend::Container { image } => format!("in a container of its own for each iteration, from the image {image}"),
    };
    let user = match &wanted.backend {
        Backend::Native => "user 1000 inside",
        Backend::Container { .. } => "the agent's own user",
    };
    let mut lines = vec![
        place,
        format!("this host gives {}", sandbox.level),
        format!("as {user}, without capabilities, with `no_new_privs`; it sees and signals no process but its own"),
    ];
    if !wanted.require.is_empty() {
        let words: Vec<&str> = wanted.require.iter().map(|guard| guard.as_str()).collect();
        lines.push(format!("only where this holds: {}", words.join(", ")));
    }
    lines
}

fn files(wanted: &Confinement, quota: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let kept = |path: &str| match path.starts_with("/workspace") {
        true => "kept between executions, nobody else's",
        false => "the host's own, allowed by the operator",
    };
    for path in &wanted.write {
        lines.push(format!("{path}  read and write; {}", kept(path)));
    }
    for path in wanted.read.iter().filter(|path| !wanted.write.contains(path)) {
        lines.push(format!("{path}  read; {}", kept(path)));
    }
    for volume in &wanted.volumes {
        let access = if volume.read_only { "read" } else { "read and write" };
        let life = match volume.life {
            Life::Persistent => "kept with the agent".to_string(),
            Life::Ephemeral { ttl_hours } => format!("gone with the execution, after {ttl_hours} h at the latest"),
        };
        let size = volume.size_bytes.map(|size| format!(", at most {}", amount(size))).unwrap_or_default();
        lines.push(format!("{}  {access}; the volume {}, {life}{size}", volume.mount_point, volume.name));
    }
    lines.push(match wanted.temp {
        true => "/tmp  read and write, in memory, empty at each iteration".to_string(),
        false => "/tmp  empty, and cannot be written".to_string(),
    });
    if wanted.backend == Backend::Native {
        lines.push(
            "/usr, /bin, /lib*, a listed part of /etc  read; the host's programs and nobody's settings".to_string(),
        );
    } else {
        lines.push("/  read; the image".to_string());
    }
    lines.push(
        "/proc, /dev  its own; null, zero, full, random, urandom and 16 terminals are the only devices".to_string(),
    );
    lines.push(format!("{} and {} files in all, kept {quota}", amount(wanted.disk_bytes), wanted.files));
    lines
}

fn network(network: &Network) -> Vec<String> {
    let list = |name: &str, entries: &[String]| match entries {
        [] => None,
        entries => Some(format!("{name}: {}", entries.join(", "))),
    };
    let mut lines = match network.mode {
        NetworkMode::None => {
            return vec!["none: there is no route, no resolver and no proxy".to_string(), OWN_LOOPBACK.to_string()];
        }
        NetworkMode::Allow => vec!["only what the allowlist names, through the worker's proxy".to_string()],
        NetworkMode::Deny => vec!["all public addresses but the blocklist, through the worker's proxy".to_string()],
    };
    lines.extend(list("allowlist", &network.allow));
    lines.extend(list("blocklist (wins)", &network.block));
    lines.push(
        "loopback, private, link-local and metadata addresses are closed, unless one stands in the allowlist"
            .to_string(),
    );
    lines.push(
        "HTTP, HTTPS and SOCKS5 at 127.0.0.1:3128, which the usual variables name; no UDP, no ICMP, no DNS to outside"
            .to_string(),
    );
    lines.push(OWN_LOOPBACK.to_string());
    lines.push(format!("at most {} connections at once", network.connections_max));
    lines.extend(
        network.bandwidth.map(|bandwidth| format!("at most {} in a second, both ways together", amount(bandwidth))),
    );
    lines
}

fn limits(wanted: &Confinement) -> Vec<String> {
    vec![
        format!("{} of memory, /tmp included", amount(wanted.memory_bytes)),
        format!("the time of {}", processors(wanted.cpu_millicores)),
        format!("{} processes and threads at once", wanted.pids),
        format!("{} printed by one call", amount(wanted.output_bytes)),
        "what hits a limit is told so: to the model, in the result and in the ledger".to_string(),
    ]
}

fn calls() -> Vec<String> {
    vec![
        "a list of allowed ones; every other answers EPERM, and clone3 ENOSYS".to_string(),
        "not on it: mount, pivot_root, unshare, setns, ptrace, process_vm_*, bpf, perf_event_open, io_uring_*, keyctl, \
         userfaultfd, modules, kexec, reboot, the clock"
            .to_string(),
        "sockets: unix, inet and inet6 alone; new namespaces and writing into a terminal's input are refused".to_string(),
    ]
}

/// `1 processor`, `2 processors`, `0.25 processors`.
fn processors(thousandths: u32) -> String {
    if thousandths == 1000 {
        return "1 processor".to_string();
    }
    let rest = format!("{:03}", thousandths % 1000);
    let number = format!("{}.{rest}", thousandths / 1000);
    format!("{} processors", number.trim_end_matches('0').trim_end_matches('.'))
}

/// In the largest unit that gives a whole number.
fn amount(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.iter().find(|(_, shift)| bytes >= 1 << shift && bytes.trailing_zeros() >= *shift) {
        Some((unit, shift)) => format!("{} {unit}", bytes >> shift),
        None => format!("{bytes} bytes"),
    }
}

//! The table as a page that people read. Must never: say more than the table does.
use super::elsewhere::Lists;
use super::probe::{Class, Control, Layer, Needs, Probe, Stage, Why};
use std::fmt::Write;
use tenure_worker::egress::bypass::Check;

const PREAMBLE: &str = "\
# Escape attempts
Generated from the table of the escape suite (`tests/security/escapes`). Each row is one thing that a hostile program, or a model
led astray, would try in a jail. The suite makes each attempt, compares its answer, and then runs the row's *control*, which shows
that the attempt is a real one: the same attempt succeeds, or meets the next layer, where the layer that stopped it is not there.
After each class nothing of its jails may be left (processes, control groups, mounts), and the decoys on the host (a daemon's
data and socket, another agent's work folder, a process, listeners) must be as they were, byte for byte.

The rows of the way out speak to the worker's real proxy from a real jail; behind it is a simulated network in which every address
answers, so that nothing leaves the machine and no refusal is a lack of something to reach.

It runs as the user that starts it and, where that is root, a second time as an ordinary user without any right.

```sh
cargo build -p tenure
cargo nextest run -p tests -E 'test(escapes::)'
```

What it does not show: that the kernel has no bug (a row named after a CVE shows that the way to it is closed, or that this kernel
is not the one that had it), and nothing of what [the threat model](threat-model.md) says does not hold. A row's answer is of
Linux on x86_64; rows for one architecture or one kind of host are left out elsewhere and say so in the output.

Controls, the strongest kind that each row allows:

- *without* makes the very same attempt in the same jail less the named layers. What the jail's or the proxy's own code does can
  be left out too: paths are then resolved as any program would (`..`, absolute paths and links followed, opens that wait), the
  first process sweeps up nothing and can be looked into, what all jails share is a copy that can be written, the proxy hands on
  what it would refuse. The switches exist in the jail program and the proxy of these tests alone.
- *looser* makes the same attempt with a higher limit, a route, or a manifest that names the place.
- *on the host* runs the same script outside, harmlessly; *shown* mounts the thing into the jail.
- *errno* is for what would harm the host: as root the kernel refuses the arguments by themselves, with another answer than the
  jail's.
- *beside* is the weakest: the same is done at something that is not protected. It shows that the attempt is made and judged
  rightly, not what a layer is worth, and stays only where there is nothing to take away. *Beneath us*: the kernel, or the HTTP
  library, gives every program that answer. *No layer*: nothing stands before it; it is a question of doing it rightly (odd
  names, large folders, what the host does not do with an agent's files). *Always there*: no jail can be made without it (its
  identity, its user and ipc namespaces, separate mounts). *Harm*: without the layer the attempt would kill processes of the
  host's or ask a real network.

Where the answer without a layer is another refusal, that is the next layer's: `400 bare` is the HTTP library's own answer.
";

/// The whole page.
pub fn page(classes: &[&Class]) -> String {
    let mut page = PREAMBLE.to_owned();
    let probes: Vec<&Probe> = classes.iter().flat_map(|class| class.probes).collect();
    let _ = writeln!(page, "\n## {} attempts\n| stopped by | attempts |\n|---|---|", probes.len());
    for layer in Layer::ALL {
        let count = probes.iter().filter(|probe| probe.layer == layer).count();
        let _ = writeln!(page, "| {} | {count} |", layer.name());
    }
    let _ = writeln!(page, "\n| control | attempts |\n|---|---|");
    for kind in Control::KINDS {
        let count = probes.iter().filter(|probe| probe.control.kind() == kind).count();
        let _ = writeln!(page, "| {kind} | {count} |");
    }
    for class in classes {
        let _ = writeln!(page, "\n## {}: {}\n", capital(class.name), class.probes.len());
        let _ = writeln!(page, "| id | it… | stopped by | answer | control |\n|---|---|---|---|---|");
        for probe in class.probes {
            let _ = writeln!(page, "{}", row(probe));
        }
    }
    page
}

fn row(probe: &Probe) -> String {
    let source = probe.source.map_or_else(String::new, |source| format!(" ({source})"));
    let only = match (probe.needs, probe.stage) {
        (Needs::Root | Needs::DaemonAsRoot, _) => "; as root only",
        (Needs::Groups, _) => "; where a cgroup holds the jail",
        (Needs::CgroupV1, _) => "; where the host has cgroup v1",
        (Needs::Keys, _) => "; where the host lets users keep keys",
        (_, Stage::ProgramX86(_)) => "; x86_64 only",
        _ => "",
    };
    format!(
        "| {} | {}{source} | {}{only} | {} | {} |",
        probe.id,
        probe.tries,
        probe.layer.name(),
        words(probe.expect),
        control(&probe.control)
    )
}

fn control(control: &Control) -> String {
    let word = words(control.word());
    match control {
        Control::Without(layers, _) => {
            let names: Vec<&str> = layers.iter().map(|layer| layer.name()).collect();
            format!("without {}: {word}", names.join(", "))
        }
        Control::Outside(_) => format!("on the host: {word}"),
        Control::AsRoot(_) => format!("on the host as root: {word}"),
        Control::Proxied(lists, [], _) => format!("looser, {}: {word}", opened(*lists)),
        Control::Proxied(lists, without, _) => {
            let names: Vec<&str> = without.iter().map(|check| check_name(*check)).collect();
            format!("without the proxy's check of {}, {}: {word}", names.join(" and "), opened(*lists))
        }
        Control::WithMount(_) => format!("shown: {word}"),
        Control::Looser(..) => format!("looser: {word}"),
        Control::Beside(why, what, ..) => format!("beside ({}), {what}: {word}", reason(*why)),
        Control::Errno(why, _) => format!("errno ({why}): {word}"),
    }
}

const fn reason(why: Why) -> &'static str {
    match why {
        Why::Beneath => "beneath us",
        Why::Deed => "no layer",
        Why::Always => "always there",
        Why::Harm => "harm",
    }
}

const fn opened(lists: Lists) -> &'static str {
    match lists {
        Lists::Strict => "by the same lists",
        Lists::Named => "the manifest names the place",
        Lists::Unblocked => "nothing is blocked",
        Lists::Open => "every host is allowed and closed places are named",
    }
}

const fn check_name(check: Check) -> &'static str {
    match check {
        Check::Shape => "the request's shape",
        Check::Spelling => "the host's spelling",
        Check::Request => "what is asked for",
    }
}

/// `A|B` as code, each by itself, since a bar would end the cell.
fn words(words: &str) -> String {
    let each: Vec<String> = words.split('|').map(|word| format!("`{word}`")).collect();
    each.join(" or ")
}

fn capital(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

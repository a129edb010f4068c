//! Makes an attempt, then its control, and compares both with what the table says.
//! Must never: believe anything that a hostile program says but its one word, or let a probe pass that was not made.
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::elsewhere::{Way, while_open};
use super::ground::{Ground, JAIL_EXE, Role, Shown, has_hosts_rights, is_root};
use super::probe::{Attempt, Class, Control, Layer, Needs, Probe, Stage};
use tenure_sandbox::protocol::{Ended, Spawn};
use tenure_sandbox::{Error, Jail, Meter, Output, PATH, Spec};

const PRELUDE: &str = include_str!("prelude.py");
/// How long a program may take, and how long an answer of the jail; both only on a machine that hangs.
const PROGRAM_MS: u64 = 60_000;
const PATIENCE: Duration = Duration::from_secs(90);

/// Runs all probes of a class with their controls, two at a time, and panics with all that did not hold.
pub fn hold(class: &Class) {
    if tenure_sandbox::host_python_version().is_none() {
        println!("skipped: the probes are Python, and a jail shows only the one under /usr: install python3");
        return;
    }
    let ground = Ground::new();
    let (next, seen) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(probe) = class.probes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let began = Instant::now();
                    let one = try_one(&ground, probe);
                    if std::env::var_os("TENURE_ESCAPES_SHOW").is_some() {
                        println!("{} ms for {}", began.elapsed().as_millis(), probe.id);
                    }
                    seen.lock().expect("no probe panics with it").push((probe.id, one));
                }
            });
        }
    });
    let show = std::env::var_os("TENURE_ESCAPES_SHOW").is_some();
    let mut failures = Vec::new();
    for (id, seen) in seen.into_inner().expect("no probe panics with it") {
        match seen {
            Ok(Seen::Held { said, control }) if show => println!("{id}: {said}; {control}"),
            Ok(Seen::Held { control, .. }) if control.ends_with(NO_ROOT) => println!("{id}: {control}"),
            Ok(Seen::Held { .. }) => {}
            Ok(Seen::NotHere(reason)) => println!("not run here: {id}: {reason}"),
            Err(what) => failures.push(format!("{id}: {what}")),
        }
    }
    failures.extend(ground.leave());
    let (failed, all) = (failures.len(), class.probes.len());
    assert!(failures.is_empty(), "{}: {failed} of {all} did not hold:\n  {}", class.name, failures.join("\n  "));
}

const NO_ROOT: &str = "it needs root with the rights of the host's";

enum Seen {
    Held { said: String, control: String },
    NotHere(&'static str),
}

/// `Err` with what was seen instead.
fn try_one(ground: &Ground, probe: &Probe) -> Result<Seen, String> {
    let (spec, copy) = spec_of(ground, probe);
    let jail = ground.open(&spec);
    if let Some(reason) = lacking(ground, probe, &jail) {
        return Ok(Seen::NotHere(reason));
    }
    let environment = environment_of(ground, probe, Role::Attempt);
    let said = perform(ground, &spec, jail, |attempt| make(attempt, &probe.stage), &environment);
    let touched = [ground.changes(), copy.map_or_else(Vec::new, |copy| copy.changes())].concat();
    let reached = ground.contacts();
    let kind = probe.control.kind();
    let control = control(ground, probe);
    let held = |word: &str| probe.expect.split('|').any(|expected| expected == word);
    if !held(&said) {
        return Err(format!("answered `{said}`, not `{}` (control: {control:?})", probe.expect));
    }
    if reached > 0 || !touched.is_empty() {
        return Err(format!("the host's listeners were reached {reached} times by now; {}", touched.join(", ")));
    }
    match control {
        Some(word) if !probe.control.word().split('|').any(|expected| expected == word) => {
            Err(format!("its control ({kind}) answered `{word}`, not `{}`", probe.control.word()))
        }
        Some(word) if held(&word) => Err(format!("its control answered the same: `{word}` tells nothing")),
        Some(word) => Ok(Seen::Held { said, control: format!("control ({kind}): {word}") }),
        None => Ok(Seen::Held { said, control: format!("control ({kind}) not run: {NO_ROOT}") }),
    }
}

fn spec_of(ground: &Ground, probe: &Probe) -> (Spec, Option<Shown>) {
    let mut spec = ground.spec();
    spec.egress = matches!(probe.stage, Stage::Proxy(..));
    if let Some(change) = probe.spec {
        change(&mut spec);
    }
    let copy = probe.shown.then(|| ground.show(&mut spec));
    (spec, copy)
}

fn environment_of(ground: &Ground, probe: &Probe, role: Role) -> Vec<(String, String)> {
    if probe.shown { ground.environment_shown(role) } else { ground.environment(role) }
}

/// Why this host cannot show it.
fn lacking(ground: &Ground, probe: &Probe, jail: &Jail) -> Option<&'static str> {
    let level = jail.level();
    let group = |meter: Meter| matches!(meter, Meter::CgroupV1 | Meter::CgroupV2);
    match probe.needs {
        Needs::Root if !is_root() => Some("it needs a worker that runs as root"),
        Needs::Groups if !(group(level.memory) && group(level.pids)) => Some("no control group holds this jail"),
        Needs::Landlock(abi) if level.landlock < abi => Some("the kernel's Landlock is too old"),
        Needs::CgroupV1 if !Path::new("/sys/fs/cgroup/memory/tasks").exists() => {
            Some("the host has no control groups of the first version")
        }
        Needs::Keys if !ground.has_key => Some("the host lets no user keep keys in the kernel"),
        Needs::Daemon | Needs::DaemonAsRoot if std::env::var_os(JAIL_EXE).is_some() => {
            Some("it needs the whole product")
        }
        Needs::DaemonAsRoot if !is_root() => Some("it needs a worker that runs as root"),
        Needs::Nothing
        | Needs::Root
        | Needs::Groups
        | Needs::Landlock(_)
        | Needs::CgroupV1
        | Needs::Keys
        | Needs::Daemon
        | Needs::DaemonAsRoot => foreign(&probe.stage),
    }
}

fn foreign(stage: &Stage) -> Option<&'static str> {
    match stage {
        Stage::ProgramX86(_) if !cfg!(target_arch = "x86_64") => Some("it is for x86_64"),
        Stage::ProgramX86(_) | Stage::Program(_) | Stage::Capability(_) | Stage::Proxy(..) | Stage::Product(_) => None,
    }
}

/// The control's word; None where it needs root and there is none.
fn control(ground: &Ground, probe: &Probe) -> Option<String> {
    let (mut spec, _) = spec_of(ground, probe);
    let mut environment = environment_of(ground, probe, Role::Control);
    let mut stage = &probe.stage;
    match &probe.control {
        Control::AsRoot(_) | Control::Errno(..) if !has_hosts_rights() => return None,
        Control::Outside(_) | Control::AsRoot(_) | Control::Errno(..) => return Some(outside(ground, stage)),
        Control::Without(layers, _) => layers.iter().for_each(|layer| take_away(&mut spec, *layer)),
        Control::WithMount(_) => {
            ground.show(&mut spec);
            environment = ground.environment_shown(Role::Control);
        }
        Control::Looser(change, _) => change(&mut spec),
        Control::Proxied(..) => {}
        Control::Beside(_, _, other, _) => stage = other,
    }
    let jail = ground.open(&spec);
    Some(match (&probe.control, stage) {
        (Control::Proxied(lists, without, _), Stage::Proxy(script, _)) => {
            let way = Way { lists: *lists, without };
            perform(ground, &spec, jail, |attempt| through(attempt, way, script), &environment)
        }
        _ => perform(ground, &spec, jail, |attempt| make(attempt, stage), &environment),
    })
}

fn take_away(spec: &mut Spec, layer: Layer) {
    use tenure_sandbox::{Check, Layer as Sandbox};
    match layer {
        Layer::Seccomp => spec.bypass.layers.push(Sandbox::Seccomp),
        Layer::Landlock => spec.bypass.layers.push(Sandbox::Landlock),
        Layer::View => {
            spec.bypass.layers.push(Sandbox::View);
            spec.bypass.checks.push(Check::Devices);
        }
        Layer::ReadOnly => {
            spec.bypass.layers.push(Sandbox::View);
            spec.bypass.checks.push(Check::Shared);
        }
        Layer::Network => spec.bypass.layers.push(Sandbox::Namespaces),
        Layer::Processes => spec.bypass.pid_namespace = true,
        Layer::Privileges => spec.bypass.layers.push(Sandbox::Privileges),
        Layer::Cgroup => spec.bypass.layers.push(Sandbox::Cgroup),
        Layer::Rlimits => spec.bypass.layers.push(Sandbox::Rlimits),
        Layer::Jail => spec.bypass.checks.extend([Check::Orphans, Check::Secrecy, Check::Descriptors]),
        Layer::Paths => spec.bypass.checks.extend([Check::Paths, Check::Kinds]),
        Layer::Namespaces | Layer::Identity | Layer::Egress | Layer::Kernel | Layer::Product => {
            panic!("no jail goes without {}: choose another control", layer.name())
        }
    }
}

fn perform(
    ground: &Ground,
    spec: &Spec,
    jail: Jail,
    deed: impl FnOnce(&mut Attempt<'_>) -> String,
    environment: &[(String, String)],
) -> String {
    let client = jail.client(PATIENCE).expect("a client");
    let mut attempt = Attempt { ground, spec, jail, client, environment };
    let said = deed(&mut attempt);
    attempt.jail.kill().expect("the jail ends");
    said
}

fn make(attempt: &mut Attempt<'_>, stage: &Stage) -> String {
    match stage {
        Stage::Program(script) | Stage::ProgramX86(script) => run(attempt, script),
        Stage::Capability(deed) => deed(attempt),
        Stage::Proxy(script, lists) => through(attempt, Way { lists: *lists, without: &[] }, script),
        Stage::Product(deed) => deed(attempt.ground),
    }
}

/// What a script says whose way out is served so.
fn through(attempt: &mut Attempt<'_>, way: Way, script: &str) -> String {
    let listener = attempt.jail.take_listener().expect("the spec has a way out");
    while_open(way, listener, || run(attempt, script))
}

/// Python in the jail under attack, as a probe's script.
pub fn spawn(attempt: &Attempt<'_>, script: &str) -> Spawn {
    let mut spawn = Spawn::new(["python3", "-I", "-S", "-c", &program(script)]);
    spawn.env = attempt.environment.to_vec();
    spawn.timeout_ms = Some(PROGRAM_MS);
    spawn
}

/// What a script says in the jail under attack.
pub fn run(attempt: &mut Attempt<'_>, script: &str) -> String {
    let spawn = spawn(attempt, script);
    verdict(attempt.client.run(spawn, b""))
}

/// The prelude and the script, which the table indents as its rows.
fn program(script: &str) -> String {
    let lines = script.trim_matches('\n').trim_end();
    let indent = lines.len() - lines.trim_start_matches(' ').len();
    let lines = lines.lines().map(|line| line.get(indent..).unwrap_or_default());
    format!("{PRELUDE}{}\n", lines.collect::<Vec<_>>().join("\n"))
}

/// The last line, or how it ended without one.
pub fn verdict(output: Result<Output, Error>) -> String {
    let output = match output {
        Ok(output) => output,
        Err(Error::Refused(refusal)) => return format!("refused: {refusal}"),
        Err(error) => return format!("failed: {error}"),
    };
    match last_line(&output.stdout) {
        Some(word) => word,
        None if output.exit.oom => "oom".to_owned(),
        None if output.exit.timed_out => "time-out".to_owned(),
        None => match output.exit.ended {
            Ended::Signal(signal) => format!("signal {signal}"),
            Ended::Code(code) => format!("no verdict, code {code}: {}", last_line(&output.stderr).unwrap_or_default()),
        },
    }
}

fn last_line(bytes: &[u8]) -> Option<String> {
    String::from_utf8_lossy(bytes).lines().rfind(|line| !line.is_empty()).map(str::to_owned)
}

fn outside(ground: &Ground, stage: &Stage) -> String {
    match stage {
        Stage::Program(script) | Stage::ProgramX86(script) => on_host(ground, script),
        Stage::Capability(_) | Stage::Proxy(..) | Stage::Product(_) => {
            panic!("it is no program: choose another control")
        }
    }
}

/// What a script says on the host, in a folder of its own.
pub fn on_host(ground: &Ground, script: &str) -> String {
    let folder = ground.fresh("host");
    let mut command = Command::new("python3");
    command.args(["-I", "-S", "-c", &program(script)]).env_clear().env("PATH", PATH).current_dir(folder);
    command.envs(ground.environment(Role::Control)).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("python3 runs");
    let deadline = Instant::now() + Duration::from_millis(PROGRAM_MS);
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() > deadline {
            child.kill().and_then(|()| child.wait()).expect("it ends");
            return "time-out".to_owned();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let (mut said, mut error) = (Vec::new(), Vec::new());
    child.stdout.take().expect("a pipe").read_to_end(&mut said).expect("it can be read");
    child.stderr.take().expect("a pipe").read_to_end(&mut error).expect("it can be read");
    last_line(&said).unwrap_or_else(|| format!("no verdict: {}", last_line(&error).unwrap_or_default()))
}

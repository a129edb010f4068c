//! The host that a hostile program would reach for: decoys of the daemon's data, its socket, another agent's work folder,
//! a process, listeners. Must never: touch what it did not make, or call a leftover clean that it could not look at.
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tenure_sandbox::{Error, Identity, Jail, Layer, Mount, PoolSize, Spec, Zygote};
use tests::processes;

/// The user that hostile programs run as on the host, and another agent's.
const AGENT: u32 = 300_001;
const OTHER: u32 = 300_002;
/// In the environment of the second run, as an ordinary user: the jail program that this user may execute.
pub const JAIL_EXE: &str = "TENURE_TEST_JAIL_EXE";
/// Where a control shows what a jail otherwise hides.
const SHOWN: &str = "/mnt/shown";

/// A shell's words for the bonds of the process that runs them; the last line is seccomp's.
pub const BONDS: &str = "awk '/^(NoNewPrivs|CapEff|Seccomp):/ {print $2}' /proc/self/status";
/// The effective set and CAP_NET_RAW, as the second revision of the attribute has it.
const NET_RAW: &[u8; 20] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

pub struct Ground {
    folder: tempfile::TempDir,
    strict: Zygote,
    loose: OnceLock<Zygote>,
    decoy: Mutex<Child>,
    /// Whether the decoy's user has a key in the kernel's keyrings; some hosts let nobody make one.
    pub has_key: bool,
    /// Listeners that nobody may reach, and those of controls.
    doors: [Doors; 2],
    before: Snapshot,
    made: AtomicU32,
    groups: Mutex<Vec<PathBuf>>,
    /// Its host's end, and its path.
    terminal: (OwnedFd, String),
}

/// Path, then mode, owner and content.
type Snapshot = BTreeMap<PathBuf, (u32, u32, Vec<u8>)>;

/// Files that a jail was shown, as they were.
pub struct Shown {
    top: PathBuf,
    before: Snapshot,
}

impl Shown {
    /// What differs: must be empty, but after a control that may write.
    pub fn changes(&self) -> Vec<String> {
        differences(&self.top, &self.before)
    }
}

/// For whom the decoys are.
#[derive(Debug, Clone, Copy)]
pub enum Role {
    Attempt,
    Control,
}

/// Listeners of the host's.
struct Doors {
    addresses: Vec<(String, String)>,
    socket: PathBuf,
    contacts: Arc<AtomicU32>,
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether this is root with the rights that controls on the host show; root of a container may lack them.
pub fn has_hosts_rights() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    let needed = CapabilitySet::SYS_ADMIN
        | CapabilitySet::SYS_BOOT
        | CapabilitySet::SYS_MODULE
        | CapabilitySet::SYS_NICE
        | CapabilitySet::SYS_PACCT
        | CapabilitySet::SYS_TTY_CONFIG
        | CapabilitySet::SYSLOG
        | CapabilitySet::MKNOD
        | CapabilitySet::LINUX_IMMUTABLE
        | CapabilitySet::DAC_READ_SEARCH;
    is_root() && capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

pub fn jail_exe() -> PathBuf {
    std::env::var_os(JAIL_EXE).map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_tenure-jail-controls")), PathBuf::from)
}

impl Ground {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        // Whoever sees the host's tree may walk to the decoys: only the layers of a jail keep it from them.
        open_to_all(folder.path(), 0o755);
        furnish(folder.path());
        let doors = [Doors::open(&at("door/tenure.sock")), Doors::open(&at("door/control.sock"))];
        let (decoy, has_key) = decoy();
        let strict = Zygote::start_with(&jail_exe(), &at("run"), PoolSize::None).expect("a zygote");
        let before = snapshot(folder.path());
        Self {
            strict,
            loose: OnceLock::new(),
            decoy: Mutex::new(decoy),
            has_key,
            doors,
            before,
            made: AtomicU32::new(0),
            groups: Mutex::new(Vec::new()),
            terminal: terminal(),
            folder,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A folder that no other attempt has.
    pub fn fresh(&self, name: &str) -> PathBuf {
        let path = self.path(&format!("{name}-{}", self.made.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir(&path).expect("a folder");
        path
    }

    /// A spec over a new work folder, with limits that keep the host from harm.
    pub fn spec(&self) -> Spec {
        let identity = if is_root() { Identity::Host { uid: AGENT, gid: AGENT } } else { Identity::Caller };
        let mut spec = Spec::new(self.fresh("work"), identity);
        spec.limits.memory_bytes = 128 << 20;
        spec.limits.pids = 40;
        spec
    }

    /// The same folder, owned by the same agent, in another jail.
    pub fn open(&self, spec: &Spec) -> Jail {
        self.try_open(spec).unwrap_or_else(|error| panic!("a jail does not open: {error}"))
    }

    pub fn try_open(&self, spec: &Spec) -> Result<Jail, Error> {
        let zygote = if spec.bypass.layers.contains(&Layer::Seccomp) { self.loose() } else { &self.strict };
        let jail = zygote.open(spec)?;
        self.groups.lock().expect("no test panics with it").extend_from_slice(jail.cgroups());
        Ok(jail)
    }

    fn loose(&self) -> &Zygote {
        let start = || Zygote::start_without(&jail_exe(), &self.path("loose"), &[Layer::Seccomp]).expect("a zygote");
        self.loose.get_or_init(start)
    }

    /// What tells a probe where the decoys are.
    pub fn environment(&self, role: Role) -> Vec<(String, String)> {
        self.environment_at(self.folder.path(), role)
    }

    /// The same, with the decoys' files at the place of the copy that `show` mounts.
    pub fn environment_shown(&self, role: Role) -> Vec<(String, String)> {
        self.environment_at(Path::new(SHOWN), role)
    }

    /// Has the jail see a copy of the decoys' files, read-only.
    pub fn show(&self, spec: &mut Spec) -> Shown {
        let top = self.fresh("shown");
        open_to_all(&top, 0o755);
        furnish(&top);
        spec.mounts.push(Mount { source: top.clone(), target: SHOWN.into(), read_only: true });
        Shown { before: snapshot(&top), top }
    }

    fn environment_at(&self, top: &Path, role: Role) -> Vec<(String, String)> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let doors = &self.doors[role as usize];
        let mut variables = doors.addresses.clone();
        let socket = doors.socket.file_name().map(Path::new).expect("it has a name");
        variables.push(("HOST_SOCKET".to_owned(), text(top.join("door").join(socket))));
        let files = [
            ("HOST_FILE", "outside/secret"),
            ("HOST_FOLDER", "outside"),
            ("HOST_DATA", "daemon"),
            ("OTHER_WORK", "other"),
            ("SETUID", "outside/id"),
            ("FILECAPS", "outside/cat"),
        ];
        variables.extend(files.map(|(name, file)| (name.to_owned(), text(top.join(file)))));
        variables.push(("BONDS".to_owned(), BONDS.to_owned()));
        // A program has some of its own by these names.
        let own = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR"];
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let names: Vec<String> = names.filter(|name| !own.contains(&name.as_str())).collect();
        variables.push(("HOST_VARIABLES".to_owned(), names.join(" ")));
        let decoy = self.decoy.lock().expect("no test panics with it").id();
        variables.push(("HOST_PID".to_owned(), decoy.to_string()));
        let number = self.terminal.1.trim_start_matches("/dev/pts/").to_owned();
        variables.push(("HOST_PTS".to_owned(), number));
        variables
    }

    /// How many connections and datagrams came to listeners that nobody may reach.
    pub fn contacts(&self) -> u32 {
        self.doors[Role::Attempt as usize].contacts.load(Ordering::Relaxed)
    }

    /// What differs from how it was: must be empty.
    pub fn changes(&self) -> Vec<String> {
        let mut changes = differences(self.folder.path(), &self.before);
        let ended = self.decoy.lock().expect("no test panics with it").try_wait();
        if !matches!(ended, Ok(None)) {
            changes.push("the decoy process is gone".to_owned());
        }
        changes
    }

    /// Ends everything and says what is left of the jails: must be empty.
    pub fn leave(self) -> Vec<String> {
        let mut found = self.changes();
        if self.contacts() > 0 {
            found.push(format!("the host's listeners were reached {} times", self.contacts()));
        }
        let Self { strict, loose, decoy, folder, groups, .. } = self;
        let zygotes: Vec<Zygote> = std::iter::once(strict).chain(loose.into_inner()).collect();
        let prefixes: Vec<String> = zygotes.iter().map(|zygote| format!("tenure-{:x}-", zygote.pid())).collect();
        drop(zygotes);
        let mut decoy = decoy.into_inner().expect("no test panics with it");
        decoy.kill().and_then(|()| decoy.wait()).expect("the decoy ends");
        let groups = groups.into_inner().expect("no test panics with it");
        found.extend(groups.iter().filter(|group| group.exists()).map(|group| format!("{} is left", group.display())));
        found.extend(groups_named(&prefixes).into_iter().map(|group| format!("{group} is left")));
        let mark = folder.path().to_string_lossy().into_owned();
        // A killed process takes a moment to be gone.
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holders(&mark).is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        found.extend(holders(&mark).into_iter().map(|holder| format!("{holder} is left")));
        found
    }
}

/// One of the host's, that its owner may write to.
fn terminal() -> (OwnedFd, String) {
    use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
    let own = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    unlockpt(&own).expect("unlocked");
    let name = ptsname(&own, Vec::new()).expect("a name").into_string().expect("text");
    (own, name)
}

pub fn open_to_all(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("a mode");
}

/// The decoys' files, readable by all where only a jail's view is to hide them.
fn furnish(top: &Path) {
    for (folder, mode) in [("outside", 0o777), ("daemon", 0o700), ("door", 0o777), ("other", 0o755)] {
        std::fs::create_dir(top.join(folder)).expect("a folder");
        open_to_all(&top.join(folder), mode);
    }
    let files = [
        ("outside/secret", 0o666),
        ("daemon/ledger.db", 0o600),
        ("daemon/provider.key", 0o600),
        ("other/secret", 0o644),
    ];
    for (file, mode) in files {
        std::fs::write(top.join(file), format!("CANARY {file}\n")).expect("a file");
        open_to_all(&top.join(file), mode);
    }
    if is_root() {
        for (program, copy, mode) in [("/usr/bin/id", "outside/id", 0o4755), ("/usr/bin/cat", "outside/cat", 0o755)] {
            std::fs::copy(program, top.join(copy)).expect("a program");
            open_to_all(&top.join(copy), mode);
        }
        let capability = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(top.join("outside/cat"), "security.capability", NET_RAW, capability)
            .expect("an attribute");
        for path in ["other", "other/secret"] {
            chown(top.join(path), Some(OTHER), Some(OTHER)).expect("another agent's");
        }
    }
}

fn differences(top: &Path, before: &Snapshot) -> Vec<String> {
    let now = snapshot(top);
    let changed = before.iter().filter(|(path, was)| now.get(*path) != Some(was));
    let new = now.keys().filter(|path| !before.contains_key(*path));
    let changed = changed.map(|(path, _)| format!("{} has changed", path.display()));
    changed.chain(new.map(|path| format!("{} is new", path.display()))).collect()
}

fn snapshot(top: &Path) -> Snapshot {
    let mut found = Snapshot::new();
    for folder in ["outside", "daemon", "door", "other"] {
        let mut open = vec![top.join(folder)];
        while let Some(path) = open.pop() {
            let about = std::fs::symlink_metadata(&path).expect("it can be looked at");
            let mut content = Vec::new();
            if about.is_file() {
                std::fs::File::open(&path).and_then(|mut file| file.read_to_end(&mut content)).expect("it can be read");
            } else if about.is_dir() {
                open.extend(std::fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
            }
            found.insert(path, (about.mode(), about.uid(), content));
        }
    }
    found
}

/// A process of the same host user as the hostile programs', with secrets in its arguments and environment, and a key of that
/// user's if the host lets it make one: `add_key` into the user's own keyring.
fn decoy() -> (Child, bool) {
    let add_key = "import ctypes, platform\ncall = {'x86_64': 248, 'aarch64': 217}[platform.machine()]\n\
                   print(ctypes.CDLL(None).syscall(call, b'user', b'tenure-decoy', b'CANARY', 6, -4) > 0)";
    let mut command = Command::new("/bin/sh");
    let script = format!("python3 -c \"{add_key}\" || echo; read forever");
    command.args(["-c", &script, "CANARY-ARGUMENT"]).env("SECRET", "CANARY-ENVIRONMENT").current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    if is_root() {
        command.uid(AGENT).gid(AGENT);
    }
    let mut decoy = command.spawn().expect("a decoy process");
    let mut said = String::new();
    let heard = BufReader::new(decoy.stdout.take().expect("it is piped")).read_line(&mut said);
    (decoy, heard.is_ok() && said.trim() == "True")
}

impl Doors {
    /// Beside the one that is a file at `door`, one without a file, one of TCP and one of UDP.
    fn open(door: &Path) -> Self {
        let contacts = Arc::new(AtomicU32::new(0));
        Self { addresses: listen(door, &contacts), socket: door.to_owned(), contacts }
    }
}

fn listen(door: &Path, contacts: &Arc<AtomicU32>) -> Vec<(String, String)> {
    let abstract_name = format!("tenure-decoy-{}", door.display());
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let named = UnixListener::bind(door).expect("a listener");
    open_to_all(door, 0o777);
    let nameless = SocketAddr::from_abstract_name(&abstract_name).and_then(|name| UnixListener::bind_addr(&name));
    let nameless = nameless.expect("a listener");
    let addresses = [
        ("HOST_TCP", tcp.local_addr().expect("an address").port().to_string()),
        ("HOST_UDP", udp.local_addr().expect("an address").port().to_string()),
        ("HOST_ABSTRACT", abstract_name),
    ];
    let counted = |wait: Box<dyn Fn() -> bool + Send>| {
        let contacts = Arc::clone(contacts);
        // Ends with the test's process.
        std::thread::spawn(move || {
            while wait() {
                contacts.fetch_add(1, Ordering::Relaxed);
            }
        });
    };
    counted(Box::new(move || tcp.accept().is_ok()));
    counted(Box::new(move || udp.recv(&mut [0; 64]).is_ok()));
    counted(Box::new(move || named.accept().is_ok()));
    counted(Box::new(move || nameless.accept().is_ok()));
    addresses.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// Control groups whose name begins with one of these.
fn groups_named(prefixes: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
    while let Some((folder, depth)) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if prefixes.iter().any(|prefix| name.starts_with(prefix)) {
                found.push(entry.path().display().to_string());
            } else if depth < 6 {
                open.push((entry.path(), depth + 1));
            }
        }
    }
    found
}

/// Processes, other than this one, that see a mount of the folder or were started there.
fn holders(mark: &str) -> Vec<String> {
    let own = std::process::id() as i32;
    let holds = |pid: i32| {
        let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        let command = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        mounts.contains(mark) || String::from_utf8_lossy(&command).contains(mark)
    };
    let all = processes::all().into_iter().filter(|process| process.pid != own && process.name != "zombie");
    all.filter(|process| holds(process.pid))
        .map(|process| format!("process {} `{}`", process.pid, process.command))
        .collect()
}

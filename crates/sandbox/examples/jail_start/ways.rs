//! The ways of starting a program, each done once or many times at once.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use tenure_sandbox::protocol::Spawn;
use tenure_sandbox::{Identity, Jail, PoolSize, Spec, Zygote};

use crate::Outcome;
use crate::measure::children;
use crate::peers::{Peers, bubblewrap};

const PATIENCE: Duration = Duration::from_secs(30);
/// For each thread; enough that a jail waits for each of them, and little more that is made and ended beside the measuring.
const POOL_BYTES: u64 = 1 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Plain,
    Bubblewrap,
    Runc,
    Crun,
    Podman,
    Srt,
    /// Made when it is asked for, up to its hello.
    Cold,
    /// Half-made before, up to its hello.
    Pool,
    /// Opened cold, the program run, and the jail proven dead and buried.
    ColdRun,
    /// The same from the pool, as a worker does it.
    PoolRun,
    /// A program in a jail that is open already. Its CPU time holds the jail's life and death too.
    Run,
}

pub(crate) const WAYS: [(Way, &str); 11] = [
    (Way::Plain, "plain spawn"),
    (Way::Bubblewrap, "bubblewrap"),
    (Way::Runc, "runc"),
    (Way::Crun, "crun, no cgroups"),
    (Way::Podman, "podman run"),
    (Way::Srt, "sandbox-runtime"),
    (Way::Cold, "jail, cold, open to ready"),
    (Way::Pool, "jail, pooled, open to ready"),
    (Way::ColdRun, "jail, cold, open + run + killed"),
    (Way::PoolRun, "jail, open + run + killed"),
    (Way::Run, "run in an open jail"),
];

impl Way {
    pub(crate) fn is_slow(self) -> bool {
        matches!(self, Self::Podman | Self::Srt)
    }

    fn is_pooled(self) -> bool {
        matches!(self, Self::Pool | Self::PoolRun)
    }
}

/// Zygotes, folders, and the other programs.
pub(crate) struct Ground {
    pub(crate) folder: PathBuf,
    pub(crate) cold: Zygote,
    pub(crate) pooled: Zygote,
    /// One a thread.
    specs: Vec<Spec>,
    peers: Peers,
}

impl Ground {
    pub(crate) fn make(peers: bool, srt: Option<PathBuf>, at_once: usize) -> Outcome<Self> {
        let folder = std::env::temp_dir().join(format!("tenure-jail-start-{}", std::process::id()));
        let specs = (0..at_once).map(|nth| spec(&folder, nth)).collect::<Outcome<Vec<_>>>()?;
        let exe = std::env::current_exe()?;
        let cold = Zygote::start_with(&exe, &folder.join("cold"), PoolSize::None)?;
        let pooled =
            Zygote::start_with(&exe, &folder.join("pooled"), PoolSize::UpTo { bytes: POOL_BYTES * at_once as u64 })?;
        let peers = Peers::make(&folder, if peers { at_once } else { 0 }, srt)?;
        Ok(Self { folder, cold, pooled, specs, peers })
    }

    pub(crate) fn clear(self) -> Outcome<()> {
        let Self { folder, cold, pooled, peers, .. } = self;
        drop((cold, pooled));
        peers.clear();
        Ok(std::fs::remove_dir_all(folder)?)
    }

    pub(crate) fn spec(&self, nth: usize) -> &Spec {
        &self.specs[nth]
    }

    /// Until what a batch left is buried and the pool is full again.
    pub(crate) fn settle(&self, way: Way) {
        let jails = self.specs.len() as u32;
        let time = if way.is_pooled() {
            Duration::from_millis(6) + Duration::from_millis(2) * jails
        } else {
            Duration::from_millis(2)
        };
        std::thread::sleep(time);
    }

    /// One start in each of so many threads at the same moment; the wall time of each. Empty if the program is not there or
    /// does not work here.
    pub(crate) fn batch(&self, way: Way, at_once: usize) -> Outcome<Vec<Duration>> {
        let one = |nth: usize, barrier: &Barrier| -> Outcome<Option<Duration>> {
            let open = if way == Way::Run { Some(self.cold.open(self.spec(nth))?) } else { None };
            barrier.wait();
            let wall = self.once(way, nth, open.as_ref());
            if let Some(jail) = open {
                jail.kill()?;
            }
            wall
        };
        if at_once == 1 {
            return Ok(one(0, &Barrier::new(1))?.into_iter().collect());
        }
        let barrier = Barrier::new(at_once);
        let walls: Vec<Result<Option<Duration>, String>> = std::thread::scope(|scope| {
            let spawn = |nth| {
                let (one, barrier) = (&one, &barrier);
                scope.spawn(move || one(nth, barrier).map_err(|error| error.to_string()))
            };
            let threads: Vec<_> = (0..at_once).map(spawn).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into())))
                .collect()
        });
        let walls: Result<Vec<_>, String> = walls.into_iter().collect();
        Ok(walls?.into_iter().flatten().collect())
    }

    fn once(&self, way: Way, nth: usize, open: Option<&Jail>) -> Outcome<Option<Duration>> {
        let spec = self.spec(nth);
        let began = Instant::now();
        let ready = |zygote: &Zygote| -> Outcome<Duration> {
            let jail = zygote.open(spec)?;
            let wall = began.elapsed();
            jail.kill()?;
            Ok(wall)
        };
        let whole = |zygote: &Zygote| -> Outcome<Duration> {
            let jail = zygote.open(spec)?;
            jail.client(PATIENCE)?.run(Spawn::new(["/bin/true"]), b"")?;
            jail.kill()?;
            Ok(began.elapsed())
        };
        let command = match way {
            Way::Cold => return ready(&self.cold).map(Some),
            Way::Pool => return ready(&self.pooled).map(Some),
            Way::ColdRun => return whole(&self.cold).map(Some),
            Way::PoolRun => return whole(&self.pooled).map(Some),
            Way::Run => {
                open.ok_or("a jail")?.client(PATIENCE)?.run(Spawn::new(["/bin/true"]), b"")?;
                return Ok(Some(began.elapsed()));
            }
            Way::Plain => {
                let mut plain = Command::new("/bin/true");
                plain.env_clear();
                Some(plain)
            }
            Way::Bubblewrap => Some(bubblewrap(spec)),
            Way::Runc => self.peers.runc(nth),
            Way::Crun => self.peers.crun(nth),
            Way::Podman => self.peers.podman(),
            Way::Srt => self.peers.srt(spec),
        };
        let Some(mut command) = command else { return Ok(None) };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let began = Instant::now();
        match command.status() {
            Ok(status) if status.success() => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let wall = began.elapsed();
        if self.specs.len() == 1 && way != Way::Plain {
            self.adopt_and_reap();
        }
        Ok(Some(wall))
    }

    /// Some leave their inner init unreaped; only who reaps it sees its CPU time.
    fn adopt_and_reap(&self) {
        let zygotes = [self.cold.pid(), self.pooled.pid()];
        let deadline = Instant::now() + Duration::from_millis(50);
        while children(std::process::id()).iter().any(|pid| !zygotes.contains(pid)) && Instant::now() < deadline {
            let _ = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

/// A spec over a folder and a host uid of the `nth` thread's own.
pub(crate) fn spec(folder: &std::path::Path, nth: usize) -> Outcome<Spec> {
    let work = folder.join(format!("work-{nth}"));
    std::fs::create_dir_all(&work)?;
    let uid = 300_000 + nth as u32;
    let root = rustix::process::geteuid().is_root();
    let mut spec = Spec::new(work, if root { Identity::Host { uid, gid: uid } } else { Identity::Caller });
    spec.hostname = "bench".to_owned();
    Ok(spec)
}

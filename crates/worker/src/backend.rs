//! What makes an iteration's jail: the zygote, or a container engine of this host. Whatever made it, the same is done with it.
//! Must never: run in another place than the confinement names, or say that an engine is there which did not answer.
use crate::error::Error;
use crate::level::{describe_level, guards};
use crate::runtime::WorkerRuntime;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tenure_core::manifest::{self, Backend, Guard, Quota};
use tenure_sandbox::container::{Contained, Engine, Removal};
use tenure_sandbox::{Jail, Level, Spec};
use tokio::task::spawn_blocking;

/// How long an engine that no survey has found yet may take to answer a jail's opening.
const ENGINE_CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// One jail, by what made it.
pub(crate) enum Sandbox {
    Native(Jail),
    Container(Contained),
}

impl Sandbox {
    /// Opens a jail where `backend` says.
    pub(crate) async fn open(runtime: &Arc<WorkerRuntime>, backend: &Backend, spec: Spec) -> Result<Sandbox, Error> {
        match backend {
            Backend::Native => {
                let runtime = Arc::clone(runtime);
                Ok(Sandbox::Native(spawn_blocking(move || runtime.zygote.open(&spec)).await??))
            }
            Backend::Container { image } => {
                let engine = match runtime.known_engine() {
                    Some(engine) => engine,
                    None => {
                        Engine::connect_within(ENGINE_CONNECT_TIMEOUT).await.map_err(|why| Error::NoEngine { why })?
                    }
                };
                runtime.uses_engine();
                match engine.open(&spec, image, &runtime.exe, &runtime.run_dir).await {
                    Ok(contained) => Ok(Sandbox::Container(contained)),
                    Err(error @ tenure_sandbox::Error::Engine { .. }) => {
                        // The one that a survey found may be gone, or another be there in its place.
                        runtime.forget_engine();
                        Engine::connect().await.map_err(|why| Error::NoEngine { why })?;
                        Err(error.into())
                    }
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    /// The first of `wanted` that this jail does not have.
    pub(crate) fn lacks(&self, wanted: &[Guard], quota: Quota) -> Option<Guard> {
        let has = guards(self.level(), quota);
        wanted.iter().copied().find(|guard| !has.contains(guard))
    }

    fn level(&self) -> &Level {
        match self {
            Sandbox::Native(jail) => jail.level(),
            Sandbox::Container(contained) => contained.level(),
        }
    }

    /// What holds it, in at most 256 characters.
    pub(crate) fn describe(&self, disk: &str) -> String {
        match self {
            Sandbox::Native(jail) => describe_level(jail.level(), disk),
            Sandbox::Container(contained) => format!("{}, disk {disk}", contained.describe()),
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        match self {
            Sandbox::Native(jail) => jail.pid(),
            Sandbox::Container(contained) => contained.pid(),
        }
    }

    pub(crate) fn cgroups(&self) -> &[PathBuf] {
        match self {
            Sandbox::Native(jail) => jail.cgroups(),
            Sandbox::Container(contained) => contained.cgroups(),
        }
    }

    pub(crate) fn take_socket(&mut self) -> Option<UnixStream> {
        match self {
            Sandbox::Native(jail) => jail.take_socket(),
            Sandbox::Container(contained) => contained.take_socket(),
        }
    }

    pub(crate) fn take_listener(&mut self) -> Option<TcpListener> {
        match self {
            Sandbox::Native(jail) => jail.take_listener(),
            Sandbox::Container(contained) => contained.take_listener(),
        }
    }

    pub(crate) fn take_service_listener(&mut self) -> Option<TcpListener> {
        match self {
            Sandbox::Native(jail) => jail.take_service_listener(),
            Sandbox::Container(contained) => contained.take_service_listener(),
        }
    }

    /// Why it ended by itself, as far as that is known, added to what was seen.
    pub(crate) async fn cause(&self, seen: String) -> String {
        match self {
            Sandbox::Native(_) => seen,
            Sandbox::Container(contained) => match contained.cause().await {
                Some(cause) => format!("{seen}: {cause}"),
                None => seen,
            },
        }
    }

    /// Returns once every process of it is proven dead.
    pub(crate) async fn kill(self) -> Result<(), Error> {
        match self {
            Sandbox::Native(jail) => Ok(spawn_blocking(move || jail.kill()).await??),
            Sandbox::Container(contained) => {
                if let Removal::Left { why } = contained.kill().await? {
                    tracing::warn!(id = contained.id(), why, "a dead container is still in its engine's list");
                }
                Ok(())
            }
        }
    }
}

/// The engine as it answers now, some seconds at most, and what is told of it.
pub(crate) async fn engine(quota: Quota) -> (Option<Engine>, manifest::Engine) {
    let absent = |why: String| (None, manifest::Engine::Absent { why });
    let engine = match Engine::connect().await {
        Ok(engine) => engine,
        Err(why) => return absent(why),
    };
    let images = match engine.images().await {
        Ok(images) => images,
        Err(error) => return absent(error.to_string()),
    };
    let (name, version) = (engine.name().to_owned(), engine.version().to_owned());
    let told = manifest::Engine::Present { name, version, images, guards: guards(&engine.level(), quota) };
    (Some(engine), told)
}

/// Which containers are to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SweepScope {
    /// Those that an earlier worker on this run folder left. Their processes are dead already, by their records.
    Earlier,
    /// This worker's too.
    All,
}

/// Has the engine forget containers of this run folder. False if none answers, or one cannot; the latter is logged.
pub(crate) async fn sweep(run_dir: &Path, whose: SweepScope) -> bool {
    let Ok(engine) = Engine::connect().await else { return false };
    let swept = match whose {
        SweepScope::Earlier => engine.reap(run_dir).await,
        SweepScope::All => engine.clear(run_dir).await,
    };
    match &swept {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "removed containers of this worker's folder from {}", engine.name()),
        Err(error) => tracing::warn!(%error, "containers of this worker's folder may be left"),
    }
    swept.is_ok()
}

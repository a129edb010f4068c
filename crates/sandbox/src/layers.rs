//! Which layers a jail has, and which duties its own code does: all of them. Must never: offer a way to leave one out, but in
//! a build for tests.

#[cfg(feature = "controls")]
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::error::Layer;
use crate::spec::Spec;

/// What a jail is made with, known before its spec is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Layers {
    #[cfg(feature = "controls")]
    without: Vec<Layer>,
    #[cfg(feature = "controls")]
    without_pid_namespace: bool,
}

#[cfg(not(feature = "controls"))]
impl Layers {
    pub(crate) const fn of(_spec: &Spec) -> Self {
        Self {}
    }

    pub(crate) const fn have(&self, _layer: Layer) -> bool {
        true
    }

    pub(crate) const fn have_own_pids(&self) -> bool {
        true
    }
}

#[cfg(feature = "controls")]
impl Layers {
    pub(crate) fn of(spec: &Spec) -> Self {
        Self { without: spec.without.clone(), without_pid_namespace: spec.without_pid_namespace }
    }

    pub(crate) fn all_but(layers: &[Layer]) -> Self {
        Self { without: layers.to_vec(), without_pid_namespace: false }
    }

    pub(crate) fn have(&self, layer: Layer) -> bool {
        !self.without.contains(&layer)
    }

    pub(crate) fn have_own_pids(&self) -> bool {
        !self.without_pid_namespace
    }

    pub(crate) fn missing(&self) -> &[Layer] {
        &self.without
    }
}

/// What the jail's own code sees to, where a `Layer` is what the kernel does for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Duty {
    /// File operations stay beneath the places that they may reach, follow no link out of them, and are bounded.
    Paths,
    /// Files are regular ones, and no open waits for a program.
    Kinds,
    /// What a program leaves behind is found and killed.
    Keepers,
    /// Programs, though of the same user, cannot look into the jail's first process.
    Secrecy,
    /// Programs get no descriptor but the standard ones, and are not named by one.
    Descriptors,
    /// Device nodes in what a spec names are none.
    Devices,
    /// No route leads anywhere. Without it every address leads to the jail itself, which only a jail without `Layer::Seccomp` can
    /// arrange.
    Routes,
    /// What all jails share cannot be written. Without it, and without `Layer::View`, a jail has a copy of its own that can.
    Shared,
}

/// Whether this process, a jail's first one, does a duty.
#[cfg(not(feature = "controls"))]
pub(crate) const fn kept(_duty: Duty) -> bool {
    true
}

#[cfg(feature = "controls")]
static FORGONE: OnceLock<Vec<Duty>> = OnceLock::new();

#[cfg(feature = "controls")]
pub(crate) fn kept(duty: Duty) -> bool {
    FORGONE.get().is_none_or(|forgone| !forgone.contains(&duty))
}

/// Once, in a jail's first process, before it serves.
#[cfg(feature = "controls")]
pub(crate) fn forgo(duties: &[Duty]) {
    let _ = FORGONE.set(duties.to_vec());
}

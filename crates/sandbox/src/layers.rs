//! Which layers a jail has: all of them. Must never: offer a way to leave one out, but in a build for tests.

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

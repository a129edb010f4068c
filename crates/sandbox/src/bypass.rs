//! Where a jail of the tests can lack a layer or a check, which shows what that is worth. In the product none can: here is no
//! switch, and no feature adds one. The test builds of tests/controls have a module of their own in this one's place.
//! Must never: answer anything but that all is in force.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};

use crate::error::{Failure, Layer};
use crate::spec::Spec;
use crate::sys;

/// What a jail is made without: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bypass {}

impl Bypass {
    pub(crate) const fn keeps(&self, _layer: Layer) -> bool {
        true
    }

    pub(crate) const fn keeps_pid_namespace(&self) -> bool {
        true
    }

    /// Whether it asks for nothing that was settled before its claim.
    pub(crate) const fn is_none(&self) -> bool {
        true
    }
}

/// What the jail's own code sees to, where a `Layer` is what the kernel does for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    Paths,
    Kinds,
    Orphans,
    Descriptors,
}

/// Part of the protocol's version.
pub(crate) const VERSION_BIT: u16 = 0;

pub(crate) const fn enforces(_check: Check) -> bool {
    true
}

/// Once, in a jail's first process, before its view is made.
pub(crate) const fn begin(_spec: &Spec) -> Result<(), Failure> {
    Ok(())
}

/// Once, in a jail's first process, before it serves.
pub(crate) const fn serving() -> io::Result<()> {
    Ok(())
}

pub(crate) fn drop_capabilities(_spec: &Spec) -> io::Result<()> {
    sys::drop_capabilities()
}

pub(crate) const fn root(_spec: &Spec, root: OwnedFd) -> Result<OwnedFd, Failure> {
    Ok(root)
}

/// The attributes of a mount that a spec names.
pub(crate) const fn attributes(attributes: u64) -> u64 {
    attributes
}

/// How an open is made.
pub(crate) const fn resolution(flags: OFlags, resolve: ResolveFlags) -> (OFlags, ResolveFlags) {
    (flags, resolve)
}

/// Where a link leads that a request may go through.
pub(crate) const fn follow(_folder: &OwnedFd, _name: &OsStr) -> Option<(OwnedFd, OsString)> {
    None
}

/// Programs get these besides the standard ones.
pub(crate) const fn pass_on_descriptors(_more: &[&OwnedFd]) -> io::Result<()> {
    Ok(())
}

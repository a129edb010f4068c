//! What one jail shows of an agent's folders and of the host, and how much the agent may keep there.
//! Must never: show what the manifest and the operator do not both name, or make anything in a folder of the host's.

use super::mount::{PLACES, allowed};
use super::quota::{Allowance, Enforcer, Root, VolumeLimit};
use super::remove::Effort;
use super::view::{View, ViewRequest, make_place, view};
use super::volume::{self, Claim, Found};
use super::{WorkFolders, sweep};
use crate::error::Error;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tenure_core::call::Holder;
use tenure_core::id::AgentId;
use tenure_core::manifest::Guard;
use tenure_sandbox::protocol::TRASH;
use tenure_sandbox::{Identity, Mount, WORKSPACE};
use tenure_wire::confinement::{Confinement, Volume};
use tokio_util::sync::CancellationToken;

/// Largest file where the manifest allows more on the disk.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// What an opening may spend on what is past its time.
const SWEEP_TIME: Duration = Duration::from_millis(50);
const SWEEP_ENTRIES: u64 = 20_000;

/// Everything of the disk that a jail is made of.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) identity: Identity,
    /// What appears as `/workspace`.
    pub(crate) base: PathBuf,
    pub(crate) base_read_only: bool,
    /// A folder comes before what lies in it.
    pub(crate) mounts: Vec<Mount>,
    pub(crate) file_bytes: u64,
    pub(crate) allowance: Allowance,
    /// To be kept until the jail is proven dead.
    pub(crate) claim: Option<Claim>,
}

/// A volume of the manifest, and its folder.
struct PlacedVolume<'a> {
    wanted: &'a Volume,
    target: &'a Path,
    found: Found,
}

impl WorkFolders {
    /// Finds, makes and cleans what the jail is to show. Blocks.
    pub(crate) fn lay_out(&self, agent: AgentId, holder: Holder, wanted: &Confinement) -> Result<Layout, Error> {
        self.check_require(wanted)?;
        let (home, work, identity) = self.home(agent)?;
        let mut effort = Effort::new(SWEEP_TIME, SWEEP_ENTRIES, CancellationToken::new());
        sweep::agent(&home, &mut effort);
        let mut claim = None;
        let mut volumes = Vec::new();
        for stated in &wanted.volumes {
            let target = Path::new(&stated.mount_point);
            check_place(stated, target, &volumes)?;
            let found = volume::find(&home, identity, holder, &mut claim, stated)?;
            volumes.push(PlacedVolume { wanted: stated, target, found });
        }
        let top = volumes.iter().position(|volume| volume.target == Path::new(WORKSPACE));
        let top = top.map(|index| volumes.swap_remove(index));
        let base = top.as_ref().map_or(&work, |top| &top.found);
        let places = self.places(&volumes, identity)?;
        let (read, write) = (of_work(&wanted.read, &volumes), of_work(&wanted.write, &volumes));
        let read_only = top.as_ref().is_some_and(|top| top.wanted.read_only);
        let seen = ViewRequest { read: &read, write: &write, read_only, places: &places };
        let View { base: shown, base_read_only, mut mounts } = view(&home, identity, base, &seen)?;
        for mount in mounts.iter().filter(|mount| !mount.read_only) {
            sweep::trash_in(&home, base, mount.source.strip_prefix(&base.path).unwrap_or(Path::new("")), &mut effort);
        }
        mounts.extend(volumes.iter().map(|volume| Mount {
            source: volume.found.path.clone(),
            target: volume.target.to_owned(),
            read_only: volume.wanted.read_only,
        }));
        mounts.extend(self.of_host(wanted, &volumes)?);
        mounts.sort_by_key(|mount| mount.target.components().count());
        let allowance = self.allowance(wanted, identity, top.as_ref(), &work, &volumes)?;
        allowance.impose()?;
        let sizes = allowance.roots.iter().filter_map(|root| root.own.as_ref()).map(|own| own.bytes_max);
        let file_bytes = sizes.fold(allowance.bytes_max, u64::max).min(FILE_BYTES_MAX);
        Ok(Layout { identity, base: shown, base_read_only, mounts, file_bytes, allowance, claim })
    }

    fn check_require(&self, wanted: &Confinement) -> Result<(), Error> {
        if !wanted.require.contains(&Guard::HardQuota) {
            return Ok(());
        }
        let lacks = |why| Err(Error::SoftOnly { why });
        if !self.hard {
            return lacks("");
        }
        let sized = |volume: &Volume| volume.size_bytes.is_some() && volume.mount_point != WORKSPACE;
        if wanted.volumes.iter().any(sized) {
            return lacks(" for the sizes of single volumes");
        }
        Ok(())
    }

    /// Makes the places of volumes that lie in others; those in the work folder itself, relative to it, are the view's.
    fn places(&self, volumes: &[PlacedVolume<'_>], identity: Identity) -> Result<Vec<PathBuf>, Error> {
        let mut places = Vec::new();
        for volume in volumes {
            let around =
                |other: &&PlacedVolume<'_>| volume.target != other.target && volume.target.starts_with(other.target);
            let around = volumes.iter().filter(around).max_by_key(|other| other.target.components().count());
            match (around, volume.target.strip_prefix(WORKSPACE)) {
                (Some(around), _) => {
                    let rest = volume.target.strip_prefix(around.target).unwrap_or(Path::new(""));
                    make_place(&around.found.folder, rest, identity, volume.target)?;
                }
                (None, Ok(rest)) => places.push(rest.to_owned()),
                (None, Err(_)) => {}
            }
        }
        Ok(places)
    }

    /// The host's folders that both lists and operator name. A path in a volume is the volume's.
    fn of_host(&self, wanted: &Confinement, volumes: &[PlacedVolume<'_>]) -> Result<Vec<Mount>, Error> {
        let mut mounts: Vec<Mount> = Vec::new();
        // Writing first: a path in both lists can be written.
        for (list, write) in [(&wanted.write, true), (&wanted.read, false)] {
            for path in list.iter().map(Path::new).filter(|path| !path.starts_with(WORKSPACE)) {
                if let Some(volume) = volumes.iter().find(|volume| path.starts_with(volume.target)) {
                    if write && volume.wanted.read_only {
                        return refuse(path, "it is listed under write, and the volume there is read-only");
                    }
                    continue;
                }
                if volumes.iter().any(|volume| volume.target.starts_with(path)) {
                    return refuse(path, "a volume would be mounted in it, and nothing is made in the host's folders");
                }
                let read_only = allowed(&self.mounts, path, write)?;
                if !mounts.iter().any(|mount| mount.target == path) {
                    mounts.push(Mount { source: path.to_owned(), target: path.to_owned(), read_only });
                }
            }
        }
        Ok(mounts)
    }

    fn allowance(
        &self,
        wanted: &Confinement,
        identity: Identity,
        top: Option<&PlacedVolume<'_>>,
        work: &Found,
        volumes: &[PlacedVolume<'_>],
    ) -> Result<Allowance, Error> {
        let base = top.map_or(work, |top| &top.found);
        let size = top.and_then(|top| Some((top.wanted, top.wanted.size_bytes?)));
        // A volume in the work folder's place has two limits: the tighter one speaks.
        let (resource, bytes_max) = match size {
            Some((volume, size)) if size < wanted.disk_bytes => (volume_resource(volume), size),
            Some(_) | None => ("disk".to_owned(), wanted.disk_bytes),
        };
        let mut roots = vec![Root { target: WORKSPACE.into(), folder: copy(&base.folder)?, own: None }];
        // What cannot be written to cannot grow.
        for volume in volumes.iter().filter(|volume| !volume.wanted.read_only) {
            let own = volume
                .wanted
                .size_bytes
                .map(|bytes_max| VolumeLimit { resource: volume_resource(volume.wanted), bytes_max });
            roots.push(Root { target: volume.target.to_owned(), folder: copy(&volume.found.folder)?, own });
        }
        let enforcer = match identity {
            Identity::Host { uid, .. } if self.hard => Enforcer::FileSystem { folder: copy(&self.agents)?, uid },
            Identity::Host { .. } | Identity::Caller => Enforcer::Worker { reserve: Arc::clone(&self.reserve) },
        };
        Ok(Allowance { roots, resource, bytes_max, files_max: u64::from(wanted.files), enforcer })
    }
}

/// The paths of a list that lie in the work folder and in no volume.
fn of_work<'a>(list: &'a [String], volumes: &[PlacedVolume<'_>]) -> Vec<&'a str> {
    let own = |path: &Path| !volumes.iter().any(|volume| path.starts_with(volume.target));
    let paths = list.iter().map(String::as_str);
    paths.filter(|path| Path::new(path).starts_with(WORKSPACE) && own(Path::new(path))).collect()
}

fn volume_resource(volume: &Volume) -> String {
    format!("volume {}", volume.name)
}

fn copy(folder: &OwnedFd) -> Result<OwnedFd, Error> {
    folder.try_clone().map_err(Error::io("copy a descriptor"))
}

fn refuse<T>(path: &Path, why: &'static str) -> Result<T, Error> {
    Err(Error::Unsafe { path: path.display().to_string(), why })
}

/// Whether a volume may be mounted at `target`, beside those that there are.
fn check_place(volume: &Volume, target: &Path, others: &[PlacedVolume<'_>]) -> Result<(), Error> {
    let plain = target.is_absolute() && target.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
    let known = target.starts_with(WORKSPACE) || PLACES.iter().any(|place| target.starts_with(place));
    if !plain || !known || target.starts_with(Path::new(WORKSPACE).join(TRASH)) {
        return refuse(
            target,
            "a volume is mounted at or in /workspace, /data, /mnt, /opt or /srv, and not in the trash",
        );
    }
    if others.iter().any(|other| other.target == target) {
        return refuse(target, "two volumes cannot be mounted at one place");
    }
    if others.iter().any(|other| other.wanted.name == volume.name) {
        return refuse(target, "two volumes cannot have one name");
    }
    Ok(())
}

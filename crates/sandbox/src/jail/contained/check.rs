//! Whether the container is what the engine was asked for. Must never: take a path's word for what lies there.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags, makedev, openat2, statx,
};
use rustix::process::{getegid, geteuid, getgid, getgroups, getuid};

use crate::container::order::{Order, Place};
use crate::error::{Failure, Layer};

/// null, zero, full, random, urandom and tty.
const PLAIN_DEVICES: [(u32, u32); 6] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0)];

/// The engine did not do what it was asked for.
pub(super) fn lacks(layer: Layer, step: impl Into<String>) -> Failure {
    Failure { layer, step: step.into(), errno: libc::ENOTSUP }
}

pub(super) fn ids(order: &Order) -> Result<(), Failure> {
    if std::process::id() != 1 {
        return Err(lacks(Layer::Namespaces, "be the container's first process (the engine put another before it)"));
    }
    let users = [getuid(), geteuid()].map(|id| id.as_raw());
    let groups = [getgid(), getegid()].map(|id| id.as_raw());
    if users != [order.uid; 2] || groups != [order.gid; 2] || order.uid == 0 {
        return Err(lacks(Layer::Identity, format!("run as uid {} and gid {}", order.uid, order.gid)));
    }
    let further = getgroups().map_err(|error| Failure::new(Layer::Identity, "read the groups", error))?;
    if further.iter().any(|group| group.as_raw() != order.gid) {
        return Err(lacks(Layer::Identity, "be in no group but its own (the image's /etc/group gives others)"));
    }
    Ok(())
}

/// No way out but what is handed out: no route leads anywhere but to the loopback. Interfaces alone mean nothing, since some
/// kernels put dead ones into each new namespace.
pub(super) fn network() -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new(Layer::Namespaces, "read the routes", error);
    let v4 = fs::read_to_string("/proc/net/route").map_err(failed)?;
    let v6 = match fs::read_to_string("/proc/net/ipv6_route") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read.map_err(failed)?,
    };
    let v4 = v4.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().next());
    let v6 = v6.lines().filter_map(|line| line.split_ascii_whitespace().last());
    match v4.chain(v6).find(|interface| *interface != "lo") {
        None => Ok(()),
        Some(other) => Err(lacks(Layer::Namespaces, format!("have no network (there is a route by {other})"))),
    }
}

/// Each place shows what the worker named, and nothing else of the host is shown anywhere. An agent may move folders about
/// while the engine looks them up and while this looks, so mounts are known by their numbers and never by their paths.
pub(super) fn view(order: &Order) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new(Layer::View, "read /proc/self/mountinfo", error);
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(failed)?;
    let mounts: Vec<Mounted<'_>> = table.lines().filter_map(Mounted::parse).collect();
    let mut known = BTreeMap::new();
    for place in &order.places {
        known.insert(find(place)?, place);
    }
    if known.len() != order.places.len() {
        return Err(lacks(Layer::View, "mount each place by itself"));
    }
    let root = mounts.iter().filter(|mount| mount.target == "/").max_by_key(|mount| mount.id);
    let root = root.ok_or_else(|| lacks(Layer::View, "have a root of its own"))?;
    if !root.read_only() {
        return Err(lacks(Layer::View, "have a read-only root"));
    }
    for mount in &mounts {
        match known.remove(&mount.id) {
            Some(place) if place.read_only && !mount.read_only() => {
                return Err(lacks(Layer::View, format!("show {} read-only", place.path.display())));
            }
            Some(_) => {}
            None if mount.id == root.id || mount.is_engines(order) || mount.is_plain_device() => {}
            None => {
                return Err(lacks(
                    Layer::View,
                    format!("show nothing but what was named ({} is shown too)", mount.target),
                ));
            }
        }
    }
    match known.values().next() {
        None => Ok(()),
        Some(place) => Err(lacks(Layer::View, format!("keep {} where it was", place.path.display()))),
    }
}

/// The number of the mount that is at `place`, if it shows what it must.
fn find(place: &Place) -> Result<u64, Failure> {
    let failed =
        |error: rustix::io::Errno| Failure::new(Layer::View, format!("look at {}", place.path.display()), error);
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let at = openat2(CWD, &place.path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).map_err(failed)?;
    let found = statx(&at, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID | StatxFlags::INO).map_err(failed)?;
    let told = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID | StatxFlags::INO);
    let mounted = found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    let device = makedev(found.stx_dev_major, found.stx_dev_minor);
    if !told || !mounted || (device, found.stx_ino) != (place.device, place.inode) {
        let step = format!("show what was named as {} (it was exchanged meanwhile)", place.path.display());
        return Err(lacks(Layer::View, step));
    }
    Ok(found.stx_mnt_id)
}

/// A line of mountinfo.
struct Mounted<'a> {
    id: u64,
    device: &'a str,
    /// Which part of its file system it shows.
    part: &'a str,
    target: &'a str,
    options: &'a str,
    kind: &'a str,
}

impl<'a> Mounted<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let fields: Vec<&str> = mount.split(' ').collect();
        let [id, _parent, device, part, target, options, ..] = fields.as_slice() else { return None };
        let kind = filesystem.split(' ').next()?;
        Some(Self { id: id.parse().ok()?, device, part, target, options, kind })
    }

    fn read_only(&self) -> bool {
        self.options.split(',').any(|option| option == "ro")
    }

    /// Whether it can only be the engine's own: one of the kernel's views, a file system that the host does not have, or a file
    /// that the engine keeps for this very container, whose long name no agent can guess.
    fn is_engines(&self, order: &Order) -> bool {
        match self.kind {
            "proc" | "sysfs" | "devpts" | "mqueue" => true,
            "cgroup" | "cgroup2" => Path::new(self.target).starts_with("/sys/fs/cgroup"),
            "tmpfs" if !order.host_devices.iter().any(|device| device == self.device) => true,
            _ => order.container.len() >= 32 && self.part.contains(&order.container),
        }
    }

    /// Whether it shows one of the devices that every program has. An engine without the right to make them borrows the host's.
    fn is_plain_device(&self) -> bool {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = openat2(CWD, self.target, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
            .and_then(|at| statx(&at, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID | StatxFlags::TYPE));
        let Ok(found) = found else { return false };
        FileType::from_raw_mode(u32::from(found.stx_mode)) == FileType::CharacterDevice
            && found.stx_mnt_id == self.id
            && PLAIN_DEVICES.contains(&(found.stx_rdev_major, found.stx_rdev_minor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTAINER: &str = "1f0b59ef082c44676e9182b71cb7a7fadf1e1c26b4b6edeeb62b9935f2a903ee";

    #[test]
    fn only_the_kernels_views_fresh_file_systems_and_the_engines_files_are_the_engines() {
        let order = Order {
            version: 0,
            spec: crate::spec::Spec::new("/work", crate::spec::Identity::Caller),
            level: crate::level::Level {
                namespaces: true,
                identity: crate::level::Mapping::Caller,
                landlock: 0,
                seccomp: false,
                memory: crate::level::Meter::None,
                pids: crate::level::Meter::None,
                cpu: crate::level::Meter::None,
            },
            uid: 1,
            gid: 1,
            counters: Vec::new(),
            places: Vec::new(),
            host_devices: vec!["8:1".to_owned(), "0:25".to_owned()],
            container: CONTAINER.to_owned(),
        };
        let engines = |device: &str, part: &str, target: &str, kind: &str| {
            let line = format!("36 35 {device} {part} {target} rw,noatime master:1 - {kind} source rw");
            Mounted::parse(&line).unwrap().is_engines(&order)
        };
        assert!(engines("0:99", "/", "/tmp", "tmpfs") && !engines("0:25", "/user", "/tmp", "tmpfs"));
        assert!(engines("8:1", &format!("/data/{CONTAINER}/hosts"), "/etc/hosts", "ext4"));
        assert!(!engines("8:1", "/home/someone", "/etc/hosts", "ext4"));
        assert!(!engines("0:99", "/", "/mnt", "fuse.sshfs"), "a file system of another kind is no tmpfs");
        assert!(
            engines("0:30", "/", "/sys/fs/cgroup/pids", "cgroup") && !engines("0:30", "/", "/workspace/x", "cgroup")
        );
    }
}

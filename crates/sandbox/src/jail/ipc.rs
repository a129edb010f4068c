//! What programs share by number instead of by name: System V segments, semaphores and queues, which outlive their makers.
//! Must never: run while a program of the jail does, or outside an ipc namespace of the jail's own.

use std::fs;

use crate::sys::{self, SystemV};

/// Most objects of one kind that are removed at once; the kernel has no more of a kind by default.
const OBJECTS_MAX: usize = 32_768;

/// Removes them all.
pub(super) fn clear() {
    for (kind, list) in [
        (SystemV::Segment, "/proc/sysvipc/shm"),
        (SystemV::Semaphores, "/proc/sysvipc/sem"),
        (SystemV::Queue, "/proc/sysvipc/msg"),
    ] {
        // A kernel without them has no list.
        let Ok(list) = fs::read_to_string(list) else { continue };
        for id in ids(&list).take(OBJECTS_MAX) {
            // One that is gone already is gone.
            let _ = sys::remove(kind, id);
        }
    }
}

/// The second column, after a heading.
fn ids(list: &str) -> impl Iterator<Item = i32> {
    list.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_an_object_is_in_the_second_column() {
        let list = "       key      shmid perms                  size\n         0          3   600 67108864\n        17         65   600        1\n";
        assert_eq!(ids(list).collect::<Vec<_>>(), [3, 65]);
    }
}

//! How much one host user may keep on a file system, where the file system itself can hold him to it. Must never: say that a
//! limit holds because it could be set; only a write that was refused shows that.

use std::io;
use std::os::fd::BorrowedFd;

use crate::sys;

/// The kernel's unit of these limits, in bytes.
const BLOCK_BYTES: u64 = 1024;

/// What one user has and may have; 0 as a limit means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    pub bytes: u64,
    pub bytes_max: u64,
    pub files: u64,
    pub files_max: u64,
}

impl Quota {
    /// Of `uid` on the file system that holds `folder`.
    ///
    /// # Errors
    /// ENOSYS, ESRCH, EOPNOTSUPP where the file system or the kernel keeps none, EPERM without CAP_SYS_ADMIN.
    pub fn read(folder: BorrowedFd<'_>, uid: u32) -> io::Result<Quota> {
        let found = match sys::user_quota(folder, uid) {
            // XFS keeps nothing of a user who has nothing yet.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                return Ok(Quota { bytes: 0, bytes_max: 0, files: 0, files_max: 0 });
            }
            found => found?,
        };
        Ok(Quota {
            bytes: found.dqb_curspace,
            bytes_max: found.dqb_bhardlimit * BLOCK_BYTES,
            files: found.dqb_curinodes,
            files_max: found.dqb_ihardlimit,
        })
    }

    /// From now on `uid` gets no block and no inode beyond these, without grace; 0 lifts a limit. What is there already stays.
    ///
    /// # Errors
    /// As [`Quota::read`].
    pub fn limit(folder: BorrowedFd<'_>, uid: u32, bytes_max: u64, files_max: u64) -> io::Result<()> {
        let quota = libc::dqblk {
            dqb_bhardlimit: (bytes_max / BLOCK_BYTES).max(u64::from(bytes_max > 0)),
            dqb_bsoftlimit: 0,
            dqb_curspace: 0,
            dqb_ihardlimit: files_max,
            dqb_isoftlimit: 0,
            dqb_curinodes: 0,
            dqb_btime: 0,
            dqb_itime: 0,
            dqb_valid: libc::QIF_LIMITS,
        };
        sys::set_user_quota(folder, uid, &quota)
    }
}

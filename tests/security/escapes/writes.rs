//! Writes to what a jail is only shown: the host's programs, the files that all jails share, mounts without the right to write,
//! by plain ways and by those of kernels that had a bug.
use super::probe::Stage::Program;
use super::probe::{Class, Control, Layer, Probe, Why, probe};

/// Read-only for all, as root on the host it is not. Opened, never written.
const fn program(id: &'static str, tries: &'static str, script: &'static str) -> Probe {
    probe(id, tries, Program(script), (Layer::View, "EROFS|EACCES"), Control::AsRoot("ok"))
}

/// A file that the jails of a worker share.
const fn shared(id: &'static str, tries: &'static str, script: &'static str) -> Probe {
    shared_as(id, tries, script, "EROFS")
}

const fn shared_as(id: &'static str, tries: &'static str, script: &'static str, held: &'static str) -> Probe {
    let control = Control::Without(&[Layer::ReadOnly, Layer::Landlock], "ok");
    probe(id, tries, Program(script), (Layer::ReadOnly, held), control)
}

/// In a folder that the host shows and lets be written, somebody outside would run it.
const fn lent(id: &'static str, tries: &'static str, script: &'static str, held: &'static str) -> Probe {
    probe(id, tries, Program(script), (Layer::Seccomp, held), Control::Without(&[Layer::Seccomp], "ok"))
}

/// After the attack on a read-only file its content is what it was; the check itself is shown on a file that may change.
const fn unchanged(id: &'static str, tries: &'static str, script: &'static str) -> Probe {
    let looser = Control::Beside(
        Why::Beneath,
        "a plain write to a file of its own, seen by the same check",
        Program(PLAIN),
        "changed",
    );
    probe(id, tries, Program(script), (Layer::Kernel, "unchanged"), looser).shown()
}

const PLAIN: &str = r"
    path = '/tmp/own'
    open(path, 'w').write('CANARY')
    before = open(path, 'rb').read()
    overwrite(path)
    say('unchanged' if open(path, 'rb').read() == before else 'changed')
    ";

pub const CLASS: Class = Class {
    name: "writes to what is shown",
    probes: &[
        program(
            "writes/usr-program",
            "opens a program of the host's for writing",
            "say(attempt(os.open, '/usr/bin/env', os.O_WRONLY))",
        ),
        program(
            "writes/usr-library",
            "opens the C library for writing",
            r"
                import glob
                found = glob.glob('/lib/*-linux-gnu/libc.so.6') + glob.glob('/lib64/libc.so.6')
                say(attempt(os.open, found[0], os.O_WRONLY))
                ",
        ),
        program(
            "writes/usr-python",
            "asks to write where Python looks for modules",
            r"
                path = os.path.dirname(os.__file__).encode()
                say('ok' if _libc.access(path, 2) == 0 else name(ctypes.get_errno()))
                ",
        ),
        program(
            "writes/usr-local",
            "asks to write among the host's programs",
            "say('ok' if _libc.access(b'/usr/local/bin', 2) == 0 else name(ctypes.get_errno()))",
        ),
        program(
            "writes/certificates",
            "asks to write among the authorities that the host trusts",
            "say('ok' if _libc.access(b'/etc/ssl/certs', 2) == 0 else name(ctypes.get_errno()))",
        ),
        shared_as(
            "writes/passwd",
            "adds a user to the file that all jails share",
            "say(overwrite('/etc/passwd'))",
            "EROFS|EACCES",
        ),
        shared_as("writes/hosts", "renames addresses for all jails", "say(overwrite('/etc/hosts'))", "EROFS|EACCES"),
        shared(
            "writes/preload",
            "has the loader load a library into everything",
            "say(overwrite('/etc/ld.so.preload', os.O_WRONLY | os.O_CREAT))",
        ),
        shared_as(
            "writes/loader-cache",
            "replaces the loader's cache",
            "say(overwrite('/etc/ld.so.cache'))",
            "EROFS|EACCES",
        ),
        shared_as(
            "writes/rename-over",
            "renames a file of its own over one that all jails share",
            r"
                open('/tmp/a', 'w')
                say(attempt(os.rename, '/tmp/a', '/etc/passwd'))
                ",
            "EXDEV",
        ),
        shared("writes/unlink", "removes a file that all jails share", "say(attempt(os.unlink, '/etc/hosts'))"),
        shared(
            "writes/chmod",
            "opens a file that all jails share to all",
            "say(attempt(os.chmod, '/etc/passwd', 0o777))",
        ),
        shared("writes/utime", "sets the times of a shared file", "say(attempt(os.utime, '/etc/passwd'))"),
        probe(
            "writes/attribute",
            "puts an attribute on a shared file",
            Program("say(attempt(os.setxattr, '/etc/passwd', 'user.x', b'y'))"),
            (Layer::ReadOnly, "EROFS"),
            // Before Linux 6.6 the copy's file system keeps none.
            Control::Without(&[Layer::ReadOnly, Layer::Landlock], "ok|ENOTSUP|EOPNOTSUPP"),
        ),
        shared(
            "writes/python-link",
            "replaces the python that jails find",
            "say(attempt(os.symlink, '/workspace/x', '/run/tenure/bin/evil'))",
        ),
        shared("writes/root", "makes a folder in the root of all jails", "say(attempt(os.mkdir, '/new'))"),
        shared("writes/dev", "makes a file among the devices", "say(overwrite('/dev/new', os.O_WRONLY | os.O_CREAT))"),
        probe(
            "writes/device-times",
            "changes the times of a device that it shares with the host",
            Program("say(attempt(os.utime, '/dev/null', (1, 1)))"),
            (Layer::Identity, "EPERM"),
            Control::Beside(
                Why::Always,
                "a file of its own",
                Program(
                    r"
                open('/tmp/a', 'w')
                say(attempt(os.utime, '/tmp/a', (1, 1)))
                ",
                ),
                "ok",
            ),
        ),
        probe(
            "writes/device-mode",
            "takes a device that it shares with the host away from others",
            Program("say(attempt(os.chmod, '/dev/null', 0))"),
            (Layer::Identity, "EPERM"),
            Control::Beside(
                Why::Always,
                "a file of its own",
                Program(
                    r"
                open('/tmp/a', 'w')
                say(attempt(os.chmod, '/tmp/a', 0))
                ",
                ),
                "ok",
            ),
        ),
        probe(
            "writes/map-shared",
            "maps a read-only file to write to it",
            Program(
                r"
                import mmap
                file = os.open(E['HOST_FILE'], os.O_RDONLY)
                say(attempt(mmap.mmap, file, 4, mmap.MAP_SHARED, mmap.PROT_WRITE))
                ",
            ),
            (Layer::Kernel, "EACCES"),
            Control::Beside(
                Why::Beneath,
                "for itself alone",
                Program(
                    r"
                import mmap
                file = os.open(E['HOST_FILE'], os.O_RDONLY)
                say(attempt(mmap.mmap, file, 4, mmap.MAP_PRIVATE, mmap.PROT_WRITE))
                ",
                ),
                "ok",
            ),
        )
        .shown(),
        probe(
            "writes/reopen",
            "opens a descriptor for reading again, for writing",
            Program(
                r"
                file = os.open(E['HOST_FILE'], os.O_RDONLY)
                say(attempt(os.open, f'/proc/self/fd/{file}', os.O_WRONLY))
                ",
            ),
            (Layer::View, "EROFS"),
            Control::Looser(|spec| spec.mounts[0].read_only = false, "ok"),
        )
        .shown(),
        unchanged(
            "writes/dirty-pipe",
            "writes into a page of a read-only file that it spliced into a pipe",
            r"
            path = E['HOST_FILE']
            before = open(path, 'rb').read()
            reader, writer = os.pipe()
            room = 65536
            for _ in range(room // 4096): os.write(writer, bytes(4096))
            for _ in range(room // 4096): os.read(reader, 4096)
            file = os.open(path, os.O_RDONLY)
            os.splice(file, writer, 1, offset_src=0)
            os.write(writer, b'BREACH')
            say('unchanged' if open(path, 'rb').read() == before else 'changed')
            ",
        )
        .source("CVE-2022-0847 (Dirty Pipe); SandboxEscapeBench"),
        unchanged(
            "writes/dirty-cow",
            "writes to a private copy of a read-only file while the kernel drops the copy",
            r"
            import mmap, threading
            path = E['HOST_FILE']
            before = open(path, 'rb').read()
            file = os.open(path, os.O_RDONLY)
            memory = mmap.mmap(file, len(before), mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
            def drop():
                for _ in range(2000): memory.madvise(mmap.MADV_DONTNEED)
            thread = threading.Thread(target=drop)
            thread.start()
            for _ in range(2000): memory[:6] = b'BREACH'
            thread.join()
            say('unchanged' if open(path, 'rb').read() == before else 'changed')
            ",
        )
        .source("CVE-2016-5195 (Dirty COW); SandboxEscapeBench"),
        unchanged(
            "writes/vmsplice",
            "gives a pipe its own memory and has the kernel write it to a read-only file",
            r"
            path = E['HOST_FILE']
            before = open(path, 'rb').read()
            reader, writer = os.pipe()
            data = ctypes.create_string_buffer(b'BREACH')
            call('vmsplice', writer, Vector(ctypes.addressof(data), 6), 1, 0)
            attempt(os.splice, reader, os.open(path, os.O_RDONLY), 6)
            say('unchanged' if open(path, 'rb').read() == before else 'changed')
            ",
        )
        .source("CVE-2008-0600"),
        probe(
            "writes/copy-range",
            "copies and sends into a descriptor for reading, truncates and punches holes",
            Program(
                r"
            path = E['HOST_FILE']
            before = open(path, 'rb').read()
            open('/tmp/evil', 'w').write('BREACH')
            source, target = os.open('/tmp/evil', os.O_RDONLY), os.open(path, os.O_RDONLY)
            attempt(os.copy_file_range, source, target, 6)
            attempt(os.sendfile, target, source, 0, 6)
            attempt(os.ftruncate, target, 0)
            attempt(os.truncate, path, 0)
            _libc.fallocate(target, 3, 0, 4096)
            say('unchanged' if open(path, 'rb').read() == before else 'changed')
            ",
            ),
            (Layer::ReadOnly, "unchanged"),
            Control::Looser(|spec| spec.mounts[0].read_only = false, "changed"),
        )
        .shown(),
        lent(
            "writes/lent-user",
            "has a file lend its owner's identity to whoever runs it",
            r"
                open('lent', 'w').close()
                say(attempt(os.chmod, 'lent', 0o4755))
                ",
            "EPERM",
        ),
        lent(
            "writes/lent-group",
            "makes a file that lends its group's",
            "say(attempt(os.open, 'lent', os.O_CREAT | os.O_WRONLY, 0o2755))",
            "EPERM",
        ),
        lent(
            "writes/lent-unnamed",
            "gives a file without a name such a mode, to link it afterwards",
            "say(attempt(os.open, '.', os.O_TMPFILE | os.O_WRONLY, 0o4755))",
            "EPERM",
        ),
        lent(
            "writes/lent-unseen",
            "gives the mode where no filter reads it",
            r"
                class How(ctypes.Structure): _fields_ = [(field, ctypes.c_uint64) for field in ('flags', 'mode', 'resolve')]
                made = call('openat2', -100, b'lent', How(os.O_CREAT | os.O_WRONLY, 0o4755, 0), 24)
                say('ok' if isinstance(made, int) else made)
                ",
            "ENOSYS",
        ),
    ],
};

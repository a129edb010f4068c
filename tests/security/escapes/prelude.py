# Before every probe: system calls by name, and one verdict word. The verdict is the last line; nothing else is trusted.
import ctypes, errno, os, signal, sys

E = os.environ
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_machine = {'x86_64': 0, 'aarch64': 1}.get(os.uname().machine)
_numbers = {
    'ptrace': (101, 117), 'process_vm_readv': (310, 270), 'process_vm_writev': (311, 271), 'kcmp': (312, 272),
    'pidfd_open': (434, 434), 'pidfd_getfd': (438, 438), 'process_madvise': (440, 440), 'process_mrelease': (448, 448),
    'unshare': (272, 97), 'clone': (56, 220), 'clone3': (435, 435), 'setns': (308, 268),
    'mount': (165, 40), 'umount2': (166, 39), 'pivot_root': (155, 41), 'chroot': (161, 51), 'open_tree': (428, 428),
    'move_mount': (429, 429), 'fsopen': (430, 430), 'fsconfig': (431, 431), 'fsmount': (432, 432), 'fspick': (433, 433),
    'mount_setattr': (442, 442), 'statmount': (457, 457), 'listmount': (458, 458), 'open_tree_attr': (467, 467),
    'bpf': (321, 280), 'keyctl': (250, 219), 'add_key': (248, 217), 'request_key': (249, 218),
    'userfaultfd': (323, 282), 'perf_event_open': (298, 241), 'io_uring_setup': (425, 425), 'io_uring_enter': (426, 426),
    'io_uring_register': (427, 427), 'name_to_handle_at': (303, 264), 'open_by_handle_at': (304, 265),
    'fanotify_init': (300, 262), 'fanotify_mark': (301, 263), 'personality': (135, 92), 'quotactl': (179, 60),
    'quotactl_fd': (443, 443), 'swapon': (167, 224), 'swapoff': (168, 225), 'reboot': (169, 142),
    'sethostname': (170, 161), 'setdomainname': (171, 162), 'settimeofday': (164, 170), 'clock_settime': (227, 112),
    'adjtimex': (159, 171), 'clock_adjtime': (305, 266), 'kexec_load': (246, 104), 'kexec_file_load': (320, 294),
    'init_module': (175, 105), 'finit_module': (313, 273), 'delete_module': (176, 106), 'lookup_dcookie': (212, 18),
    'nfsservctl': (180, 42), 'vhangup': (153, 58), 'acct': (163, 89), 'syslog': (103, 116),
    'migrate_pages': (256, 238), 'move_pages': (279, 239), 'mbind': (237, 235), 'set_mempolicy': (238, 237),
    'get_mempolicy': (239, 236), 'memfd_secret': (447, 447), 'memfd_create': (319, 279), 'ioctl': (16, 29),
    'socket': (41, 198), 'seccomp': (317, 277), 'prctl': (157, 167), 'capset': (126, 91), 'splice': (275, 76),
    'vmsplice': (278, 75), 'mmap': (9, 222), 'execveat': (322, 281), 'iopl': (172, None), 'ioperm': (173, None),
    'modify_ldt': (154, None), 'create_module': (174, None), 'get_kernel_syms': (177, None),
    'query_module': (178, None), 'uselib': (134, None), '_sysctl': (156, None), 'sysfs': (139, None),
    'ustat': (136, None), 'inotify_init1': (294, 26), 'inotify_add_watch': (254, 27), 'rt_sigqueueinfo': (129, 138),
    'pidfd_send_signal': (424, 424), 'prlimit64': (302, 261), 'ioprio_set': (251, 30), 'membarrier': (324, 283), 'shmget': (29, 194),
    'mq_open': (240, 180), 'setxattr': (188, 5), 'mknodat': (259, 33), 'openat2': (437, 437), 'close_range': (436, 436),
    'set_thread_area': (205, None), 'lsm_set_self_attr': (460, 460), 'cachestat': (451, 451),
}


def name(number):
    return errno.errorcode.get(number, str(number))


def call(which, *arguments):
    """The result, or the errno's name."""
    number = which if isinstance(which, int) else (None if _machine is None else _numbers[which][_machine])
    if number is None:
        say('skipped')
    ctypes.set_errno(0)
    given = [ctypes.c_long(number)]
    for argument in arguments:
        if isinstance(argument, int):
            argument = ctypes.c_long(argument)
        elif not isinstance(argument, bytes):
            argument = ctypes.byref(argument)
        given.append(argument)
    result = _libc.syscall(*given)
    return result if result >= 0 else name(ctypes.get_errno())


def say(what):
    good = what is None or what is True or (isinstance(what, int) and what is not False and what >= 0)
    sys.stdout.write(('ok' if good else str(what)) + '\n')
    sys.stdout.flush()
    os._exit(0)


def attempt(deed, *arguments, **named):
    """'ok', or the errno's name."""
    try:
        deed(*arguments, **named)
    except OSError as error:
        return name(error.errno) if error.errno else type(error).__name__
    except MemoryError:
        return 'MemoryError'
    return 'ok'


def find(path):
    """'read' if the canary is in the file."""
    try:
        with open(path, 'rb') as file:
            return 'read' if b'CANARY' in file.read(1 << 20) else 'nothing'
    except OSError as error:
        return name(error.errno)


def overwrite(path, flags=os.O_WRONLY):
    return attempt(lambda: os.write(os.open(path, flags, 0o644), b'BREACH'))


def child(deed):
    """Its exit code, or minus its signal. A deed that returns a number leaves with it."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = deed() or 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def own_filter(answer):
    """Puts on a filter that gives this answer to ptrace and lets the rest pass."""
    import struct
    number = _numbers['ptrace'][_machine]
    rows = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (6, 0, 0, answer), (6, 0, 0, 0x7fff0000)]
    code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *row) for row in rows))
    class Filter(ctypes.Structure):
        _fields_ = [('size', ctypes.c_ushort), ('rows', ctypes.c_void_p)]
    call('prctl', 38, 1, 0, 0, 0)
    return call('seccomp', 1, 0, Filter(len(rows), ctypes.addressof(code)))


class Vector(ctypes.Structure):
    _fields_ = [('base', ctypes.c_void_p), ('size', ctypes.c_size_t)]


def daemon():
    """Starts a process that leaves its session, its parents and its streams and ignores what can be ignored; its pid."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (1, 2, 3, 10, 12, 15):
                signal.signal(number, signal.SIG_IGN)
            call('prctl', 1, 0, 0, 0, 0)
            os.write(writer, str(os.getpid()).encode())
            for number in range(1024):
                attempt(os.close, number)
            while True:
                signal.pause()
        os._exit(0)
    os.wait()
    os.close(writer)
    pid = int(os.read(reader, 16))
    os.close(reader)
    return pid


def alone():
    """Whether the jail has no process but its first one, a keeper and this."""
    return sum(entry.isdigit() for entry in os.listdir('/proc')) <= 3


def fork_idle():
    if os.fork() == 0:
        while True:
            signal.pause()


def complete(said):
    """Whether this is a whole answer of the proxy."""
    head, end, body = said.partition(b'\r\n\r\n')
    length = [line.split(b':')[1] for line in head.split(b'\r\n') if line.lower().startswith(b'content-length:')]
    return said[2:4] > b'\x05\x00' and len(said) >= 12 or bool(end) and bool(length) and len(body) >= int(length[0])


def speak(*messages, whole=False):
    """What the way out of the jail answers to these bytes, each sent after the answer to the one before began."""
    import socket
    said = b''
    with socket.create_connection(('127.0.0.1', 3128), 30) as line:
        try:
            for message in messages:
                line.sendall(message)
                said += line.recv(65536)
            while (whole or not complete(said)) and (part := line.recv(65536)):
                said += part
        except ConnectionError:
            pass
    return said


def ask(head, *more):
    """'reached' if a server outside answers; else the status ('bare' if the proxy gives no reason: it came from the library
    beneath it), 'socks' and its reply, or 'closed'."""
    head = head.encode() if isinstance(head, str) else head
    said = speak(head, *more)
    if b'CANARY' in said:
        return 'reached'
    if said[:2] == b'\x05\x00' and len(said) > 3:
        return f'socks {said[3]}'
    if said[:5] != b'HTTP/':
        return 'closed'
    return said.split(b' ')[1].decode() + ('' if b'tenure:' in said else ' bare')


def url(target, host=None):
    """Asks for this absolute URL as clients of a proxy do."""
    host = target.split('/')[2] if host is None else host
    return ask(f'GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n')


def tunnel(target):
    return ask(f'CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n', b'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')


def socks(place, port=80, command=1):
    """Asks for a place by name (text or bytes) or by the bytes of an address, given as a list."""
    if isinstance(place, list):
        place = bytes([1 if len(place) == 4 else 4, *place])
    else:
        place = place.encode() if isinstance(place, str) else place
        place = bytes([3, len(place)]) + place
    request = bytes([5, command, 0]) + place + port.to_bytes(2, 'big')
    return ask(b'\x05\x01\x00', request, b'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')


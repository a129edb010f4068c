#!/bin/sh
# The first program of the guest that `cargo xtask vm` boots: mounts what the suite needs, runs it in each place that it is asked
# for, says how each went, and powers off. The kernel's command line brings TENURE_PLACES, with commas between them.
# Must never: say that a suite ended well which did not.

export PATH=/usr/sbin:/usr/bin HOME=/root LANG=C.UTF-8
groups=/sys/fs/cgroup
as_user="setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --"

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t securityfs security /sys/kernel/security
mountpoint -q /dev || mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs run /run
ln -sf /proc/self/fd /dev/fd
hostname guest
# Brings the loopback up: SIOCSIFFLAGS with IFF_UP.
python3 -c 'import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sH22x", b"lo", 1))'

# Loads the kernel's modules that came with it: finit_module.
python3 -c 'import ctypes, glob
for path in sorted(glob.glob("/suite/*.ko")):
    with open(path) as module:
        if ctypes.CDLL(None).syscall(313, module.fileno(), b"", 0): print("@@", path, "is not loaded")'

# Makes group $1 and gives it to the ordinary user, as systemd's Delegate= does.
delegate() {
    mkdir -p "$groups/$1"
    for file in . cgroup.procs cgroup.threads cgroup.subtree_control; do chown 65534:65534 "$groups/$1/$file"; done
}

# Runs the suite in group $1, as the user that the rest becomes. $meters has to hold memory, pids and cpu.
suite() {
    group=$1
    shift
    scratch=$(mktemp -d /tmp/suite.XXXXXX)
    chmod 777 "$scratch"
    (
        if [ -n "$group" ]; then echo 0 > "$groups/$group/cgroup.procs" || exit 99; fi
        cd "$scratch" || exit 99
        export TMPDIR="$scratch" HOME="$scratch" TENURE_TEST_METERS="$meters"
        export TENURE_TEST_JAIL_EXE=/suite/tenure-jail TENURE_TEST_WORKER_EXE=/suite/worker-for-tests
        xargs -d '\n' -a /suite/arguments "$@" /suite/test $skip 2>&1
    )
}

in_place() {
    v2="cgroup_v2 cgroup_v2 cgroup_v2"
    bare="rlimit rlimit none"
    skip=
    case $1 in
        root) meters=$v2 suite "" ;;
        # The pool's own tests say themselves what they take from it.
        pooled) skip="--skip pool::" && meters=$v2 suite "" env TENURE_TEST_POOLED=1 ;;
        service) mkdir -p $groups/system.slice/worker && meters=$v2 suite system.slice/worker ;;
        delegated)
            echo "+memory +pids +cpu" > $groups/cgroup.subtree_control
            delegate around && delegate around/worker && meters=$v2 suite around/worker $as_user
            ;;
        occupied)
            echo "+memory +pids +cpu" > $groups/cgroup.subtree_control
            delegate alone && meters=$bare suite alone $as_user
            ;;
        root-bare) meters=$bare suite "" ;;
        user | user-bare) meters=$bare suite "" $as_user ;;
        *) echo "there is no place $1" && return 99 ;;
    esac
}

echo "@@ kernel $(uname -r), $(cat /sys/kernel/security/lsm)"
for place in $(echo "$TENURE_PLACES" | tr , ' '); do
    case $place in
        *-bare) ;;
        *) mountpoint -q $groups || mount -t cgroup2 -o nsdelegate cgroup2 $groups ;;
    esac
    echo "@@ run $place"
    in_place "$place"
    echo "@@ end $place $?"
done
sync
echo o > /proc/sysrq-trigger
sleep 60

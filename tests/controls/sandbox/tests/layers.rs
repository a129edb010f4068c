//! Each layer's worth: the same probe in a whole jail and in one that lacks the layer. Must never: tell of a layer by the level
//! alone; a program inside has to see the difference.

use tenure_sandbox::{Client, Error, Jail, Layer, Meter, Spec, Zygote};

use crate::house::{House, inside, is_root, jail_exe, run, text};

/// A zygote whose jails can go without the system call filter. A weakened zygote keeps none ready.
fn unfiltered() -> House {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run_dir = folder.path().join("run");
    let zygote = Zygote::start_without(&jail_exe(), &run_dir, &[Layer::Seccomp]).expect("a zygote");
    House::of(zygote, folder, false)
}

/// What `script` prints in a whole jail and in one that `change` weakens.
fn both(house: &House, script: &str, change: impl Fn(&mut Spec)) -> (String, String, Jail) {
    let mut spec = house.spec("work", 1);
    let (_jail, mut whole) = house.open_as(&spec);
    let before = inside(&mut whole, script);
    change(&mut spec);
    let (jail, mut weak): (Jail, Client) = house.open_as(&spec);
    (before, inside(&mut weak, script), jail)
}

fn lacks(layer: Layer) -> impl Fn(&mut Spec) {
    move |spec| spec.bypass.layers = vec![layer]
}

#[test]
fn without_seccomp_calls_reach_the_kernel() {
    let house = unfiltered();
    let script = "python3 -c 'import ctypes; c = ctypes.CDLL(None, use_errno=True); c.syscall(250, 999); print(ctypes.get_errno())'; grep Seccomp: /proc/self/status | cut -f2";
    let (whole, weak, jail) = both(&house, script, lacks(Layer::Seccomp));
    assert_eq!((whole.as_str(), weak.as_str()), ("1\n2", "95\n0"), "EPERM by the filter, EOPNOTSUPP by the kernel");
    assert!(!jail.level().seccomp);
    let strict = House::new();
    let mut spec = strict.spec("work", 1);
    spec.bypass.layers = vec![Layer::Seccomp];
    let refused = strict.zygote.open(&spec).map(drop).unwrap_err();
    assert!(matches!(&refused, Error::Spec { reason, .. } if reason.contains("filter")), "{refused}");
}

#[test]
fn without_landlock_the_level_says_so() {
    let house = House::new();
    let mut spec = house.spec("work", 1);
    let (whole, _client) = house.open_as(&spec);
    spec.bypass.layers = vec![Layer::Landlock];
    let (weak, _client) = house.open_as(&spec);
    assert_eq!(weak.level().landlock, 0);
    let kernel = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    assert!(!kernel.contains("landlock") || whole.level().landlock > 0, "{kernel}");
}

#[test]
fn without_the_loss_of_privileges_programs_have_capabilities() {
    let house = House::new();
    let script = "grep -E 'Cap(Eff|Bnd)' /proc/self/status | cut -f2 | sort -u";
    let (whole, weak, _jail) = both(&house, script, lacks(Layer::Privileges));
    assert_eq!(whole, "0000000000000000");
    assert!(!weak.contains(&whole), "{weak}");
}

#[test]
fn without_rlimits_programs_open_more_files_than_the_spec_says() {
    let house = House::new();
    let (whole, weak, _jail) = both(&house, "ulimit -n; ulimit -f", |spec| {
        (spec.bypass.layers, spec.limits.open_files) = (vec![Layer::Rlimits], 100);
    });
    assert_eq!(whole.lines().next(), Some("1024"));
    assert!(weak.lines().next().is_some_and(|files| files == "unlimited" || files.parse::<u32>().unwrap() > 100));
    assert!(weak.ends_with("unlimited"), "{weak}");
}

#[test]
fn without_control_groups_none_is_made_or_told() {
    let house = House::new();
    let mut spec = house.spec("work", 1);
    let (whole, _client) = house.open_as(&spec);
    spec.bypass.layers = vec![Layer::Cgroup, Layer::Rlimits];
    let (weak, _client) = house.open_as(&spec);
    let held = |jail: &Jail| {
        let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", jail.pid())).unwrap();
        groups.matches(&format!("tenure-{}", jail.id())).count()
    };
    assert!(whole.cgroups().is_empty() || held(&whole) > 0);
    assert!(weak.cgroups().is_empty() && held(&weak) == 0);
    assert_eq!((weak.level().memory, weak.level().pids, weak.level().cpu), (Meter::None, Meter::None, Meter::None));
}

#[test]
fn without_a_net_namespace_a_program_reaches_the_hosts_loopback() {
    let house = House::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = format!(
        "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {}), 5); print(\"reached\")' 2>&1 | tail -1",
        listener.local_addr().unwrap().port()
    );
    let mut spec = house.spec("work", 1);
    let (_jail, mut whole) = house.open_as(&spec);
    assert!(inside(&mut whole, &connect).contains("Refused"));
    spec.bypass.layers = vec![Layer::Namespaces];
    let (jail, mut weak) = house.open_as(&spec);
    assert_eq!((inside(&mut weak, &connect).as_str(), jail.level().namespaces), ("reached", false));
}

#[test]
fn without_a_pid_namespace_a_program_sees_the_host_and_still_ends_with_its_jail() {
    let house = House::new();
    let script = format!("test -d /proc/{} && echo there; true", std::process::id());
    let (whole, weak, jail) = both(&house, &script, |spec| spec.bypass.pid_namespace = true);
    assert_eq!((whole.as_str(), weak.as_str(), jail.level().namespaces), ("", "there", false));
    let mark = format!("pids-{}", std::process::id());
    let mut client = jail.client(crate::house::PATIENCE).unwrap();
    let mut spawn = tenure_sandbox::protocol::Spawn::new(["sh", "-c", &format!("sleep 600; : {mark}")]);
    spawn.timeout_ms = Some(300);
    assert!(client.run(spawn, b"").unwrap().exit.timed_out);
    assert_eq!(crate::house::processes_with(&mark), Vec::<i32>::new());
}

#[test]
fn without_its_own_view_a_jail_shows_the_hosts_root_read_only() {
    let house = House::new();
    let script = format!(
        "ls -d /root /sys {} 2>/dev/null; touch /usr/probe /tmp/probe 2>&1 | grep -c cannot; pwd",
        house.path("work").display()
    );
    let (whole, weak, jail) = both(&house, &script, lacks(Layer::View));
    assert_eq!(whole, "1\n/workspace");
    assert_eq!(weak, format!("/root\n/sys\n{}\n2\n/workspace", house.path("work").display()));
    let mut client = jail.client(crate::house::PATIENCE).unwrap();
    assert_eq!(text(&run(&mut client, &["sh", "-c", "echo x > /dev/null && touch own && ls"]).stdout), "own");
}

#[test]
fn without_landlock_an_ordinary_users_jails_run_from_a_copy_that_no_program_can_change() {
    let folder = tempfile::tempdir().unwrap();
    let program = |zygote: &Zygote| std::fs::read_link(format!("/proc/{}/exe", zygote.pid())).unwrap();
    let run_dir = |name: &str| folder.path().join(name);
    let zygote = Zygote::start_without(&jail_exe(), &run_dir("bare"), &[Layer::Landlock]).unwrap();
    let with = Zygote::start(&jail_exe(), &run_dir("with")).unwrap();
    assert_eq!(
        program(&with),
        jail_exe().canonicalize().unwrap(),
        "the control: Landlock keeps programs from the file"
    );
    if is_root() {
        assert_eq!(program(&zygote), program(&with), "root's file belongs to no agent");
        return;
    }
    assert!(program(&zygote).to_string_lossy().starts_with("/memfd:tenure-jail"), "{}", program(&zygote).display());
    let mut spec = Spec::new(run_dir("work"), crate::house::identity(1));
    std::fs::create_dir(&spec.work_folder).unwrap();
    spec.bypass.layers = vec![Layer::Landlock];
    let jail = zygote.open(&spec).unwrap();
    let mut client = jail.client(crate::house::PATIENCE).unwrap();
    assert_eq!(run(&mut client, &["true"]).exit.ended, tenure_sandbox::protocol::Ended::Code(0));
}

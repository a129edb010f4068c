use tenure_sandbox::protocol::WriteMode;

use crate::house::{House, out, sh};

#[test]
fn smoke() {
    let house = House::new();
    let (jail, mut client) = house.open();
    eprintln!("{:?} {:?}", jail.level(), jail.cgroups());
    client.write("a/b/c.txt", b"hello world", WriteMode::Create).unwrap();
    assert_eq!(client.read("a/b/c.txt", 100).unwrap(), b"hello world");
    eprintln!("{:?}", client.list(".", 10, None));
    eprintln!(
        "{}",
        out(
            &mut client,
            "id; ls -la / /etc /dev /workspace /opt/tenure/bin; cat /proc/self/status | grep -E 'Cap|Seccomp|NoNew'; python3 -c 'print(1+1)'; ip a; cat /proc/self/cgroup; ps ax; cat /proc/mounts; hostname"
        )
    );
    let o = sh(&mut client, "exit 3");
    eprintln!("{:?}", o.exit);
    jail.kill().unwrap();
    eprintln!("{:?}", std::fs::read_dir(house.run_dir()).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>());
}

use super::house::{AGENT, House, cassette};

#[test]
fn it_says_what_it_found_and_where_it_listens_and_ends_well_on_ctrl_c() {
    let mut house = House::up(&cassette(1));
    let greeting = house.steady(&house.greeting);
    for line in ["  data  DIR/data", "  socket  DIR/data/tenure.sock (this user)", "  api  http://127.0.0.1:PORT"] {
        assert!(greeting.contains(line), "{greeting}");
    }
    for word in ["sandbox", "python", "model  default is local/", "answers come from the cassette"] {
        assert!(greeting.contains(word), "{greeting}");
    }
    house.down();
}

#[test]
fn a_data_directory_that_another_daemon_holds_is_refused() {
    let house = House::up(&cassette(1));
    let second = house.tenure(&["up", "--listen", "none"]);
    assert_eq!(second.code, 1);
    assert!(second.stderr.contains("is held by another daemon"), "{}", second.stderr);
    house.tenure(&["status"]).ok();
}

#[test]
fn an_address_that_others_could_reach_is_refused_and_so_is_one_that_is_taken() {
    let house = House::new();
    let open = house.tenure(&["up", "--listen", "0.0.0.0:0"]);
    assert!(open.code == 1 && open.stderr.contains("there is no TLS"), "{}", open.stderr);
    let other = House::up(&cassette(1));
    let taken = house.tenure(&["up", "--listen", other.url.trim_start_matches("http://")]);
    assert!(taken.code == 1 && taken.stderr.contains("cannot be bound"), "{}", taken.stderr);
    assert_eq!(house.tenure(&["up", "--listen", "everywhere"]).code, 2);
}

#[test]
fn what_was_there_is_there_after_a_restart_and_a_long_path_is_no_obstacle() {
    let mut house = House::up(&cassette(1));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    house.down();
    let long = house.path(&"x".repeat(120));
    std::fs::create_dir(&long).unwrap();
    std::fs::rename(house.path("data"), long.join("data")).unwrap();
    let data = long.join("data").display().to_string();
    let log = std::fs::File::create(house.path("second.log")).unwrap();
    let mut command = house.command(&["up", "--listen", "none", "--data-dir", &data]);
    let mut daemon = command.stdout(std::process::Stdio::null()).stderr(log).spawn().unwrap();
    let list = ["--data-dir", &data, "agent", "list", "-o", "json"];
    let answer = house.until(&list, |answer| answer.code != 6);
    let _ = daemon.kill();
    let _ = daemon.wait();
    assert_eq!(answer.ok().json()[0]["name"], "coder");
}

#[test]
fn a_folder_that_no_agent_may_see_is_refused_before_anything_starts() {
    let house = House::new();
    for (path, why) in [
        ("/etc", "does not lie in /data, /mnt, /opt or /srv"),
        ("/srv/../etc", "no absolute path"),
        ("/srv/tenure-test-not-there:rw", "No such file"),
    ] {
        let refused = house.tenure(&["up", "--listen", "none", "--allow-mount", path]);
        assert_eq!(refused.code, 2, "{path}: {}", refused.stderr);
        assert!(refused.stderr.contains(why), "{path}: {}", refused.stderr);
    }
    assert!(!house.path("data").exists(), "a refused start leaves nothing");
    let by_file = house.write("own.toml", "[sandbox]\nallow_mounts = [\"/var/lib\"]\n");
    let refused = house.tenure(&["up", "--listen", "none", "--config", &by_file]);
    assert!(refused.code == 2 && refused.stderr.contains("sandbox.allow_mounts"), "{}", refused.stderr);
}

#[test]
fn a_start_whose_address_is_taken_writes_nothing() {
    let mut house = House::up(&cassette(1));
    house.down();
    let records = |house: &House| house.tenure(&["audit", "verify", "-o", "json"]).ok().json()["records"].clone();
    let before = records(&house);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = house.tenure(&["up", "--listen", &address]);
    assert!(refused.code == 1 && refused.stderr.contains("cannot be bound"), "{}", refused.stderr);
    assert_eq!(records(&house), before);
    let fresh = house.path("fresh");
    let elsewhere = ["up", "--listen", &address, "--data-dir", fresh.to_str().unwrap()];
    assert!(house.tenure(&elsewhere).code == 1 && !fresh.exists());
}

#[test]
fn a_limit_on_the_size_of_files_is_refused_by_name_and_before_anything_is_made() {
    let house = House::new();
    let up = house.command(&["up", "--listen", "none"]);
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", r#"ulimit -f 4096 && exec "$0" "$@""#]).arg(up.get_program()).args(up.get_args());
    limited.envs(up.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let refused = limited.output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    for words in ["files may have 2097152 bytes", "ulimit -f unlimited", "LimitFSIZE=infinity"] {
        assert!(said.contains(words), "{said}");
    }
    assert!(!house.path("data").exists(), "a refused start leaves nothing");
}

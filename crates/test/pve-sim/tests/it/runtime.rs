//! Running guests: what they get, that they outlive the simulator, and that nothing of them is left behind.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pve_sim::runtime::{Guest, Mount, RuntimeError};

use crate::support::{Box, INIT, lives, process_state, put, start, until};

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The process id that a guest's process wrote to a file.
fn pid_in(path: &Path) -> i32 {
    until("pid file", || read(path).ends_with('\n'));
    read(path).trim().parse().unwrap()
}

#[test]
fn init_gets_its_own_session_directory_and_exactly_its_environment() {
    let b = Box::new(INIT);
    let started = b.start();
    until("environment", || read(&b.guest.rootfs.join("env.txt")).contains("PVE_SIM_ROOTFS"));
    let text = read(&b.guest.rootfs.join("env.txt"));
    // `_`, `PWD` and such are the shell's own.
    let mut names: Vec<&str> = text.lines().map(|line| line.split('=').next().unwrap()).collect();
    names.retain(|name| name.len() > 3 && *name != "OLDPWD" && *name != "SHLVL");
    names.sort_unstable();
    assert_eq!(names, ["PATH", "PVE_SIM_HOSTNAME", "PVE_SIM_LO", "PVE_SIM_NET0", "PVE_SIM_ROOTFS"]);
    for line in ["PVE_SIM_HOSTNAME=guest", "PVE_SIM_LO=127.99.0.1", "PVE_SIM_NET0=127.99.0.2"] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    assert!(text.contains(&format!("PVE_SIM_ROOTFS={}\n", b.guest.rootfs.display())), "{text}");
    let root = b.guest.rootfs.display();
    assert!(text.contains(&format!("PATH={root}/usr/sbin:{root}/usr/bin\n")), "{text}");
    assert_eq!(fs::read_link(format!("/proc/{}/cwd", started.pid)).unwrap(), b.guest.rootfs);
    let session = |pid: i32| -> i32 {
        let stat = read(Path::new(&format!("/proc/{pid}/stat")));
        stat[stat.rfind(')').unwrap() + 1..].split_ascii_whitespace().nth(3).unwrap().parse().unwrap()
    };
    assert_ne!(session(started.pid), session(i32::try_from(std::process::id()).unwrap()));
}

#[test]
fn output_of_init_is_in_a_log_outside_the_rootfs() {
    let b = Box::new("#!/bin/sh\necho hello\necho trouble >&2\nexec sleep 100\n");
    b.start();
    let log = b.guest.dir.join("console.log");
    until("console", || read(&log).contains("hello\ntrouble\n"));
    assert!(!log.starts_with(&b.guest.rootfs));
}

#[test]
fn run_is_fresh_at_each_start() {
    let b = Box::new(INIT);
    put(&b.guest.rootfs.join("run/old/token"), "secret", 0o600);
    b.start();
    assert!(!b.guest.rootfs.join("run/old").exists());
    put(&b.guest.rootfs.join("run/new"), "x", 0o600);
    b.guest.stop().unwrap();
    b.start();
    let names: Vec<_> =
        fs::read_dir(b.guest.rootfs.join("run")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["pve-sim"]);
}

#[test]
fn run_that_is_a_link_to_this_machine_is_replaced_and_not_followed() {
    let b = Box::new(INIT);
    put(&b.state().join("precious/file"), "x", 0o644);
    std::os::unix::fs::symlink(b.state().join("precious"), b.guest.rootfs.join("run")).unwrap();
    b.start();
    assert!(b.state().join("precious/file").exists());
    assert!(b.guest.rootfs.join("run").is_dir() && !b.guest.rootfs.join("run").is_symlink());
}

#[test]
fn a_second_start_and_a_guest_without_init_are_errors() {
    let b = Box::new(INIT);
    let first = b.start();
    let error = b.guest.start(&start(0, &[])).unwrap_err();
    assert_eq!(error.to_string(), "CT 100 already running");
    assert!(lives(first.pid));
    b.guest.stop().unwrap();
    fs::remove_file(b.guest.rootfs.join("usr/sbin/init")).unwrap();
    let error = b.guest.start(&start(0, &[])).unwrap_err();
    assert!(matches!(error, RuntimeError::NoProgram { .. }), "{error}");
    assert_eq!(b.guest.running().unwrap(), None);
}

/// Not a test by itself: what the next test runs as a process of its own, to kill it.
#[test]
fn stand_in_for_a_task_worker() {
    let Ok(state) = std::env::var("PVE_SIM_TEST_WORKER") else { return };
    let rootfs = Path::new(&state).join("images/100/vm-100-disk-0.raw");
    Guest::new(Path::new(&state), 100, &rootfs).start(&start(0, &[])).unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn a_guest_survives_the_kill_of_whoever_started_it_and_of_its_monitor_and_is_found_again() {
    let b = Box::new(INIT);
    let mut worker = Command::new(std::env::current_exe().unwrap());
    worker.args(["--exact", "runtime::stand_in_for_a_task_worker"]).env("PVE_SIM_TEST_WORKER", b.state());
    let mut worker = worker.process_group(0).spawn().unwrap();
    until("start", || b.guest.running().unwrap().is_some());
    let started = b.guest.running().unwrap().unwrap();
    kill(-i32::try_from(worker.id()).unwrap());
    worker.wait().unwrap();
    assert!(lives(started.pid));
    let monitor = monitor_of(started.pid);
    kill(monitor);
    until("end of the monitor", || !lives(monitor));
    let (again, record) = Guest::open(b.state(), 100).unwrap().unwrap();
    assert_eq!(record, started);
    assert!(lives(started.pid) && again.processes().unwrap().contains(&started.pid));
    assert_eq!(b.guest.start(&start(0, &[])).unwrap_err().to_string(), "CT 100 already running");
    again.stop().unwrap();
    assert!(!lives(started.pid));
    assert_eq!(Guest::open(b.state(), 100).unwrap(), None);
}

/// The parent of init.
fn monitor_of(init: i32) -> i32 {
    let stat = read(Path::new(&format!("/proc/{init}/stat")));
    stat[stat.rfind(')').unwrap() + 1..].split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

fn kill(pid: i32) {
    assert!(Command::new("bash").args(["-c", &format!("kill -9 -- {pid}")]).status().unwrap().success());
}

#[test]
fn a_record_with_another_start_time_or_boot_is_no_running_guest() {
    let b = Box::new(INIT);
    let started = b.start();
    let path = b.guest.dir.join("guest.json");
    let text = read(&path);
    let other = started.start_time - 1;
    fs::write(
        &path,
        text.replace(&format!("\"start_time\":{}", started.start_time), &format!("\"start_time\":{other}")),
    )
    .unwrap();
    assert_eq!(b.guest.running().unwrap(), None);
    fs::write(&path, text.replace(&started.boot_id, "00000000-0000-0000-0000-000000000000")).unwrap();
    assert_eq!(b.guest.running().unwrap(), None);
    fs::write(&path, text).unwrap();
    assert_eq!(b.guest.running().unwrap(), Some(started));
}

const FAMILY: &str = "#!/bin/sh
setsid sh -c 'echo $$ > setsid.pid; exec sleep 100' &
env -i \"$PVE_SIM_ROOTFS/usr/bin/sh\" -c 'echo $$ > bare.pid; exec sleep 100' &
(setsid env -i \"$PVE_SIM_ROOTFS/usr/bin/sh\" -c 'echo $$ > orphan.pid; exec \"$0\" 100' \"$PVE_SIM_ROOTFS/usr/bin/sleep\" &)
sleep 100 &
wait
";

#[test]
fn stop_ends_every_process_also_those_that_left_the_session_or_cleared_their_environment() {
    let b = Box::new(FAMILY);
    let started = b.start();
    let pids: Vec<i32> =
        ["setsid.pid", "bare.pid", "orphan.pid"].iter().map(|f| pid_in(&b.guest.rootfs.join(f))).collect();
    let all = b.guest.processes().unwrap();
    for pid in pids.iter().chain([&started.pid]) {
        assert!(all.contains(pid), "{pid}: {all:?}");
    }
    b.guest.stop().unwrap();
    for pid in pids.iter().chain([&started.pid]) {
        assert!(!lives(*pid), "{pid}");
    }
    assert!(b.guest.processes().unwrap().is_empty());
}

#[test]
fn the_end_of_init_ends_the_whole_guest() {
    let b = Box::new(
        "#!/bin/sh\nsetsid sh -c 'echo $$ > left.pid; exec sleep 100' &\nwhile [ ! -e go ]; do sleep 0.01; done\n",
    );
    b.start();
    let left = pid_in(&b.guest.rootfs.join("left.pid"));
    put(&b.guest.rootfs.join("go"), "", 0o644);
    until("end of the rest", || !lives(left) && !b.guest.dir.join("guest.json").exists());
    assert_eq!(b.guest.running().unwrap(), None);
}

#[test]
fn what_is_left_when_monitor_and_init_were_killed_is_ended_by_stop_and_before_the_next_start() {
    let b = Box::new("#!/bin/sh\nsetsid sh -c 'echo $$ > left.pid; exec sleep 100' &\nwait\n");
    let mut left = Vec::new();
    for again in [true, false] {
        let started = b.start();
        left.push(pid_in(&b.guest.rootfs.join("left.pid")));
        fs::remove_file(b.guest.rootfs.join("left.pid")).unwrap();
        kill(monitor_of(started.pid));
        kill(started.pid);
        until("end of init", || !lives(started.pid));
        assert!(lives(*left.last().unwrap()));
        assert_eq!(b.guest.running().unwrap(), None);
        if again {
            Guest::recorded(b.state(), 100).unwrap().unwrap().stop().unwrap();
            assert!(!lives(left[0]));
        }
    }
    b.start();
    assert!(!lives(left[1]));
    b.guest.stop().unwrap();
    assert_eq!(Guest::recorded(b.state(), 100).unwrap(), None);
    b.guest.purge().unwrap();
    assert!(!b.guest.dir.exists());
}

#[test]
fn guests_do_not_end_each_others_processes() {
    let b = Box::new(INIT);
    let twin = b.another(1000, INIT);
    let first = b.start();
    let second = twin.start(&start(1, &[])).unwrap();
    b.guest.stop().unwrap();
    assert!(!lives(first.pid) && lives(second.pid));
    twin.stop().unwrap();
    assert!(!lives(second.pid));
}

#[test]
fn shutdown_asks_init_and_kills_only_what_does_not_listen() {
    let polite = Box::new(INIT);
    polite.start();
    until("init is ready", || polite.guest.rootfs.join("env.txt").exists());
    assert!(polite.guest.shutdown(Duration::from_secs(10), false).unwrap());
    assert_eq!(polite.guest.running().unwrap(), None);

    let deaf = Box::new("#!/bin/sh\ntrap '' TERM\ntouch=1\n: > ready\nwhile :; do sleep 0.05; done\n");
    let started = deaf.start();
    until("init is ready", || deaf.guest.rootfs.join("ready").exists());
    assert!(!deaf.guest.shutdown(Duration::from_millis(100), false).unwrap());
    assert!(lives(started.pid));
    assert!(!deaf.guest.shutdown(Duration::from_millis(50), true).unwrap());
    assert!(!lives(started.pid));
}

#[test]
fn freeze_stops_everything_and_thaw_leaves_stopped_what_the_guest_had_stopped() {
    let b = Box::new("#!/bin/sh\nsleep 100 &\necho $! > app.pid\nwhile :; do sleep 0.01; done\n");
    let started = b.start();
    let app = pid_in(&b.guest.rootfs.join("app.pid"));
    assert!(Command::new("bash").args(["-c", &format!("kill -STOP {app}")]).status().unwrap().success());
    until("app is paused", || process_state(app) == Some('T'));
    b.guest.freeze().unwrap();
    assert!(b.guest.frozen().unwrap());
    for pid in b.guest.processes().unwrap() {
        assert_eq!(process_state(pid), Some('T'), "{pid}");
    }
    b.guest.freeze().unwrap();
    b.guest.thaw().unwrap();
    assert!(!b.guest.frozen().unwrap());
    until("init goes on", || process_state(started.pid) != Some('T'));
    assert_eq!(process_state(app), Some('T'), "an app that the guest paused itself stays paused");
    b.guest.thaw().unwrap();
    assert_eq!(process_state(app), Some('T'));
}

#[test]
fn a_frozen_guest_can_be_stopped() {
    let b = Box::new(INIT);
    let started = b.start();
    b.guest.freeze().unwrap();
    b.guest.stop().unwrap();
    assert!(!lives(started.pid));
    assert!(!b.guest.frozen().unwrap());
}

#[test]
fn the_link_can_be_taken_away_and_given_back_while_the_guest_runs() {
    let b = Box::new(INIT);
    let address = start(0, &[]).net0;
    b.start();
    let file = b.guest.rootfs.join("run/pve-sim/net0");
    assert_eq!(read(&file), "127.99.0.2\n");
    b.guest.set_link(None).unwrap();
    assert_eq!((read(&file).as_str(), file.exists()), ("", true));
    assert_eq!(b.guest.running().unwrap().unwrap().net0, None);
    b.guest.set_link(address).unwrap();
    assert_eq!(read(&file), "127.99.0.2\n");
}

#[test]
fn a_guest_with_its_link_down_has_no_net0_at_all() {
    let b = Box::new(INIT);
    b.guest.start(&pve_sim::runtime::Start { net0: None, ..start(0, &[]) }).unwrap();
    until("environment", || read(&b.guest.rootfs.join("env.txt")).contains("PVE_SIM_ROOTFS"));
    assert!(!read(&b.guest.rootfs.join("env.txt")).contains("NET0"));
    assert_eq!(read(&b.guest.rootfs.join("run/pve-sim/net0")), "");
}

#[test]
fn mount_points_are_there_while_the_guest_runs_and_directories_afterwards() {
    let b = Box::new(INIT);
    let (data, bind) = (b.state().join("data"), b.state().join("bind"));
    put(&data.join("file"), "data", 0o644);
    put(&bind.join("file"), "bind", 0o644);
    let mount =
        |path: &str, source: &Path, volume| Mount { path: path.to_owned(), source: source.into(), volume };
    b.guest.start(&start(0, &[mount("/srv/data", &data, true)])).unwrap();
    b.guest.plug(&mount("/bind", &bind, false)).unwrap();
    assert_eq!(read(&b.guest.rootfs.join("srv/data/file")), "data");
    assert_eq!(read(&b.guest.rootfs.join("bind/file")), "bind");
    b.guest.stop().unwrap();
    for path in ["srv/data", "bind"] {
        let path = b.guest.rootfs.join(path);
        assert!(path.is_dir() && !path.is_symlink(), "{}", path.display());
    }
    assert_eq!(read(&data.join("file")), "data");
    let missing = mount("/no", &b.state().join("no"), true);
    assert!(b.guest.start(&start(0, &[mount("/srv/data", &data, true), missing])).is_err());
    assert!(!b.guest.rootfs.join("srv/data").is_symlink(), "a failed start leaves no mount behind");
}

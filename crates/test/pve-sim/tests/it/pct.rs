//! `pct exec`, `pct push` and `pvesm path`, as the program itself.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use pve_sim::runtime::Mount;
use pve_sim::volume::owners::Owners;

use crate::support::{Box, INIT, PVE_SIM, put, start, until};

#[test]
fn exec_sees_the_guests_own_bytes_and_not_those_of_host_live_guest_or_copy() {
    let b = Box::new(INIT);
    let copy = b.another(101, INIT);
    // The same absolute path exists three times: on this machine, in the guest and in its copy.
    let path = b.state().join("probe");
    put(&path, "host\n", 0o644);
    let inside = path.strip_prefix("/").unwrap();
    for (guest, text) in [(&b.guest, "live"), (&copy, "copy")] {
        put(&guest.rootfs.join(inside), &format!("{text}\n"), 0o644);
        put(
            &guest.rootfs.join("usr/bin/who"),
            &format!("#!/bin/sh\necho {text}\ncat \"$PVE_SIM_ROOTFS\"{}\n", path.display()),
            0o755,
        );
    }
    b.start();
    copy.start(&start(1, &[])).unwrap();
    let run = |vmid: &str, program: &str| {
        let output = b.pct().args(["exec", vmid, "--", program]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for program in ["who", "/usr/bin/who", "/bin/who"] {
        assert_eq!(run("100", program), "live\nlive\n");
        assert_eq!(run("101", program), "copy\ncopy\n");
    }
    copy.stop().unwrap();
}

#[test]
fn exec_refuses_a_program_that_is_only_on_the_host() {
    let b = Box::new(INIT);
    b.start();
    assert!(Path::new("/usr/bin/bash").exists() || Path::new("/bin/bash").exists());
    for program in ["bash", "/bin/bash", "/usr/bin/bash", "../../../../../../usr/bin/bash", "/etc/passwd"] {
        let (code, out, err) = b.exec(&[program, "-c", "echo leaked"]);
        assert_eq!((code, out.as_str()), (Some(127), ""), "{program}: {err}");
        assert!(err.contains(program) && err.contains("only programs inside the guest"), "{err}");
    }
}

#[test]
fn exec_refuses_a_link_to_the_host_and_a_script_whose_interpreter_is_only_there() {
    let b = Box::new(INIT);
    symlink("/bin/bash", b.guest.rootfs.join("usr/bin/linked")).unwrap();
    put(&b.guest.rootfs.join("usr/bin/script"), "#!/bin/bash\necho leaked\n", 0o755);
    put(&b.guest.rootfs.join("usr/bin/plain"), "text", 0o644);
    fs::create_dir(b.guest.rootfs.join("usr/bin/folder")).unwrap();
    b.start();
    for program in ["linked", "script", "plain", "folder"] {
        let (code, out, err) = b.exec(&[program]);
        assert_eq!((code, out.as_str()), (Some(127), ""), "{program}: {err}");
    }
}

#[test]
fn exec_passes_input_output_and_exit_code_through() {
    let b = Box::new(INIT);
    b.start();
    let mut child = b
        .pct()
        .args(["exec", "100", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"bytes\0and more").unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"bytes\0and more");
    let (code, out, err) = b.exec(&["sh", "-c", "echo out; echo err >&2; exit 42"]);
    assert_eq!((code, out.as_str(), err.as_str()), (Some(42), "out\n", "err\n"));
}

#[test]
fn exec_runs_with_the_environment_and_directory_of_init() {
    let b = Box::new(INIT);
    b.start();
    b.guest.set_link(None).unwrap();
    let output = b.pct().env("HOST_SECRET", "x").args(["exec", "100", "--", "env"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut names: Vec<&str> = text.lines().map(|line| line.split('=').next().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["PATH", "PVE_SIM_HOSTNAME", "PVE_SIM_LO", "PVE_SIM_ROOTFS"]);
    let (_, directory, _) = b.exec(&["pwd"]);
    assert_eq!(Path::new(directory.trim()), b.guest.rootfs);
}

#[test]
fn processes_of_exec_belong_to_the_guest_and_end_with_it() {
    let b = Box::new(INIT);
    b.start();
    let mut child = b.pct().args(["exec", "100", "--", "sleep", "100"]).spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    until("exec", || b.guest.processes().unwrap().contains(&pid));
    b.guest.stop().unwrap();
    assert!(!child.wait().unwrap().success());
}

#[test]
fn exec_and_push_say_in_pcts_words_that_a_guest_is_missing_or_does_not_run() {
    let b = Box::new(INIT);
    let (code, _, err) = b.exec(&["cat"]);
    assert_eq!((code, err.as_str()), (Some(255), "container '100' not running!\n"));
    let file = b.state().join("file");
    put(&file, "x", 0o644);
    let output = b.pct().args(["push", "100"]).arg(&file).arg("/x").output().unwrap();
    assert_eq!(output.status.code(), Some(255));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "can only push files to a running CT\n");
    let output = b.pct().args(["exec", "777", "--", "cat"]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text, "Configuration file 'nodes/pve/lxc/777.conf' does not exist\n");
}

/// Pushes `text` and returns success and error text.
fn push(b: &Box, text: &str, destination: &str, options: &[&str]) -> (bool, String) {
    let file = b.state().join("pushed");
    put(&file, text, 0o644);
    let output = b.pct().args(["push", "100"]).arg(&file).arg(destination).args(options).output().unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn push_writes_the_file_with_mode_and_owner() {
    let b = Box::new(INIT);
    put(&b.guest.rootfs.join("etc/passwd"), "root:x:0:0::/:\napp:x:1234:99::/:\n", 0o644);
    put(&b.guest.rootfs.join("etc/group"), "root:x:0:\nwww:x:33:\n", 0o644);
    b.start();
    assert!(push(&b, "one", "/etc/token", &["--perms", "0600", "--user", "1000", "--group", "www"]).0);
    let path = b.guest.rootfs.join("etc/token");
    assert_eq!(fs::read_to_string(&path).unwrap(), "one");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    let owner = |path: &str| Owners::load(&b.guest.rootfs).unwrap().get(Path::new(path), 0o600);
    assert_eq!((owner("etc/token").uid, owner("etc/token").gid), (1000, 33));
    assert!(push(&b, "two", "/etc/token", &["--perms", "400", "--user", "app"]).0);
    assert_eq!(fs::read_to_string(&path).unwrap(), "two");
    assert_eq!((owner("etc/token").uid, owner("etc/token").gid, owner("etc/token").mode), (1234, 0, 0o400));
    assert!(push(&b, "three", "/etc/token", &[]).0);
    assert_eq!(Owners::load(&b.guest.rootfs).unwrap(), Owners::default());
    for options in [["--user", "nobody-knows"], ["--perms", "rw"], ["--perms", "77777"]] {
        let (ok, err) = push(&b, "four", "/etc/token", &options);
        assert!(!ok && err.contains(options[1]), "{err}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "three");
}

#[test]
fn push_follows_links_only_inside_the_guest() {
    let b = Box::new(INIT);
    let outside = b.state().join("outside");
    put(&outside.join("file"), "safe", 0o644);
    fs::create_dir_all(b.guest.rootfs.join("real")).unwrap();
    symlink("/real", b.guest.rootfs.join("alias")).unwrap();
    symlink(&outside, b.guest.rootfs.join("out")).unwrap();
    symlink(outside.join("file"), b.guest.rootfs.join("outfile")).unwrap();
    symlink("../../../../../..", b.guest.rootfs.join("up")).unwrap();
    b.start();
    assert!(push(&b, "x", "/alias/file", &[]).0);
    assert_eq!(fs::read_to_string(b.guest.rootfs.join("real/file")).unwrap(), "x");
    assert!(push(&b, "x", "/up/top", &[]).0);
    assert_eq!(fs::read_to_string(b.guest.rootfs.join("top")).unwrap(), "x");
    assert!(push(&b, "x", "/../../../../../../dots", &[]).0);
    assert!(b.guest.rootfs.join("dots").exists());
    for destination in ["/out/file", "/outfile", "/nowhere/file", "/real"] {
        let (ok, err) = push(&b, "evil", destination, &[]);
        assert!(!ok && err.contains(destination), "{destination}: {err}");
    }
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "safe");
}

#[test]
fn push_into_a_mount_point_writes_to_its_volume_and_its_owner_table() {
    let b = Box::new(INIT);
    let data = b.state().join("images/100/vm-100-disk-1.raw");
    let bind = b.state().join("bind");
    fs::create_dir_all(&data).unwrap();
    fs::create_dir_all(&bind).unwrap();
    let mount =
        |path: &str, source: &Path, volume| Mount { path: path.to_owned(), source: source.into(), volume };
    b.guest.start(&start(0, &[mount("/data", &data, true), mount("/bind", &bind, false)])).unwrap();
    assert!(push(&b, "x", "/data/file", &["--user", "5"]).0);
    assert_eq!(fs::read_to_string(data.join("file")).unwrap(), "x");
    assert_eq!(Owners::load(&data).unwrap().get(Path::new("file"), 0o644).uid, 5);
    assert_eq!(Owners::load(&b.guest.rootfs).unwrap(), Owners::default());
    assert!(push(&b, "x", "/bind/file", &["--user", "5"]).0);
    assert_eq!(fs::read_to_string(bind.join("file")).unwrap(), "x");
    assert_eq!(Owners::load(&bind).unwrap(), Owners::default());
}

#[test]
fn exec_into_a_frozen_guest_waits_for_the_thaw() {
    let b = Box::new(INIT);
    b.start();
    b.guest.freeze().unwrap();
    let mut child = b.pct().args(["exec", "100", "--", "sh", "-c", "exit 7"]).spawn().unwrap();
    std::thread::park_timeout(std::time::Duration::from_millis(100));
    assert!(child.try_wait().unwrap().is_none());
    b.guest.thaw().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(7));
}

#[test]
fn pvesm_prints_the_path_of_a_volume_or_backup_also_if_it_does_not_exist() {
    let b = Box::new(INIT);
    put(&b.state().join("etc/host.json"), r#"{"node":"pve","runtime":"process","net":100}"#, 0o644);
    let config = "dir: local\n\tpath /s/local\n\tcontent backup,rootdir\n\nbtrfs: tank\n\tpath /s/tank\n\tcontent rootdir\n\n";
    put(&b.state().join("etc/pve/storage.cfg"), config, 0o644);
    let path = |volume: &str| {
        let mut command = Command::new(PVE_SIM);
        let output =
            command.arg("pvesm").arg("--state").arg(b.state()).args(["path", volume]).output().unwrap();
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let archive = "vzdump-lxc-100-2026_11_23-11_28_42.tar.zst";
    for (volume, expected) in [
        ("local:100/vm-100-disk-0.raw".to_owned(), "s/local/images/100/vm-100-disk-0.raw".to_owned()),
        ("tank:100/vm-100-disk-1.raw".to_owned(), "s/tank/images/100/vm-100-disk-1/disk.raw".to_owned()),
        (format!("local:backup/{archive}"), format!("s/local/dump/{archive}")),
    ] {
        // A path of the node is below the state directory.
        let expected = b.state().canonicalize().unwrap().join(expected);
        assert_eq!(path(&volume), (true, format!("{}\n", expected.display())), "{volume}");
    }
    assert_eq!(path("nosuch:100/vm-100-disk-0.raw"), (false, "storage 'nosuch' does not exist\n".to_owned()));
    for bad in
        ["local:../../etc/passwd", "local:backup/../../etc/passwd", "local", "local:100/vm-101-disk-0.raw"]
    {
        let (ok, text) = path(bad);
        assert!(!ok && text.contains("unable to parse"), "{bad}: {text}");
    }
}

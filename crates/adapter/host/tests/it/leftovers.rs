//! What dead workers leave, with real processes and files; a worker is a shell that leads a process group, as Proxmox's do.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use felhom_host::{DeadBackup, DeadWorker, Host, HostError, Roots};

use crate::programs::{host, vmid};

/// A worker with its own group, and the number of what it started.
struct Worker {
    child: Child,
    dead: DeadWorker,
    left: u32,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The worker, and by number what a failing test left.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if self.goes_on() {
            let _ = Command::new("/bin/kill").args(["-9", &self.left.to_string()]).status();
        }
    }
}

fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    (fields[0] != "Z").then(|| fields[19].parse().unwrap())
}

/// The command lines of a process group.
fn group(number: u32) -> Vec<String> {
    let of = |entry: fs::DirEntry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let group: u32 = stat.rsplit_once(") ")?.1.split(' ').nth(2)?.parse().ok()?;
        (group == number).then(|| fs::read_to_string(entry.path().join("cmdline")).ok())?
    };
    fs::read_dir("/proc").unwrap().flatten().filter_map(of).collect()
}

impl Worker {
    /// Starts `child`, a shell line that ends with a `sleep` of so many seconds, from a worker that waits.
    fn start(dir: &Path, child: &str, seconds: u32) -> Self {
        let mut worker = Command::new("/bin/sh")
            .arg("-c")
            .arg(format!("{child} >/dev/null & echo $!; wait"))
            .current_dir(dir)
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(worker.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let dead = DeadWorker { pid: worker.id(), started: started(worker.id()).unwrap() };
        let worker = Self { child: worker, dead, left: line.trim().parse().unwrap() };
        let asleep = format!("sleep\0{seconds}\0");
        let since = Instant::now();
        while !group(dead.pid).contains(&asleep) {
            assert!(since.elapsed() < Duration::from_secs(20), "{child}");
            std::thread::yield_now();
        }
        worker
    }

    /// SIGKILL for the worker alone.
    fn die(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn goes_on(&self) -> bool {
        started(self.left).is_some()
    }
}

/// A host whose guests' roots are in `dir/lxc`, and the root of guest 200.
fn place(dir: &Path) -> (Host, PathBuf) {
    let roots = Roots { lxc: dir.join("lxc"), tmp: dir.join("tmp"), ..Roots::default() };
    let rootfs = roots.rootfs(vmid());
    fs::create_dir_all(&rootfs).unwrap();
    fs::create_dir_all(&roots.tmp).unwrap();
    (host(dir, "exit 1\n").with_roots(roots), rootfs)
}

/// F77: tar of a killed restore goes on, in its working directory.
#[tokio::test]
async fn a_dead_restores_processes_are_ended_and_others_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let (host, rootfs) = place(dir.path());
    // The second of the pipe names no file of the guest.
    let mut worker = Worker::start(dir.path(), "cd lxc/200/rootfs && sleep 600 | sleep 601", 601);
    let other = Worker::start(&rootfs, "sleep 602", 602);
    let lives = host.end_processes(vmid(), worker.dead, &[]).await.unwrap_err();
    assert!(lives.to_string().contains("lives; end its task by the API"), "{lives}");
    worker.die();
    assert!(worker.goes_on());
    let seen = host.left_processes(vmid(), worker.dead, &[]).unwrap();
    assert!(seen.iter().any(|p| p.command == "sleep 601"), "{seen:?}");
    let ended = host.end_processes(vmid(), worker.dead, &[]).await.unwrap();
    for process in &seen {
        assert!(ended.contains(process), "{process:?} in {ended:?}");
    }
    assert!(!worker.goes_on() && other.goes_on(), "another worker's, in the same directory");
    assert!(host.end_processes(vmid(), worker.dead, &[]).await.unwrap().is_empty(), "twice is once");
}

/// Only by a place of the guest; by a volume's place if there is no mount.
#[tokio::test]
async fn processes_that_do_not_work_on_the_guest_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (host, _) = place(dir.path());
    let volume = dir.path().join("images/200/vm-200-disk-0");
    fs::create_dir_all(&volume).unwrap();
    let mut worker = Worker::start(dir.path(), "exec sleep 603 3>images/200/vm-200-disk-0/file", 603);
    worker.die();
    let refused = host.end_processes(vmid(), worker.dead, &[]).await.unwrap_err();
    assert!(matches!(refused, HostError::Refused { .. }) && worker.goes_on(), "{refused}");
    assert!(refused.to_string().contains("sleep 603"), "{refused}");
    let beside = [dir.path().join("images/200/vm-200-disk-00")];
    assert!(host.end_processes(vmid(), worker.dead, &beside).await.is_err());
    let younger = DeadWorker { started: u64::MAX, ..worker.dead };
    let refused = host.end_processes(vmid(), younger, std::slice::from_ref(&volume)).await.unwrap_err();
    assert!(refused.to_string().contains("older than the worker"), "{refused}");
    assert!(worker.goes_on());
    assert_eq!(host.end_processes(vmid(), worker.dead, &[volume]).await.unwrap().len(), 1);
    assert!(!worker.goes_on());
}

const NAME: &str = "vzdump-lxc-200-2026_11_23-16_19_33";

fn listed(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// F91, rec 2/238: the archive, its log and what is another backup's stay.
#[tokio::test]
async fn a_dead_backups_files_go_once_nobody_writes_them() {
    let dir = tempfile::tempdir().unwrap();
    let (host, _) = place(dir.path());
    let dump = dir.path().join("dump");
    fs::create_dir_all(dump.join(format!("{NAME}.tmp/etc/vzdump"))).unwrap();
    fs::write(dump.join(format!("{NAME}.tmp/etc/vzdump/pct.conf")), "x").unwrap();
    let kept = [
        format!("{NAME}.log"),
        "vzdump-lxc-200-2026_11_23-16_19_34.tar.dat".to_owned(),
        "vzdump-lxc-200-2026_11_23-16_19_34.tar.zst".to_owned(),
        "vzdump-lxc-201-2026_11_23-16_19_33.tar.dat".to_owned(),
    ];
    for name in &kept {
        fs::write(dump.join(name), "x").unwrap();
    }
    let mut worker = Worker::start(&dump, &format!("exec sleep 604 3>{NAME}.tar.dat"), 604);
    fs::create_dir(dir.path().join(format!("tmp/vzdumptmp{}_200", worker.dead.pid))).unwrap();
    let backup = DeadBackup { worker: worker.dead, dump_dir: dump.clone(), name: NAME.parse().unwrap() };
    assert!(host.remove_dump_files(&backup).await.unwrap_err().to_string().contains("lives"));
    worker.die();
    let refused = host.remove_dump_files(&backup).await.unwrap_err();
    assert!(refused.to_string().contains(&format!("process {} uses it", worker.left)), "{refused}");
    assert!(dump.join(format!("{NAME}.tmp")).exists(), "all or nothing");
    assert_eq!(
        host.end_processes(vmid(), worker.dead, &[]).await.unwrap().len(),
        1,
        "by the half-written archive"
    );
    assert_eq!(host.left_dump_files(&backup).unwrap().len(), 3);
    assert_eq!(host.remove_dump_files(&backup).await.unwrap().len(), 3);
    assert_eq!(listed(&dump), kept);
    assert!(listed(&dir.path().join("tmp")).is_empty());
    assert!(host.remove_dump_files(&backup).await.unwrap().is_empty(), "twice is once");
}

#[tokio::test]
async fn what_is_no_temporary_file_of_a_backup_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (host, _) = place(dir.path());
    let precious = dir.path().join("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("file"), "x").unwrap();
    let dead = DeadWorker { pid: u32::MAX >> 1, started: 1 };
    let backup = DeadBackup { worker: dead, dump_dir: dir.path().to_owned(), name: NAME.parse().unwrap() };
    for (end, target) in [("tmp", precious.clone()), ("tar.dat", precious.join("file"))] {
        let link = dir.path().join(format!("{NAME}.{end}"));
        symlink(&target, &link).unwrap();
        let refused = host.remove_dump_files(&backup).await.unwrap_err();
        assert!(refused.to_string().contains("not the kind of file"), "{refused}");
        fs::remove_file(link).unwrap();
    }
    fs::create_dir(dir.path().join(format!("{NAME}.tmp"))).unwrap();
    symlink(&precious, dir.path().join(format!("{NAME}.tmp/link"))).unwrap();
    assert_eq!(host.remove_dump_files(&backup).await.unwrap().len(), 1);
    assert!(precious.join("file").exists(), "links are not followed");
}

/// F77, rec 2/56, 2/88: the last mounted first, and nothing of another guest.
#[tokio::test]
async fn mounts_of_one_guest_are_unmounted_deepest_first() {
    let dir = tempfile::tempdir().unwrap();
    let (proc, lxc) = (dir.path().join("proc"), dir.path().join("lxc"));
    fs::create_dir_all(proc.join("self")).unwrap();
    let table = proc.join("self/mountinfo");
    let line = |path: &str| format!("9 8 7:4 / {}/{path} rw - ext4 /dev/loop4 rw\n", lxc.display());
    let paths = ["200/rootfs", "2000/rootfs", "200/rootfs/data", "201/rootfs", "200/rootfs-not"];
    fs::write(&table, paths.map(line).concat()).unwrap();
    // Stands in for umount: notes the path and takes its line out.
    let script = format!(
        "[ \"$1\" = -- ] && [ $# = 2 ] || exit 1\necho \"$2\" >> {0}/order\ngrep -vF \" $2 rw\" {1} > {0}/new; mv {0}/new {1}\n",
        dir.path().display(),
        table.display()
    );
    let roots = Roots { proc, lxc: lxc.clone(), tmp: dir.path().to_owned(), ..Roots::default() };
    let host = host(dir.path(), &script).with_roots(roots);
    let own = [lxc.join("200/rootfs"), lxc.join("200/rootfs/data")];
    assert_eq!(host.guest_mounts(vmid()).unwrap(), own);
    assert_eq!(host.unmount_guest(vmid()).await.unwrap(), own);
    let order = fs::read_to_string(dir.path().join("order")).unwrap();
    assert_eq!(order, format!("{}\n{}\n", own[1].display(), own[0].display()));
    let left = ["2000/rootfs", "201/rootfs", "200/rootfs-not"].map(line).concat();
    assert_eq!(fs::read_to_string(&table).unwrap(), left);
    assert!(host.unmount_guest(vmid()).await.unwrap().is_empty());
    fs::write(&table, line("200/rootfs")).unwrap();
    let busy = crate::programs::host(dir.path(), "echo 'target is busy.' >&2; exit 32\n");
    let roots = Roots { proc: dir.path().join("proc"), lxc, tmp: dir.path().to_owned(), ..Roots::default() };
    let failed = busy.with_roots(roots).unmount_guest(vmid()).await.unwrap_err();
    assert!(failed.to_string().contains("target is busy"), "{failed}");
}

//! Argument vectors, input, output, limits and time with a shell script as `pct`.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use felhom_host::{FilePush, GuestCommand, Host, HostError, Programs, RootAct};
use felhom_model::Vmid;

pub(crate) fn vmid() -> Vmid {
    Vmid::try_from(200).unwrap()
}

/// A host whose programs are this script; `$0` is the script, arguments follow.
pub(crate) fn host(dir: &Path, script: &str) -> Host {
    let path = dir.join("program");
    fs::write(&path, script).unwrap();
    let prefix = vec!["/bin/sh".to_owned(), path.to_str().unwrap().to_owned()];
    let [pct, pvesm, pveum, lxc_unfreeze, umount, timedatectl, sysusers, tmpfiles, systemctl, userdel] =
        std::array::from_fn(|_| prefix.clone());
    let programs = Programs {
        pct,
        pvesm,
        pveum,
        lxc_unfreeze,
        umount,
        timedatectl,
        sysusers,
        tmpfiles,
        systemctl,
        userdel,
    };
    Host::new(programs, dir)
}

#[tokio::test]
async fn exec_passes_arguments_and_input_and_gives_the_guests_code() {
    let dir = tempfile::tempdir().unwrap();
    let host = host(dir.path(), "printf '%s\\n' \"$@\"; cat; echo oops >&2; env >&2; exit 3\n");
    let command = GuestCommand::new("/usr/bin/app", ["a b", "$HOME;x"]).with_stdin(b"secret".to_vec());
    let output = host.exec(vmid(), &command).await.unwrap();
    assert_eq!(output.code, Some(3));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "exec\n200\n--\n/usr/bin/app\na b\n$HOME;x\nsecret"
    );
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("oops\n"));
    assert!(!stderr.contains("HOME="), "the environment is not passed on: {stderr}");
}

#[tokio::test]
async fn exec_says_when_pct_itself_failed() {
    let dir = tempfile::tempdir().unwrap();
    let host = host(dir.path(), "echo \"container '200' not running!\" >&2; exit 255\n");
    let error = host.exec(vmid(), &GuestCommand::new("/bin/true", [""; 0])).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "pct exec on guest 200 failed (exit code 255): container '200' not running!"
    );
    let relative = host.exec(vmid(), &GuestCommand::new("true", [""; 0])).await.unwrap_err();
    assert!(matches!(relative, HostError::Refused { act: RootAct::GuestExec, .. }), "{relative}");
}

#[tokio::test]
async fn exec_is_bounded_in_time_and_output() {
    let dir = tempfile::tempdir().unwrap();
    let slow = host(dir.path(), "sleep 60 & sleep 60\n");
    let started = Instant::now();
    let command = GuestCommand::new("/bin/x", [""; 0]).with_timeout(Duration::from_millis(100));
    let error = slow.exec(vmid(), &command).await.unwrap_err();
    assert!(matches!(error, HostError::TimedOut { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(20), "the whole group was killed");
    let loud = host(dir.path(), "while :; do echo xxxxxxxxxxxxxxxx; done\n");
    let command = GuestCommand::new("/bin/x", [""; 0]).with_limit(1000);
    let error = loud.exec(vmid(), &command).await.unwrap_err();
    assert!(matches!(error, HostError::TooMuchOutput { limit: 1000, .. }), "{error}");
}

#[tokio::test]
async fn push_goes_by_a_private_file_that_is_gone_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "[ \"$1 $2\" = 'push 200' ] || exit 1\nstat -c %a \"$3\" > {0}/mode; cat \"$3\" > {0}/content\n\
         shift 3; printf '%s ' \"$@\" > {0}/rest\n",
        dir.path().display()
    );
    let host = host(dir.path(), &script);
    let push = FilePush { path: "/run/felhom/token".into(), content: b"s3cret".to_vec(), mode: 0o600 };
    host.push(vmid(), &push).await.unwrap();
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!((read("mode").trim(), read("content").as_str()), ("600", "s3cret"));
    assert_eq!(read("rest"), "/run/felhom/token --perms 0600 --user 0 --group 0 ");
    let left = fs::read_dir(dir.path())
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_str().unwrap().starts_with("push-"));
    assert_eq!(left.count(), 0);
}

#[tokio::test]
async fn volume_path_is_one_absolute_line() {
    let dir = tempfile::tempdir().unwrap();
    let volid = "local:backup/vzdump-lxc-200-2026_11_24-10_00_00.tar.zst".parse().unwrap();
    let good = host(dir.path(), "[ \"$1\" = path ] && echo \"/var/lib/vz/dump/${2#local:backup/}\"\n");
    let path = good.volume_path(&volid).await.unwrap();
    assert_eq!(path, Path::new("/var/lib/vz/dump/vzdump-lxc-200-2026_11_24-10_00_00.tar.zst"));
    let odd = host(dir.path(), "echo relative\n");
    assert!(matches!(odd.volume_path(&volid).await, Err(HostError::Refused { .. })));
    let none = Host::new(
        Programs { pct: vec![], pvesm: vec!["/nonexistent/pvesm".into()], ..Programs::default() },
        dir.path(),
    );
    let error = none.volume_path(&volid).await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/pvesm"), "{error}");
    assert!(none.exec(vmid(), &GuestCommand::new("/bin/true", [""; 0])).await.is_err());
    let relative = Host::new(Programs { pct: vec!["pct".into()], ..Programs::default() }, dir.path());
    let error = relative.exec(vmid(), &GuestCommand::new("/bin/true", [""; 0])).await.unwrap_err();
    assert!(error.to_string().contains("no absolute path"), "{error}");
}

#[test]
fn every_act_has_a_reason() {
    assert!(RootAct::ALL.iter().all(|act| act.reason().len() > 20));
}

"""A real client against the simulator: the package `proxmoxer`, as its users write with it.

    proxmoxer.py PVE_SIM        PVE_SIM is the program; the packages `proxmoxer` and `requests` must be there

Logs in with a password and with a token, restores a guest from an archive, starts it, snapshots it, backs it up, restores the
backup under another VMID, prunes, and destroys. Each check is a line `ok …`; the first that fails ends the script with status 1.
"""

import io
import json
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time

# This file must not stand in for the package of the same name.
sys.path = [p for p in sys.path if pathlib.Path(p or ".").resolve() != pathlib.Path(__file__).resolve().parent]

import urllib3  # noqa: E402
from proxmoxer import ProxmoxAPI, ResourceException  # noqa: E402
from proxmoxer.tools import Tasks  # noqa: E402

urllib3.disable_warnings()

PASSWORD = "a-password"
GOLDEN = "vzdump-lxc-999-2026_01_01-00_00_00.tar"
CONFIG = """arch: amd64
hostname: golden
memory: 128
mp0: tank:999/vm-999-disk-1.raw,mp=/data,backup=1,size=1G
net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,type=veth
ostype: debian
rootfs: tank:999/vm-999-disk-0.raw,size=1G
unprivileged: 1
"""
INIT = "#!/bin/sh\ntrap 'exit 0' TERM\nwhile :; do sleep 100 & wait $!; done\n"


def check(what, holds, seen=None):
    """Prints a line, or ends the script."""
    if not holds:
        print(f"not ok {what}: {seen!r}", flush=True)
        sys.exit(1)
    print(f"ok {what}", flush=True)


def write_golden(path):
    """An archive as vzdump writes it, with a small guest and a file on /data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:

        def add(name, data=None, mode=0o755):
            info = tarfile.TarInfo(name)
            info.mode, info.mtime = mode, 1_700_000_000
            if data is None:
                info.type = tarfile.DIRTYPE
            else:
                info.size = len(data)
            tar.addfile(info, None if data is None else io.BytesIO(data))

        add("./etc/vzdump/pct.conf", CONFIG.encode(), 0o644)
        for folder in [".", "./etc", "./bin", "./sbin", "./data"]:
            add(folder)
        for tool in ["sh", "sleep"]:
            add(f"./bin/{tool}", pathlib.Path(shutil.which(tool)).read_bytes())
        add("./sbin/init", INIT.encode())
        add("./data/file", b"v1\n", 0o644)


class Client:
    """What a user of proxmoxer has: an API object and the node's name."""

    def __init__(self, port, **login):
        self.api = ProxmoxAPI("127.0.0.1", port=port, verify_ssl=False, timeout=30, **login)
        self.node = self.api.nodes(self.api.nodes.get()[0]["node"])

    def task(self, upid):
        """Waits for a task; its exit status."""
        status = Tasks.blocking_status(self.api, upid, timeout=60, polling_interval=0.05)
        return status["exitstatus"] if status else "not in time"


def prepare_token(root):
    """A user with a privilege-separated token and what it needs; the token's name and secret."""
    root.api.access.users.post(userid="op@pve")
    made = root.api.access.users("op@pve").token("cli").post(privsep=1)
    root.api.pools.post(poolid="guests")
    for path, role in [("/pool/guests", "PVEVMAdmin"), ("/storage", "PVEDatastoreUser"), ("/sdn", "PVESDNUser")]:
        root.api.access.acl.put(path=path, roles=role, users="op@pve", tokens="op@pve!cli")
    return made["value"]


def main():
    work = pathlib.Path(tempfile.mkdtemp(prefix="pve-sim-proxmoxer-"))
    (work / "root.pw").write_text(PASSWORD + "\n")
    (work / "root.pw").chmod(0o600)
    server = subprocess.Popen(
        [sys.argv[1], "serve", "--state", work / "state", "--listen", "127.0.0.1:0", "--json", "--net", "98"]
        + ["--runtime", "process", "--root-password-file", work / "root.pw"],
        stdout=subprocess.PIPE,
    )
    try:
        ready = json.loads(server.stdout.readline())
        write_golden(work / "state/var/lib/vz/dump" / GOLDEN)
        walk(int(ready["url"].rsplit(":", 1)[1]))
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(work, ignore_errors=True)


def walk(port):
    root = Client(port, user="root@pam", password=PASSWORD)
    version = root.api.version.get()
    check("a ticket logs in", version["version"].startswith("9."), version)
    try:
        Client(port, user="root@pam", password="wrong")
        check("a wrong password is refused", False)
    except Exception as error:  # proxmoxer raises AuthenticationError, a plain Exception in some versions
        check("a wrong password is refused", "authenticat" in repr(error).lower(), error)
    secret = prepare_token(root)
    token = Client(port, user="op@pve", token_name="cli", token_value=secret)
    check("a token logs in", token.api.version.get() == version)
    check("the token sees no guest yet", token.node.lxc.get() == [])

    volid = f"local:backup/{GOLDEN}"
    form = dict(vmid=100, ostemplate=volid, restore=1, pool="guests", storage="tank", hostname="first", onboot=0)
    status = root.task(root.node.lxc.post(**form))
    check("a guest is provisioned by restore", status == "OK", status)
    config = token.node.lxc(100).config.get()
    check("the token reads its configuration", config["hostname"] == "first" and "/data" in config["mp0"], config)
    status = token.task(token.node.lxc(100).status.start.post())
    check("it starts", status == "OK", status)
    current = token.node.lxc(100).status.current.get()
    check("it runs", current["status"] == "running" and current["vmid"] == 100, current)
    lifecycle(root, token)


def lifecycle(root, token):
    guest = token.node.lxc(100)
    status = token.task(guest.snapshot.post(snapname="before", description="by proxmoxer"))
    check("it is snapshotted while it runs", status == "OK", status)
    names = {entry["name"] for entry in guest.snapshot.get()}
    check("the snapshot is listed", names == {"before", "current"}, names)
    status = token.task(guest.snapshot("before").delete())
    check("the snapshot is deleted", status == "OK", status)

    form = dict(vmid=100, storage="local", mode="snapshot", compress="zstd", remove=0)
    for number in (1, 2):
        status = token.task(token.node.vzdump.post(**form, **{"notes-template": "{{guestname}} " + str(number)}))
        check(f"backup {number} is made", status == "OK", status)
        time.sleep(1.1)  # archives of one second have one name
    content = token.node.storage("local").content
    backups = sorted(content.get(content="backup", vmid=100), key=lambda entry: entry["ctime"])
    check("both are listed with their notes", [b.get("notes") for b in backups] == ["first 1", "first 2"], backups)

    form = dict(vmid=101, ostemplate=backups[1]["volid"], restore=1, pool="guests", storage="tank", hostname="second")
    status = root.task(root.node.lxc.post(**form))
    check("the backup is restored under another VMID", status == "OK", status)
    names = sorted(entry["name"] for entry in token.node.lxc.get())
    check("both guests are there", names == ["first", "second"], names)

    prune = token.node.storage("local").prunebackups
    marks = prune.get(vmid=100, **{"prune-backups": "keep-last=1"})
    check("the preview would remove one", sorted(m["mark"] for m in marks) == ["keep", "remove"], marks)
    status = token.task(prune.delete(vmid=100, **{"prune-backups": "keep-last=1"}))
    check("it is pruned", status == "OK", status)
    left = [entry["volid"] for entry in content.get(content="backup", vmid=100)]
    check("the newer one is left", left == [backups[1]["volid"]], left)

    status = token.task(guest.status.shutdown.post())
    check("it is shut down", status == "OK", status)
    for vmid in (100, 101):
        status = token.task(token.node.lxc(vmid).delete())
        check(f"guest {vmid} is destroyed", status == "OK", status)
    check("no guest is left", root.node.lxc.get() == [])
    try:
        guest.config.get()
        check("a guest that is gone is refused", False)
    except ResourceException as error:
        check("a guest that is gone is refused", error.status_code in (403, 500), error)


if __name__ == "__main__":
    main()

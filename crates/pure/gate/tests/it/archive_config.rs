//! What an archive may say about the guest that is made of it.

use felhom_gate::archive_config::forbidden_lines;

#[test]
fn a_plain_guest_passes() {
    let config = "#felhom:1 guest=x\narch: amd64\nfeatures: nesting=1,keyctl=1\nhostname: a\nmemory: 512\n\
                  net0: name=eth0,bridge=vmbr0\nrootfs: local:2000/x.raw,size=8G\nmp0: local:2000/y.raw,mp=/d,backup=1\n";
    assert_eq!(forbidden_lines(config), Vec::<String>::new());
}

#[test]
fn what_runs_as_root_or_reaches_the_host_does_not() {
    for line in [
        "hookscript: local:snippets/x.pl",
        "dev0: /dev/sda",
        "entrypoint: /x",
        "env: A=B",
        "lxc.mount.entry: /etc etc none bind",
        "lxc.hook.pre-start = /x",
        "features: nesting=1,mount=nfs",
        "features: fuse=1",
        "net2: name=eth2,bridge=vmbr0",
        "mp0: /etc,mp=/host",
        "rootfs: /var/lib/x",
        "mp0: volume=/srv:1,mp=/x",
        "mp0: volume=tank:2000/y.raw,mp=/x",
        "mp0: mp=/x:y,volume=/etc",
        "mp0: local:2000/y.raw,mp=/x,volume=/etc",
        "mp0: local:2000/y.raw,mp=/x, volume=/etc",
        "mp0: local:/etc,mp=/x",
        "mp0: a/b:c,mp=/x",
        "unused0: local:2000/z.raw",
        "lock: create",
        "[vzdump]",
        "net0 : x",
        "mpx: a:b",
    ] {
        assert_eq!(forbidden_lines(line).len(), 1, "{line}");
    }
}

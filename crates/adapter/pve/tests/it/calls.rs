//! How calls look on the wire.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use felhom_pve::{
    AttachedVolume, AttributeUpdate, Call, ConfigUpdate, Error, Hook, MountPoint, Pve, TaskFilter, VolumeKey,
    VolumeMove,
};

use crate::scripted::{Server, data, error};

#[tokio::test]
async fn login_gives_a_client_with_cookie_and_csrf_token() {
    let server = Server::start(|n, _| match n {
        0 => data(
            r#"{"username":"root@pam","ticket":"PVE:root@pam:6B04::x+/=","CSRFPreventionToken":"6B04:abc"}"#,
        ),
        _ => data("null"),
    });
    let user = "root@pam".parse().unwrap();
    let client = Pve::login(server.endpoint(), &user, &"a=b&c;d".into()).await.unwrap();
    client.create_pool(&"felhom".parse().unwrap(), "k=v;w").await.unwrap();
    let _ = client.acl().await;
    let seen = server.requests();
    assert_eq!(seen[0].body, "username=root%40pam&password=a%3Db%26c%3Bd");
    assert_eq!(seen[1].body, "poolid=felhom&comment=k%3Dv%3Bw");
    assert_eq!(seen[1].header("cookie"), Some("PVEAuthCookie=PVE%3Aroot%40pam%3A6B04%3A%3Ax%2B%2F%3D"));
    assert_eq!(seen[1].header("csrfpreventiontoken"), Some("6B04:abc"));
    assert_eq!(seen[2].header("csrfpreventiontoken"), None, "reading needs none");
    assert!(!format!("{client:?}").contains("6B04"));
}

#[tokio::test]
async fn a_wrong_password_is_unauthorized_with_the_servers_words() {
    let server = Server::start(|_, _| {
        error("401 authentication failure", r#"{"data":null,"message":"authentication failure\n"}"#)
    });
    let failed =
        Pve::login(server.endpoint(), &"root@pam".parse().unwrap(), &"wrong".into()).await.unwrap_err();
    assert!(matches!(failed, Error::Unauthorized(_)), "{failed}");
    assert!(failed.to_string().starts_with("POST /access/ticket on 127.0.0.1:"), "{failed}");
    assert!(!failed.to_string().contains("wrong&") && !format!("{failed:?}").contains("password="));
}

#[tokio::test]
async fn parameters_of_a_deletion_are_in_the_query_and_there_is_no_body() {
    let server = Server::start(|_, _| {
        data("\"UPID:pve:00000CCD:00026250:6B0466CE:vzdestroy:211:felhom@pve!executor:\"")
    });
    let guest = server.client().node(&"pve".parse().unwrap()).guest("211".parse().unwrap());
    let upid = guest.destroy(true).await.unwrap();
    assert_eq!((upid.kind(), upid.id(), upid.token()), ("vzdestroy", "211", Some("executor")));
    let request = &server.requests()[0];
    assert_eq!(
        (request.method.as_str(), request.target.as_str()),
        ("DELETE", "/api2/json/nodes/pve/lxc/211?purge=1")
    );
    assert_eq!((request.body.as_str(), request.header("content-type")), ("", None));
}

#[tokio::test]
async fn paths_are_encoded_and_queries_complete() {
    let server = Server::start(|_, _| data("[]"));
    let node = server.client().node(&"pve".parse().unwrap());
    let storage = node.storage(&"local".parse().unwrap());
    let volid = "local:backup/vzdump-lxc-110-2026_11_23-11_28_42.tar.zst".parse().unwrap();
    let _ = storage
        .set_attributes(&volid, &AttributeUpdate { notes: Some("a\nb".into()), protected: Some(true) })
        .await;
    let _ = storage.backups(Some("110".parse().unwrap())).await;
    let filter = TaskFilter {
        vmid: Some("110".parse().unwrap()),
        kind: Some("vzdump".into()),
        ..TaskFilter::default()
    };
    let _ = node.tasks(&filter).await;
    let _ = node.guest("110".parse().unwrap()).config().await;
    let seen: Vec<_> =
        server.requests().iter().map(|r| format!("{} {} {}", r.method, r.target, r.body)).collect();
    let base = "/api2/json/nodes/pve";
    assert_eq!(
        seen,
        [
            format!(
                "PUT {base}/storage/local/content/local%3Abackup%2Fvzdump-lxc-110-2026_11_23-11_28_42.tar.zst \
                 notes=a%0Ab&protected=1"
            ),
            format!("GET {base}/storage/local/content?content=backup&vmid=110 "),
            format!("GET {base}/tasks?source=all&limit=500&vmid=110&typefilter=vzdump "),
            format!("GET {base}/lxc/110/config?current=1 "),
        ]
    );
}

/// F82, rec 2/311; F100, rec 2/1201; F83, rec 2/393.
#[tokio::test]
async fn volumes_and_half_made_snapshots() {
    let server = Server::start(|n, _| match n {
        2 => data("null"),
        _ => data("\"UPID:pve:00000974:0002E878:6B046826:move_volume:220-mp1>221-mp5:felhom@pve!executor:\""),
    });
    let guest = server.client().node(&"pve".parse().unwrap()).guest("220".parse().unwrap());
    let request = VolumeMove {
        key: VolumeKey::Mount(1),
        target: "221".parse().unwrap(),
        target_key: VolumeKey::Mount(5),
        digest: None,
        target_digest: None,
    };
    let upid = guest.move_volume(&request).await.unwrap();
    assert_eq!(upid.id(), request.task_id(guest.vmid()));
    guest.force_delete_snapshot(&"k1".parse().unwrap()).await.unwrap();
    let point: MountPoint = "btr:220/vm-220-disk-1.raw,mp=/data,backup=1".parse().unwrap();
    let attach = ConfigUpdate {
        mounts: BTreeMap::from([(0, AttachedVolume::try_from(point).unwrap())]),
        ..ConfigUpdate::default()
    };
    guest.set_config(&attach).await.unwrap();
    let seen: Vec<_> =
        server.requests().iter().map(|r| format!("{} {} {}", r.method, r.target, r.body)).collect();
    let base = "/api2/json/nodes/pve/lxc/220";
    assert_eq!(
        seen,
        [
            format!("POST {base}/move_volume volume=mp1&target-vmid=221&target-volume=mp5"),
            format!("DELETE {base}/snapshot/k1?force=1 "),
            format!("PUT {base}/config mp0=btr%3A220%2Fvm-220-disk-1.raw%2Cmp%3D%2Fdata%2Cbackup%3D1"),
        ]
    );
}

struct Notes(Mutex<Vec<String>>);

impl Hook for Notes {
    fn before_mutation(&self, call: &Call) -> Result<(), Error> {
        self.0.lock().unwrap().push(format!("before {} {}", call.method, call.path));
        Ok(())
    }
    fn after_mutation(&self, call: &Call) -> Result<(), Error> {
        self.0.lock().unwrap().push(format!("after {}", call.method));
        Ok(())
    }
}

#[tokio::test]
async fn a_hook_sees_mutating_calls_only() {
    let server = Server::start(|_, _| data("null"));
    let notes = Arc::new(Notes(Mutex::new(Vec::new())));
    let client = server.client().with_hook(Arc::clone(&notes) as Arc<dyn Hook>);
    let guest = client.node(&"pve".parse().unwrap()).guest("110".parse().unwrap());
    let _ = guest.status().await;
    guest.set_config(&ConfigUpdate { onboot: Some(true), ..ConfigUpdate::default() }).await.unwrap();
    assert_eq!(*notes.0.lock().unwrap(), ["before PUT /nodes/pve/lxc/110/config", "after PUT"]);
}

//! Each case as a line of `user.cfg`, so that a reader can check it against a real host.

use super::*;
use crate::state::access_file::parse;

const BASE: &str = "user:u@pve:1:0::::::\ntoken:u@pve!sep:0:1::\ntoken:u@pve!full:0:0::\ntoken:root@pam!t:0:1::\ngroup:g:u@pve::\n\
                    role:Op:VM.Audit,VM.Backup:\nrole:Admin:VM.Allocate,VM.Audit,VM.Backup,VM.PowerMgmt:\npool:p::100:tank:\n";

fn names(acl: &str, authid: &str, path: &str) -> Vec<String> {
    privileges(&parse(&format!("{BASE}{acl}")), authid, path).into_keys().collect()
}

/// F23, rec 512: a privilege-separated token has what both it and its user have.
#[test]
fn a_separated_token_is_the_intersection_with_its_user() {
    let acl = "acl:1:/:u@pve:Op:\nacl:1:/vms/150:u@pve!sep:Administrator:\n";
    assert_eq!(names(acl, "u@pve!sep", "/vms/150"), ["VM.Audit", "VM.Backup"]);
    assert!(names(acl, "u@pve!sep", "/vms/151").is_empty());
}

/// F23, rec 514: what is given to a token without separation is ignored.
#[test]
fn a_token_without_separation_has_its_users_rights_only() {
    let acl = "acl:1:/:u@pve:Op:\nacl:1:/vms/150:u@pve!full:Administrator:\n";
    assert_eq!(names(acl, "u@pve!full", "/vms/150"), ["VM.Audit", "VM.Backup"]);
}

/// F24, rec 518: an entry nearer to the object replaces what is inherited.
#[test]
fn a_deeper_entry_replaces_the_inherited_roles() {
    let acl = "acl:1:/:u@pve:Admin:\nacl:1:/vms/152:u@pve:Op:\n";
    assert_eq!(names(acl, "u@pve", "/vms/152"), ["VM.Audit", "VM.Backup"]);
    assert_eq!(names(acl, "u@pve", "/vms/153").len(), 4);
}

/// F24, rec 516: NoAccess leaves nothing.
#[test]
fn no_access_leaves_nothing() {
    let acl = "acl:1:/:u@pve:Admin:\nacl:1:/vms/151:u@pve:NoAccess:\n";
    assert!(names(acl, "u@pve", "/vms/151").is_empty());
}

/// F24, rec 520: an entry that does not propagate counts on its own path, shown as 0.
#[test]
fn an_entry_without_propagation_counts_on_its_own_path_only() {
    let access = parse(&format!("{BASE}acl:0:/vms/153:u@pve:Op:\n"));
    assert_eq!(privileges(&access, "u@pve", "/vms/153").get("VM.Audit"), Some(&false));
    let access = parse(&format!("{BASE}acl:0:/vms:u@pve:Op:\n"));
    assert!(privileges(&access, "u@pve", "/vms/153").is_empty());
}

/// PRIVILEGES.md: rights on a pool reach its members and nobody else.
#[test]
fn rights_on_a_pool_reach_its_members() {
    let acl = "acl:0:/pool/p:u@pve:Op:\nacl:0:/pool/p:u@pve!sep:Op:\n";
    for who in ["u@pve", "u@pve!sep"] {
        assert_eq!(names(acl, who, "/vms/100"), ["VM.Audit", "VM.Backup"], "{who}");
        assert_eq!(names(acl, who, "/storage/tank"), ["VM.Audit", "VM.Backup"], "{who}");
        assert!(names(acl, who, "/vms/101").is_empty(), "{who}");
    }
}

/// `compile_acl_path`: NoAccess of a pool trumps, and is trumped by, as Proxmox VE has it.
#[test]
fn no_access_on_a_pool_takes_the_guests_rights_away() {
    let acl = "acl:1:/vms/100:u@pve:Admin:\nacl:1:/pool/p:u@pve:NoAccess:\n";
    assert!(names(acl, "u@pve", "/vms/100").is_empty());
}

/// F20, rec 41: a token of root has nothing by itself.
#[test]
fn a_token_of_root_is_not_root() {
    assert!(names("", "root@pam!t", "/").is_empty());
    assert!(!names("", "root@pam", "/").is_empty());
    assert_eq!(names("acl:1:/:root@pam!t:Op:\n", "root@pam!t", "/vms/1"), ["VM.Audit", "VM.Backup"]);
}

#[test]
fn groups_count_where_the_user_has_no_entry_of_its_own() {
    assert_eq!(names("acl:1:/vms:@g:Op:\n", "u@pve", "/vms/1"), ["VM.Audit", "VM.Backup"]);
    assert_eq!(
        names("acl:1:/vms:@g:Admin:\nacl:1:/vms:u@pve:Op:\n", "u@pve", "/vms/1"),
        ["VM.Audit", "VM.Backup"]
    );
}

/// F21: the exact texts.
#[test]
fn a_refusal_names_path_and_privilege() {
    let access = parse(BASE);
    let error = check(&access, "u@pve", "/vms/101", &["VM.PowerMgmt"]).unwrap_err();
    assert_eq!(
        (error.status, error.message.as_str()),
        (403, "Permission check failed (/vms/101, VM.PowerMgmt)")
    );
    let error = check_any(&access, "u@pve", "/storage/x", &["A", "B"]).unwrap_err();
    assert_eq!(error.message, "Permission check failed (/storage/x, A|B)");
}

mod random {
    use proptest::prelude::*;

    use super::*;

    fn acl() -> impl Strategy<Value = String> {
        let path =
            prop::sample::select(vec!["/", "/vms", "/vms/100", "/pool/p", "/storage/tank", "/storage"]);
        let who = prop::sample::select(vec!["u@pve", "u@pve!sep", "@g"]);
        let role = prop::sample::select(vec!["Op", "Admin", "NoAccess", "PVEAuditor"]);
        prop::collection::vec((any::<bool>(), path, who, role), 0..8).prop_map(|all| {
            all.iter()
                .map(|(p, path, who, role)| format!("acl:{}:{path}:{who}:{role}:\n", u8::from(*p)))
                .collect()
        })
    }

    proptest! {
        /// Whatever the list says, a separated token never has a privilege that its user has not.
        #[test]
        fn a_separated_token_never_exceeds_its_user(acl in acl()) {
            let access = parse(&format!("{BASE}{acl}"));
            for path in ["/", "/vms/100", "/vms/101", "/storage/tank", "/pool/p"] {
                let user = privileges(&access, "u@pve", path);
                for privilege in privileges(&access, "u@pve!sep", path).keys() {
                    prop_assert!(user.contains_key(privilege), "{privilege} on {path}");
                }
            }
        }
    }
}

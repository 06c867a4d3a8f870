//! What people read of a verdict.

use felhom_gate::{Evidence, Reason, VmidRange};

#[test]
fn a_reason_is_said_with_its_evidence() {
    let bare = Reason::new("a_rule", "why it is so", Evidence::new());
    assert_eq!(bare.to_string(), "a_rule: why it is so");
    let evidence = Evidence::new().with("vmid", 2000).with("name", "family");
    assert_eq!(evidence.to_string(), "vmid=2000 name=family");
    let told = Reason::new("a_rule", "why it is so", evidence);
    assert_eq!(told.to_string(), "a_rule: why it is so (vmid=2000 name=family)");
    assert_eq!(VmidRange { first: 2000, last: 2799 }.to_string(), "2000-2799");
}

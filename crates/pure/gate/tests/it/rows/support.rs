//! Looking into a customer's guest.

use super::*;

#[test]
fn access_needs_an_operator_and_the_customer() {
    let ask = Operation::OpenSupportAccess(uuid(1));
    assert_eq!(needs(&ask, &facts()), [(1, vec![uuid(1)])]);
    assert_eq!(asked_with(&ask, &facts(), &[operator("ada"), customer(2)]), "needs_authorization");
    objects_to_a_bad_guest(&ask, &facts());
    only_for(&ask, &facts(), &[Purpose::Tenant], "not_a_tenant");
}

#[test]
fn diagnostics_beyond_the_list_need_both_as_well() {
    let ask = Operation::CollectDiagnostics(uuid(1));
    let with = |beyond_allow_list| about(Concerning::Diagnostics { beyond_allow_list });
    assert_eq!(code(&ask, &with(false)), "within_allow_list");
    assert_eq!(needs(&ask, &with(true)), [(1, vec![uuid(1)])]);
    assert_eq!(code(&ask, &facts()), "fact_not_observed");
    objects_to_a_bad_guest(&ask, &with(false));
    only_for(&ask, &with(false), &[Purpose::Tenant], "not_a_tenant");
}

//! The commands of the program; each only translates: parse, call, print.

pub(crate) mod enroll;
pub(crate) mod status;

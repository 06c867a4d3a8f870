//! What belongs to a part: pure.

use super::Part;

/// The slot that a first installation fills; later ones replace what `current` points to.
pub(super) const SLOT: &str = "/opt/felhom/slots/A";
/// Which slot is in force.
pub(super) const CURRENT: &str = "/opt/felhom/current";
/// What `current` says at first.
pub(super) const CURRENT_TARGET: &str = "slots/A";
/// Where a shell finds programs.
pub(super) const BIN: &str = "/usr/local/bin";

/// A directory that holds data.
pub(super) struct Data {
    pub(super) path: &'static str,
    /// What is in it.
    pub(super) what: &'static str,
}

impl Part {
    /// For file names.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Box => "box",
            Self::Hub => "hub",
        }
    }

    /// The part that may be installed beside it.
    pub(super) fn other(self) -> Self {
        match self {
            Self::Box => Self::Hub,
            Self::Hub => Self::Box,
        }
    }

    /// Programs, and whether the part is nothing without it.
    pub(super) fn programs(self) -> &'static [(&'static str, bool)] {
        match self {
            Self::Box => &[("felhom-executor", true), ("felhom-agent", true)],
            Self::Hub => &[("felhom-hub", true), ("felhom", false)],
        }
    }

    /// Units, by name and text.
    pub(super) fn units(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Box => &[
                ("felhom-executor.service", include_str!("../../units/felhom-executor.service")),
                ("felhom-agent.service", include_str!("../../units/felhom-agent.service")),
            ],
            Self::Hub => &[("felhom-hub.service", include_str!("../../units/felhom-hub.service"))],
        }
    }

    /// The user that the unprivileged program runs as.
    pub(super) fn user(self) -> &'static str {
        match self {
            Self::Box => "felhom",
            Self::Hub => "felhom-hub",
        }
    }

    /// sysusers.d(5).
    pub(super) fn users(self) -> &'static str {
        match self {
            Self::Box => {
                "# Written by `felhom-executor install`.\nu felhom - \"Felhom agent\" /var/lib/felhom/agent -\n"
            }
            Self::Hub => {
                "# Written by `felhom-executor install --hub`.\nu felhom-hub - \"Felhom hub\" /var/lib/felhom/hub -\n"
            }
        }
    }

    /// tmpfiles.d(5): made now and at each boot; nothing in them is removed by age.
    pub(super) fn directories(self) -> &'static str {
        match self {
            Self::Box => {
                "# Written by `felhom-executor install`.\n\
                 d /etc/felhom 0755 root root -\n\
                 d /var/lib/felhom 0755 root root -\n\
                 d /var/lib/felhom/executor 0700 root root -\n\
                 d /var/lib/felhom/agent 0700 felhom felhom -\n\
                 # The agent gets to the executor's socket here, and nobody else does.\n\
                 d /run/felhom 0750 root felhom -\n"
            }
            Self::Hub => {
                "# Written by `felhom-executor install --hub`.\n\
                 d /etc/felhom 0755 root root -\n\
                 d /var/lib/felhom 0755 root root -\n\
                 d /var/lib/felhom/hub 0700 felhom-hub felhom-hub -\n"
            }
        }
    }

    /// What is never taken away.
    pub(super) fn data(self) -> &'static [Data] {
        match self {
            Self::Box => &[
                Data { path: "/var/lib/felhom/executor", what: "ledger, journal, the box's key" },
                Data { path: "/var/lib/felhom/agent", what: "the box's enrolment, device key, events" },
            ],
            Self::Hub => &[Data { path: "/var/lib/felhom/hub", what: "fleet, receipts, the hub's keys" }],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_run_what_is_installed_as_the_user_that_is_made() {
        for part in [Part::Box, Part::Hub] {
            for (name, text) in part.units() {
                let program = name.strip_suffix(".service").unwrap();
                assert!(part.programs().iter().any(|(installed, _)| *installed == program));
                assert!(text.contains(&format!("ExecStart={CURRENT}/{program} serve\n")), "{name}");
                let user = format!("User={}\n", part.user());
                assert_eq!(text.contains(&user), *name != "felhom-executor.service", "{name}");
            }
            assert!(part.users().contains(&format!("u {} - ", part.user())));
            for data in part.data() {
                assert!(part.directories().contains(&format!("d {} 0700 ", data.path)), "{}", data.path);
            }
        }
    }

    /// The document for operators says so, and how to allow a storage's server.
    #[test]
    fn the_executor_reaches_loopback_only_and_the_drop_in_of_the_document_adds_to_it() {
        let text = Part::Box.units()[0].1;
        let addresses: Vec<_> = text.lines().filter(|line| line.starts_with("IPAddress")).collect();
        assert_eq!(addresses, ["IPAddressDeny=any", "IPAddressAllow=localhost"]);
        let document = include_str!("../../../../../docs/operator/units.md");
        let (_, rest) = document.split_once("```ini\n").unwrap();
        let drop_in: Vec<_> = rest.split("```").next().unwrap().lines().collect();
        let [section, allow] = drop_in[..] else { panic!("{drop_in:?}") };
        let (key, value) = allow.split_once('=').unwrap();
        // An empty value would take back what is allowed already.
        assert_eq!((section, key), ("[Service]", "IPAddressAllow"));
        assert!(value.parse::<std::net::IpAddr>().is_ok(), "{value}");
    }

    /// Unmounting what a dead restore left must be seen by the host.
    #[test]
    fn the_executor_has_no_mounts_of_its_own() {
        let text = Part::Box.units()[0].1;
        let options =
            text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
        for (option, value) in options {
            let own = [
                "Private",
                "Protect",
                "ReadOnly",
                "ReadWrite",
                "Inaccessible",
                "Bind",
                "Root",
                "Proc",
                "Dynamic",
            ];
            let own = own.iter().any(|begin| option.starts_with(begin));
            assert!(!own, "{option}={value} gives it a mount name space");
        }
    }
}

//! Which crate may depend on which: the folder is the layer, and arrows point down only.

use std::path::{Component, Path};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Finding;
use crate::run;

const RULE: &str = "dependency";

/// A layer of `crates/`, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layer {
    /// No I/O, no clock, no randomness.
    Pure,
    /// Runs steps, knows no domain.
    Engine,
    /// One outside system each.
    Adapter,
    /// Programs.
    App,
    /// Simulators and helpers of tests.
    Test,
    /// This program.
    Tool,
}

/// Which build a dependency belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What is shipped.
    Normal,
    /// Tests only.
    Dev,
    /// The build script.
    Build,
}

/// One entry of `[dependencies]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dependency {
    /// The package's name.
    pub(crate) name: String,
    /// Which build it belongs to.
    pub(crate) kind: Kind,
    /// True if the package is in this workspace.
    pub(crate) ours: bool,
}

/// One of our packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    /// The package's name.
    pub(crate) name: String,
    /// From its folder.
    pub(crate) layer: Layer,
    /// All its dependencies.
    pub(crate) dependencies: Vec<Dependency>,
}

/// Only these may verify signatures among the pure crates.
const MAY_USE_SIGNING: [&str; 2] = ["felhom-protocol", "felhom-gate"];
/// Among the pure crates, what each may use apart from the model (and, above, signing).
const MODEL: &str = "felhom-model";
const SIGNING: &str = "felhom-signing";
/// Know none of our words, so that they can be used and judged by others.
const INDEPENDENT: [&str; 2] = ["pve-sim", "sample-app"];
/// Leads all programs of a box and its hub at once, with clocks and points of its own.
const WHOLE: &str = "felhom-simulation";

/// Read the workspace's packages.
///
/// # Errors
/// `cargo metadata` fails, or a package lies outside the known folders.
pub(crate) fn packages(root: &Path) -> Result<Vec<Package>> {
    let args = ["metadata", "--format-version", "1", "--no-deps", "--offline"];
    let bytes = run::output(&mut run::cargo_command(root, &args))?;
    parse(&bytes, root)
}

fn parse(metadata: &[u8], root: &Path) -> Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<RawPackage>,
    }
    #[derive(Deserialize)]
    struct RawPackage {
        name: String,
        manifest_path: String,
        dependencies: Vec<RawDependency>,
    }
    #[derive(Deserialize)]
    struct RawDependency {
        name: String,
        kind: Option<String>,
        path: Option<String>,
    }
    let metadata: Metadata =
        serde_json::from_slice(metadata).context("cargo metadata printed something else than its JSON")?;
    let mut packages = Vec::new();
    for raw in metadata.packages {
        let folder =
            Path::new(&raw.manifest_path).strip_prefix(root).unwrap_or(Path::new(&raw.manifest_path));
        let layer = layer_of(folder)
            .with_context(|| format!("{}: {} is in no known layer", raw.name, folder.display()))?;
        let dependencies = raw
            .dependencies
            .into_iter()
            .map(|dependency| Dependency {
                kind: match dependency.kind.as_deref() {
                    Some("dev") => Kind::Dev,
                    Some("build") => Kind::Build,
                    _ => Kind::Normal,
                },
                ours: dependency.path.is_some(),
                name: dependency.name,
            })
            .collect();
        packages.push(Package { name: raw.name, layer, dependencies });
    }
    Ok(packages)
}

fn layer_of(manifest: &Path) -> Option<Layer> {
    let mut parts = manifest.components().filter_map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    match (parts.next()?, parts.next()?) {
        ("xtask", _) => Some(Layer::Tool),
        ("crates", "pure") => Some(Layer::Pure),
        ("crates", "engine") => Some(Layer::Engine),
        ("crates", "adapter") => Some(Layer::Adapter),
        ("crates", "app") => Some(Layer::App),
        ("crates", "test") => Some(Layer::Test),
        _ => None,
    }
}

/// Every arrow that points the wrong way.
pub(crate) fn check(packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages {
        for dependency in package.dependencies.iter().filter(|dependency| dependency.ours) {
            let Some(target) = packages.iter().find(|other| other.name == dependency.name) else { continue };
            if let Some(text) = objection(package, target, dependency.kind) {
                findings.push(Finding { place: package.name.clone(), rule: RULE, text });
            }
        }
    }
    findings
}

fn objection(from: &Package, to: &Package, kind: Kind) -> Option<String> {
    if INDEPENDENT.contains(&from.name.as_str()) {
        return Some(format!("depends on {}; it must know no crate of ours", to.name));
    }
    if to.layer == Layer::Test {
        return (kind != Kind::Dev)
            .then(|| format!("depends on the test crate {}; only dev-dependencies may", to.name));
    }
    let why = match (from.layer, to.layer) {
        (Layer::Tool, _) => Some("xtask uses the programs from outside, never a crate of ours"),
        (Layer::Test, Layer::App) if from.name == WHOLE => None,
        (Layer::Test, Layer::App) => Some("a test crate may not depend on a program"),
        (Layer::Test, _) => None,
        (Layer::App, Layer::App) => Some("programs never depend on each other"),
        (Layer::Adapter, Layer::Adapter) => Some("adapters never depend on each other"),
        (from, to) if to > from => Some("dependencies point down only: app → adapter → engine → pure"),
        (Layer::Pure, Layer::Pure) => return pure_objection(&from.name, &to.name),
        _ => None,
    };
    why.map(|why| format!("depends on {}; {why}", to.name))
}

fn pure_objection(from: &str, to: &str) -> Option<String> {
    match to {
        MODEL => None,
        SIGNING if MAY_USE_SIGNING.contains(&from) => None,
        SIGNING => Some(format!(
            "depends on {SIGNING}; of the pure crates only {} may",
            MAY_USE_SIGNING.join(" and ")
        )),
        _ => Some(format!("depends on {to}; pure crates may use {MODEL} only")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, layer: Layer, dependencies: &[(&str, Kind)]) -> Package {
        let dependencies = dependencies
            .iter()
            .map(|(name, kind)| Dependency { name: (*name).to_owned(), kind: *kind, ours: true })
            .collect();
        Package { name: name.to_owned(), layer, dependencies }
    }

    fn world(from: Package) -> Vec<String> {
        let mut packages = vec![from];
        for (name, layer) in [
            ("felhom-model", Layer::Pure),
            ("felhom-signing", Layer::Pure),
            ("felhom-planner", Layer::Pure),
            ("felhom-journal", Layer::Engine),
            ("felhom-pve", Layer::Adapter),
            ("felhom-agent", Layer::App),
            ("testkit", Layer::Test),
        ] {
            packages.push(package(name, layer, &[]));
        }
        check(&packages).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn arrows_down_are_fine() {
        let uses = [
            ("felhom-pve", Kind::Normal),
            ("felhom-journal", Kind::Normal),
            ("felhom-signing", Kind::Normal),
            ("testkit", Kind::Dev),
        ];
        assert!(world(package("felhom-executor", Layer::App, &uses)).is_empty());
        assert!(
            world(package(
                "felhom-gate",
                Layer::Pure,
                &[("felhom-model", Kind::Normal), ("felhom-signing", Kind::Normal)]
            ))
            .is_empty()
        );
    }

    #[test]
    fn each_wrong_arrow_is_found() {
        for (from, to, word) in [
            (package("felhom-x", Layer::App, &[("felhom-agent", Kind::Normal)]), "felhom-agent", "programs"),
            (package("felhom-x", Layer::Adapter, &[("felhom-pve", Kind::Normal)]), "felhom-pve", "adapters"),
            (package("felhom-x", Layer::Engine, &[("felhom-pve", Kind::Normal)]), "felhom-pve", "down only"),
            (
                package("felhom-x", Layer::Pure, &[("felhom-journal", Kind::Normal)]),
                "felhom-journal",
                "down only",
            ),
            (
                package("felhom-x", Layer::Pure, &[("felhom-planner", Kind::Normal)]),
                "felhom-planner",
                "felhom-model only",
            ),
            (
                package("felhom-x", Layer::Pure, &[("felhom-signing", Kind::Dev)]),
                "felhom-signing",
                "only felhom-protocol",
            ),
            (package("felhom-x", Layer::App, &[("testkit", Kind::Normal)]), "testkit", "dev-dependencies"),
            (
                package("pve-sim", Layer::Test, &[("felhom-model", Kind::Dev)]),
                "felhom-model",
                "no crate of ours",
            ),
            (
                package("sample-app", Layer::Test, &[("felhom-model", Kind::Normal)]),
                "felhom-model",
                "no crate of ours",
            ),
            (
                package("xtask", Layer::Tool, &[("felhom-model", Kind::Normal)]),
                "felhom-model",
                "from outside",
            ),
        ] {
            let found = world(from);
            assert_eq!(found.len(), 1, "{to}: {found:?}");
            assert!(found[0].contains(word) && found[0].contains(to), "{found:?}");
        }
    }

    #[test]
    fn metadata_is_read_and_a_stray_folder_is_an_error() {
        let text = br#"{"packages":[{"name":"a","manifest_path":"/w/crates/pure/a/Cargo.toml",
            "dependencies":[{"name":"serde","kind":null},{"name":"b","kind":"dev","path":"/w/crates/pure/b"}]}]}"#;
        let packages = parse(text, Path::new("/w")).unwrap();
        assert_eq!(packages[0].layer, Layer::Pure);
        assert_eq!(packages[0].dependencies[1], Dependency { name: "b".into(), kind: Kind::Dev, ours: true });
        let stray =
            br#"{"packages":[{"name":"a","manifest_path":"/w/crates/misc/a/Cargo.toml","dependencies":[]}]}"#;
        assert!(parse(stray, Path::new("/w")).is_err());
    }
}

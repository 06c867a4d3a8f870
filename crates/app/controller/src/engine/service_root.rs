//! The root of a service: a directory in which its volumes are symbolic links, made anew at each start.
//!
//! It lies below `/run`: a restored copy makes its own, and the links are relative, so they can only lead into the guest
//! whose root they were made in. Nothing confines the process to it; it is where the service starts.

use super::{instance::ServiceFiles, launch::Launch};
use crate::{
    app::{App, Service},
    files,
    paths::Paths,
};
use std::{
    fs, io,
    net::Ipv4Addr,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

/// Prepares the service's root and says how it is started.
///
/// # Errors
/// When a directory cannot be made, or the program is not in the guest; the text names path and reason.
pub fn prepare(
    paths: &Paths,
    app: &App,
    service: &Service,
    lo: Ipv4Addr,
    nonce: String,
) -> io::Result<Launch> {
    let at = ServiceFiles::new(paths, &app.name, &service.name);
    let root = at.root();
    match fs::remove_dir_all(&root) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(files::about("clearing", &root, &e)),
    }
    fs::create_dir_all(&root).map_err(|e| files::about("making", &root, &e))?;
    for mount in &service.mounts {
        let volume = paths.volume(&app.name, &mount.volume);
        make_volume(&volume)?;
        let link = root.join(mount.target.trim_start_matches('/'));
        let dir = link.parent().unwrap_or(&root);
        fs::create_dir_all(dir).map_err(|e| files::about("making", dir, &e))?;
        symlink(relative(dir, &volume, paths.root()), &link)
            .map_err(|e| files::about("linking", &link, &e))?;
    }
    let directory = root.join(service.working_dir.trim_start_matches('/'));
    fs::create_dir_all(&directory).map_err(|e| files::about("making", &directory, &e))?;
    let bin = paths.app(&app.name).join("bin");
    let mut environment = service.environment.clone();
    let own = |dir: &str| paths.root().join(dir).display().to_string();
    let path = [bin.display().to_string(), own("usr/local/bin"), own("usr/bin"), own("bin")].join(":");
    environment.entry("PATH".into()).or_insert(path);
    if let Some(port) = service.ports.first() {
        environment.entry("PORT".into()).or_insert(port.target.to_string());
    }
    environment.insert("HOST".into(), lo.to_string());
    environment.insert("HEALTH_NONCE".into(), nonce.clone());
    Ok(Launch {
        program: find_program(paths, &bin, &service.command[0])?,
        arguments: service.command.clone(),
        environment,
        directory,
        lock: at.lock(),
        record: at.record(),
        nonce,
    })
}

fn make_volume(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let made = fs::DirBuilder::new().recursive(true).mode(0o750).create(dir);
    made.map_err(|e| files::about("making the volume", dir, &e))
}

/// `to` as seen from `from`, both below `root`.
fn relative(from: &Path, to: &Path, root: &Path) -> PathBuf {
    let depth = from.strip_prefix(root).map_or(0, |rest| rest.components().count());
    let up: PathBuf = std::iter::repeat_n("..", depth).collect();
    up.join(to.strip_prefix(root).unwrap_or(to))
}

/// A program is looked for in the app's `bin`, then where its path says, then in the guest's usual places.
fn find_program(paths: &Paths, bin: &Path, word: &str) -> io::Result<PathBuf> {
    let name = Path::new(word).file_name().unwrap_or_default();
    let mut places = vec![bin.join(name)];
    if word.contains('/') {
        places.extend(paths.inside(word));
    } else {
        places.extend(["usr/local/bin", "usr/bin", "bin"].map(|dir| paths.root().join(dir).join(name)));
    }
    let runs = |path: &&PathBuf| {
        fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if let Some(found) = places.iter().find(runs) {
        return Ok(found.clone());
    }
    let tried: Vec<String> = places.iter().map(|path| paths.guest_path(path)).collect();
    let why = format!("`{word}` is no program of this guest; looked for {}", tried.join(", "));
    Err(io::Error::new(io::ErrorKind::NotFound, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_relative_to_the_guests_own_root() {
        let root = Path::new("/srv/a");
        let from = root.join("run/felhom/services/x/web/root");
        let link = relative(&from, &root.join("var/lib/felhom/volumes/x_data"), root);
        assert_eq!(link, Path::new("../../../../../../var/lib/felhom/volumes/x_data"));
    }
}

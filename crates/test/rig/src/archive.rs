//! Archives as `vzdump` writes them.

/// An archive of a container: its configuration, a program as controller and init, and further files by their paths.
///
/// # Panics
/// If a path is longer than 98 bytes.
#[must_use]
pub fn golden(config: &str, program: &[u8], files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
    let mut put = |name: &str, mode: u32, bytes: &[u8]| {
        // As tar writes it: a path that begins with a dot, which the library would leave out.
        let name = format!("./{name}");
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        tar.append(&header, bytes).unwrap();
    };
    put("etc/vzdump/pct.conf", 0o644, config.as_bytes());
    put("usr/bin/felhom-controller", 0o755, program);
    put("sbin/init", 0o755, program);
    for (name, bytes) in files {
        put(name, 0o644, bytes);
    }
    tar.into_inner().unwrap().finish().unwrap()
}

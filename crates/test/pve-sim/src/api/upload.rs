//! `POST /nodes/{node}/storage/{storage}/upload`: templates and ISO images (F66; PVE/API2/Storage/Status.pm of pve-storage).

use super::check::perm;
use super::storage::STORAGE;
use super::{Answer, Call, Route, formats, protected};
use crate::error::ApiError;
use crate::http::schema::{Kind, opt, req};
use crate::http::upload::FOLDER;
use crate::state::storage::Storages;
use crate::work::Job;
use crate::work::upload::Upload;

const ALGORITHMS: &[&str] = &["md5", "sha1", "sha224", "sha256", "sha384", "sha512"];

/// The one route that takes a body in several parts.
pub(crate) const PATH: &str = "/nodes/{node}/storage/{storage}/upload";

/// Routes of this module.
pub(crate) const ROUTES: &[Route] = &[protected(
    ("POST", PATH),
    &[&[
        formats::NODE,
        STORAGE,
        req("content", Kind::Enum(&["iso", "vztmpl", "import"])),
        req("filename", Kind::Text(255)),
        opt("checksum", Kind::Text(usize::MAX)).requires("checksum-algorithm"),
        opt("checksum-algorithm", Kind::Enum(ALGORITHMS)).requires("checksum"),
        opt("tmpfilename", Kind::Format(temporary)),
    ]],
    perm("/storage/{storage}", &["Datastore.AllocateTemplate"]),
    upload,
)];

fn temporary(text: &str) -> Result<(), String> {
    let digits = text.strip_prefix(FOLDER).and_then(|rest| rest.strip_prefix("/pveupload-"));
    let fits = digits.is_some_and(|d| !d.is_empty() && d.bytes().all(|c| c.is_ascii_hexdigit()));
    if fits { Ok(()) } else { Err("value does not match the regex pattern".into()) }
}

/// Looks at everything before the task is started, which copies the file.
fn upload(call: &Call) -> Answer {
    let (id, content) = (call.params.need("storage")?, call.params.need("content")?);
    let storages = Storages::load(call.host())?;
    let storage = storages.enabled(&id)?;
    let Some(temporary) = call.params.get("tmpfilename") else {
        return Err(ApiError::die("missing temporary file name"));
    };
    let source = call.host().dir.root().join(temporary.trim_start_matches('/'));
    let Ok(found) = source.metadata() else {
        return Err(ApiError::die(format!("temporary file '{temporary}' does not exist")));
    };
    let name = normalised(&call.params.need("filename")?);
    let (folder, endings): (_, &[&str]) = match content.as_str() {
        "iso" => ("template/iso", &[".iso", ".img"]),
        "vztmpl" => ("template/cache", &[".tar.gz", ".tar.xz", ".tar.zst", ".tar.bz2"]),
        _ => {
            let path = format!("/nodes/{}/storage/{id}/upload content={content}", call.host().node);
            return Err(ApiError::not_implemented("POST", &path));
        }
    };
    let lower = name.to_ascii_lowercase();
    if !endings.iter().any(|end| lower.len() > end.len() && lower.ends_with(end)) {
        return Err(ApiError::param("filename", "wrong file extension"));
    }
    if !storage.holds(&content) {
        return Err(ApiError::die(format!("storage '{id}' does not support '{content}' content")));
    }
    storage.activate(call.host())?;
    let checksum = call.params.get("checksum-algorithm").zip(call.params.get("checksum"));
    let target = storage.path.join(folder).join(name);
    let shown = storage.shown(&target);
    let job = Upload { temporary, size: found.len(), target, shown, checksum };
    call.task("imgcopy", "", Job::Upload(Box::new(job)))
}

/// The last part of a path, and `_` for what a volume's name does not hold.
fn normalised(name: &str) -> String {
    let last = name.trim_end().rsplit(['/', '\\']).next().unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    last.chars().map(|c| if plain(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere() {
        assert_eq!(normalised("../../etc/cron.d/a b.tar.gz"), "a_b.tar.gz");
        assert_eq!(normalised("C:\\x\\tiny-1.0_amd64.tar.zst"), "tiny-1.0_amd64.tar.zst");
        assert_eq!(normalised("ű.iso"), "_.iso");
    }

    #[test]
    fn only_an_upload_s_own_file_is_taken() {
        assert!(temporary("/var/tmp/pveupload-4c2d32b3184e35be6bf65e400546ade0").is_ok());
        for bad in ["/var/tmp/pveupload-", "/var/tmp/pveupload-../x", "/etc/shadow", "pveupload-00"] {
            assert!(temporary(bad).is_err(), "{bad}");
        }
    }
}

//! A body in several parts (`multipart/form-data`), which only uploads have: its file goes to `/var/tmp` while it comes in, whatever its
//! length (`file_upload_multipart` in src/PVE/APIServer/AnyEvent.pm of pve-http-server).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use multer::{Field, Multipart};
use tokio::io::{AsyncRead, AsyncWriteExt as _};

use super::params::Value;

/// The longest text of a part that is no file, in bytes.
const TEXT_LIMIT: usize = 64 * 1024;
/// Where such files are on a node.
pub(crate) const FOLDER: &str = "/var/tmp";

/// Why there are no parameters. The connection ends without an answer then.
#[derive(Debug)]
pub(super) struct Broken;

/// Reads all parts: texts become parameters, the file is written below `root` and named as `filename` and `tmpfilename`.
pub(super) async fn receive<R: AsyncRead + Unpin + Send>(
    root: &Path,
    (reader, boundary): (R, String),
    idle: Duration,
) -> Result<BTreeMap<String, Value>, Broken> {
    let mut parts = Multipart::with_reader(reader, boundary);
    let mut params = BTreeMap::new();
    loop {
        let next = tokio::time::timeout(idle, parts.next_field()).await;
        let Some(mut part) = next.map_err(|_| Broken)?.map_err(|_| Broken)? else { return Ok(params) };
        let name = part.name().unwrap_or_default().to_owned();
        match part.file_name().map(str::to_owned) {
            Some(file) => {
                let path = write(root, &mut part, idle).await?;
                params.insert("filename".to_owned(), Value::Text(file));
                params.insert("tmpfilename".to_owned(), Value::Text(path));
            }
            None => {
                let value = text(&mut part, idle).await?;
                params.insert(name, Value::Text(value));
            }
        }
    }
}

async fn chunk(part: &mut Field<'_>, idle: Duration) -> Result<Option<impl AsRef<[u8]>>, Broken> {
    tokio::time::timeout(idle, part.chunk()).await.map_err(|_| Broken)?.map_err(|_| Broken)
}

async fn text(part: &mut Field<'_>, idle: Duration) -> Result<String, Broken> {
    let mut bytes = Vec::new();
    while let Some(more) = chunk(part, idle).await? {
        bytes.extend_from_slice(more.as_ref());
        if bytes.len() > TEXT_LIMIT {
            return Err(Broken);
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Its name on the node. What is left of a broken upload goes away at once.
async fn write(root: &Path, part: &mut Field<'_>, idle: Duration) -> Result<String, Broken> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_| Broken)?;
    let name = format!("{FOLDER}/pveupload-{}", hex::encode(random));
    let path = root.join(name.trim_start_matches('/'));
    let written = async {
        tokio::fs::create_dir_all(path.parent().unwrap_or(root)).await.map_err(|_| Broken)?;
        let mut file = tokio::fs::File::create(&path).await.map_err(|_| Broken)?;
        while let Some(more) = chunk(part, idle).await? {
            file.write_all(more.as_ref()).await.map_err(|_| Broken)?;
        }
        file.flush().await.map_err(|_| Broken)
    };
    match written.await {
        Ok(()) => Ok(name),
        Err(broken) => {
            let _ = tokio::fs::remove_file(&path).await;
            Err(broken)
        }
    }
}

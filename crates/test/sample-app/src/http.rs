//! Routes of the app; they only translate between HTTP and [`crate::notes`], [`crate::files`].

use crate::{Settings, files::Files, notes::Notes};
use anyhow::Context as _;
use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Path, State},
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;
use serde_json::json;
use std::{
    future::IntoFuture as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};

struct App {
    notes: Mutex<Notes>,
    files: Files,
    nonce: Option<String>,
}

/// An error of the store: the request was fine, the answer is 500 with the reason.
struct Failed(String);

impl<E: std::error::Error> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        eprintln!("sample-app: {}", self.0);
        (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": self.0 }))).into_response()
    }
}

/// Opens the data and serves it until a signal asks to stop.
///
/// # Errors
/// When the data directory, the database or the address cannot be used.
pub async fn serve(settings: &Settings) -> anyhow::Result<()> {
    let dir = &settings.data_dir;
    std::fs::create_dir_all(dir).with_context(|| format!("making the data directory {}", dir.display()))?;
    let app = Arc::new(App {
        notes: Mutex::new(Notes::open(dir)?),
        files: Files::open(dir).with_context(|| format!("making {}/files", dir.display()))?,
        nonce: settings.health_nonce.clone(),
    });
    let router = Router::new()
        .route("/", get(page))
        .route("/health", get(health))
        .route("/notes", get(list_notes).post(add_note))
        .route("/files", get(list_files))
        .route("/files/{name}", get(get_file).put(put_file).layer(DefaultBodyLimit::disable()))
        .with_state(app);
    let listener = tokio::net::TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("listening on {}", settings.listen))?;
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(listener, router).with_graceful_shutdown(async move {
        let _ = stopped.await;
    });
    let mut server = std::pin::pin!(server.into_future());
    tokio::select! {
        ended = &mut server => return ended.context("serving"),
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    let _ = stop.send(());
    // A client that keeps its connection open must not keep the app from stopping.
    let _ = tokio::time::timeout(Duration::from_secs(5), server).await;
    Ok(())
}

async fn health(State(app): State<Arc<App>>) -> Response {
    let answer = Json(json!({ "ok": true }));
    match &app.nonce {
        Some(nonce) => ([("x-health-nonce", nonce.as_str())], answer).into_response(),
        None => answer.into_response(),
    }
}

#[derive(Deserialize)]
struct NewNote {
    text: String,
}

async fn add_note(State(app): State<Arc<App>>, Json(new): Json<NewNote>) -> Result<Response, Failed> {
    let note = blocking(move || Ok(lock(&app.notes).add(&new.text)?)).await?;
    Ok((StatusCode::CREATED, Json(note)).into_response())
}

async fn list_notes(State(app): State<Arc<App>>) -> Result<Response, Failed> {
    Ok(Json(blocking(move || Ok(lock(&app.notes).all()?)).await?).into_response())
}

async fn list_files(State(app): State<Arc<App>>) -> Result<Response, Failed> {
    Ok(Json(blocking(move || Ok(app.files.list()?)).await?).into_response())
}

async fn put_file(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Response, Failed> {
    let Some(path) = app.files.path(&name) else {
        return Ok(bad_name(&name));
    };
    let stored = app.files.put(&path, body.into_data_stream()).await?;
    Ok((StatusCode::CREATED, Json(stored)).into_response())
}

async fn get_file(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Response, Failed> {
    let Some(path) = app.files.path(&name) else {
        return Ok(bad_name(&name));
    };
    match tokio::fs::read(&path).await {
        Ok(bytes) => Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(StatusCode::NOT_FOUND.into_response()),
        Err(e) => Err(e.into()),
    }
}

async fn page(State(app): State<Arc<App>>) -> Result<Html<String>, Failed> {
    let (notes, files) = blocking(move || Ok((lock(&app.notes).all()?, app.files.list()?))).await?;
    let items =
        |lines: Vec<String>| lines.iter().map(|l| format!("<li>{}</li>", escape(l))).collect::<String>();
    let notes = items(notes.into_iter().map(|note| note.text).collect());
    let files =
        items(files.into_iter().map(|file| format!("{} ({} bytes)", file.name, file.bytes)).collect());
    Ok(Html(format!(
        "<!doctype html><html lang=en><meta name=viewport content='width=device-width'><title>Notes</title>\
         <h1>Notes</h1><ul>{notes}</ul><h2>Files</h2><ul>{files}</ul></html>"
    )))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn bad_name(name: &str) -> Response {
    let error = format!("`{name}` is no file name here: 1 to 128 of A-Z a-z 0-9 . _ -, not a dot first");
    (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response()
}

fn lock(notes: &Mutex<Notes>) -> std::sync::MutexGuard<'_, Notes> {
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failed> + Send + 'static,
) -> Result<T, Failed> {
    tokio::task::spawn_blocking(work).await?
}

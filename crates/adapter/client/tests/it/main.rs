//! The clients against real servers on loopback: TLS pins, signed answers, refusals, the unix socket.
#![allow(clippy::unwrap_used, reason = "tests fail loudly")]

use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use axum_server::tls_rustls::RustlsConfig;
use felhom_client::executor::ExecutorClient;
use felhom_client::hub::HubClient;
use felhom_client::sync::SyncClient;
use felhom_client::{Error, ErrorKind};
use felhom_model::{BoxId, Digest, Generation};
use felhom_protocol::hub_sync::{ANSWER_SIGNATURE, SyncAnswer, SyncRequest};
use felhom_signing::{Context, Key, http};
use jiff::Timestamp;
use std::net::{SocketAddr, TcpListener};

/// Serves `router` over TLS on a free port; its URL and the SHA-256 of its certificate.
async fn serve(router: Router) -> (String, Digest) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let fingerprint = Digest::of(made.cert.der());
    let key = made.signing_key.serialize_der();
    let tls = RustlsConfig::from_der(vec![made.cert.der().to_vec()], key).await.unwrap();
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let server = axum_server::from_tcp_rustls(listener, tls).unwrap();
    tokio::spawn(server.serve(router.into_make_service()));
    (url, fingerprint)
}

fn request(nonce: &str) -> SyncRequest {
    let generation = Generation(0);
    SyncRequest { nonce: nonce.to_owned(), generation, document_digest: None, report: None, wait_s: 0 }
}

fn answer(nonce: &str) -> Vec<u8> {
    let answer = SyncAnswer {
        nonce: nonce.to_owned(),
        time: Timestamp::UNIX_EPOCH,
        generation: Generation(0),
        desired_state: None,
        jobs: vec![],
        messages: vec![],
        next_sync_s: 60,
    };
    serde_json::to_vec(&answer).unwrap()
}

/// A hub that answers every sync with `body`, signed by `key`.
fn hub(key: &'static [u8; 32], status: StatusCode, body: Vec<u8>) -> Router {
    let handler = move || async move {
        let signature = Key::from_seed(key).sign(Context::SyncAnswer, &body).to_string();
        (status, [(ANSWER_SIGNATURE, signature)], body)
    };
    Router::new().route("/api/v1/sync", post(handler))
}

async fn sync_with(router: Router) -> Result<SyncAnswer, Error> {
    let (url, fingerprint) = serve(router).await;
    let box_id = BoxId::from_random([1; 16]);
    let client = SyncClient::new(&url, fingerprint, Key::from_seed(&[1; 32]).public(), box_id)?;
    client.sync(&Key::from_seed(&[2; 32]), &request("n1"), Timestamp::now()).await
}

#[tokio::test]
async fn a_signed_answer_to_this_request_counts() {
    let answer = sync_with(hub(&[1; 32], StatusCode::OK, answer("n1"))).await.unwrap();
    assert_eq!(answer.next_sync_s, 60);
}

#[tokio::test]
async fn an_answer_by_another_key_is_forged() {
    let error = sync_with(hub(&[7; 32], StatusCode::OK, answer("n1"))).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Forged(_)), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_played_again_is_forged() {
    let error = sync_with(hub(&[1; 32], StatusCode::OK, answer("n0"))).await.unwrap_err();
    assert!(error.to_string().contains("another request"), "{error}");
}

#[tokio::test]
async fn an_unsigned_answer_is_forged_whatever_it_says() {
    let bare = Router::new().route("/api/v1/sync", post(|| async { answer("n1") }));
    let error = sync_with(bare).await.unwrap_err();
    assert!(error.to_string().contains("not signed"), "{error}");
}

#[tokio::test]
async fn a_signed_refusal_keeps_the_hubs_words() {
    let body = br#"{"error":"clock","message":"the box's clock is off","time":"2026-01-01T00:00:00Z"}"#;
    let error = sync_with(hub(&[1; 32], StatusCode::UNAUTHORIZED, body.to_vec())).await.unwrap_err();
    assert_eq!((error.refusal(), error.status()), (Some("clock"), Some(401)));
}

#[tokio::test]
async fn the_request_carries_a_signature_that_verifies() {
    let check = |headers: HeaderMap, body: axum::body::Bytes| async move {
        let field = |name: &str| headers[name].to_str().unwrap().to_owned();
        let fields = http::Headers {
            content_digest: field("content-digest"),
            signature_input: field("signature-input"),
            signature: field("signature"),
        };
        let request = http::Request { method: "POST", path: "/api/v1/sync", body: &body };
        let claimed = http::verify(&Key::from_seed(&[2; 32]).public(), &request, &fields).unwrap();
        assert_eq!(claimed.nonce, "n1");
        let body = answer("n1");
        let signature = Key::from_seed(&[1; 32]).sign(Context::SyncAnswer, &body).to_string();
        ([(ANSWER_SIGNATURE, signature)], body)
    };
    sync_with(Router::new().route("/api/v1/sync", post(check))).await.unwrap();
}

#[tokio::test]
async fn another_certificate_is_told_apart_from_an_unreachable_server() {
    let (url, seen) = serve(Router::new()).await;
    let wrong = Digest::of(b"another");
    let client = HubClient::new(&url, wrong, "secret-token".to_owned()).unwrap();
    assert!(!format!("{client:?}").contains("secret-token"));
    let error = client.boxes().await.unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::OtherCertificate { expected, seen: s } if expected == wrong && s == seen),
        "{error}"
    );
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = HubClient::new(&format!("https://{free}"), wrong, String::new()).unwrap();
    let error = client.boxes().await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Unreachable(_)), "{error}");
    assert!(error.to_string().contains(&free.to_string()), "{error}");
}

#[tokio::test]
async fn plain_http_is_refused() {
    let error = HubClient::new("http://127.0.0.1:1", Digest::of(b""), String::new()).unwrap_err();
    assert!(error.to_string().contains("https://"), "{error}");
}

#[tokio::test]
async fn the_socket_answers_and_its_refusals_keep_their_words() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("executor.sock");
    let refusal =
        serde_json::json!({"error":"not_found","message":"no such operation","hint":"look at the list"});
    let events = "event: x\n:comment\ndata: {\"seq\":1,\"time\":\"2026-01-01T00:00:00Z\",\"operation\":\"01ARZ3NDEKTSV4RRFFQ69G5FAV\",\"kind\":\"start_guest\",\"state\":\"running\",\"what\":\"begun\"}\n\n";
    let router = Router::new()
        .route("/v1/operations", get(|| async { Json(serde_json::json!([])) }))
        .route("/v1/operations/{id}", get(move || async move { (StatusCode::NOT_FOUND, Json(refusal)) }))
        .route("/v1/events", get(move || async move { events }));
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let client = ExecutorClient::new(&path).unwrap();
    assert!(client.operations(None).await.unwrap().is_empty());
    let id = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
    let error = client.operation(id).await.unwrap_err();
    assert!(error.to_string().contains("no such operation (HTTP 404); look at the list"), "{error}");
    let mut stream = std::pin::pin!(client.events(0).await.unwrap());
    let event = futures_util::StreamExt::next(&mut stream).await.unwrap().unwrap();
    assert_eq!((event.seq, event.operation), (1, id));
    let gone = ExecutorClient::new(&dir.path().join("gone.sock")).unwrap();
    let error = gone.observation().await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Unreachable(_)), "{error}");
}

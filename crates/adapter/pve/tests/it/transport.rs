//! TLS and connections.

use felhom_pve::{Auth, Endpoint, Error, Fingerprint, Pve};

use crate::scripted::{Reply, Server, data, error};

const VERSION: &str = r#"{"repoid":"14a22df35955d97d","version":"9.2.11","release":"9.2"}"#;

#[tokio::test]
async fn the_pinned_certificate_is_accepted_and_the_token_sent() {
    let server = Server::start(|_, _| data(VERSION));
    assert_eq!(server.client().version().await.unwrap().version, "9.2.11");
    let request = &server.requests()[0];
    assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", "/api2/json/version"));
    assert_eq!(request.header("authorization"), Some("PVEAPIToken=felhom@pve!executor=s3cret"));
    assert_eq!(request.header("cookie"), None);
}

#[tokio::test]
async fn another_certificate_is_refused_before_anything_is_sent() {
    let server = Server::start(|_, _| data(VERSION));
    let expected = Fingerprint::from_bytes([1; 32]);
    let auth = Auth::Token { id: "felhom@pve!executor".parse().unwrap(), secret: "s3cret".into() };
    let client = Pve::new(Endpoint::new(&server.url, expected).unwrap(), auth).unwrap();
    let error = client.version().await.unwrap_err();
    let Error::PinMismatch { expected: pinned, seen, .. } = &error else { panic!("{error}") };
    assert_eq!((*pinned, *seen), (expected, server.fingerprint));
    assert!(error.to_string().contains(&server.fingerprint.to_string()), "{error}");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_pinned_certificate_without_its_key_is_refused() {
    let server = Server::impostor();
    let error = server.client().version().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn nobody_there_is_unreachable_and_says_where() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let endpoint = Endpoint::new(&format!("https://{address}"), Fingerprint::from_bytes([1; 32])).unwrap();
    let auth = Auth::Token { id: "felhom@pve!executor".parse().unwrap(), secret: "s3cret".into() };
    let error = Pve::new(endpoint, auth).unwrap().version().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert!(!error.may_have_happened());
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closed_costs_a_reading_call_nothing() {
    let server = Server::start(|n, _| if n == 1 { Reply::Hangup } else { data(VERSION) });
    let client = server.client();
    client.version().await.unwrap();
    client.version().await.unwrap();
    let connections: Vec<_> = server.requests().iter().map(|r| r.connection).collect();
    assert_eq!(connections, [1, 1, 2], "kept, closed under the second call, repeated once on a new one");
}

#[tokio::test]
async fn a_mutating_call_uses_its_own_connection_and_is_never_repeated() {
    let server = Server::start(|n, request| match (n, request.method.as_str()) {
        (_, "GET") => data(VERSION),
        (1, _) => data("null"),
        _ => Reply::Hangup,
    });
    let client = server.client();
    client.version().await.unwrap();
    let pool = "felhom".parse().unwrap();
    client.create_pool(&pool, "x").await.unwrap();
    let error = client.create_pool(&pool, "x").await.unwrap_err();
    assert!(matches!(error, Error::NoAnswer { .. }) && error.may_have_happened(), "{error}");
    let seen: Vec<_> = server.requests().iter().map(|r| (r.connection, r.method.clone())).collect();
    assert_eq!(seen, [(1, "GET".into()), (2, "POST".into()), (3, "POST".into())]);
}

#[tokio::test]
async fn errors_keep_reason_phrase_message_and_parameters() {
    let unauthorized = "HTTP/1.1 401 Authentication failed!\r\nConnection: close\r\n\r\n";
    let server = Server::start(move |n, _| match n {
        0 => Reply::Bytes(unauthorized.to_owned()),
        1 => error("596 Connection timed out", ""),
        2 => error(
            "400 Parameter verification failed.",
            r#"{"message":"Parameter verification failed.\n","errors":{"vmid":"invalid"},"data":null}"#,
        ),
        3 => error("500 CT is locked (backup)", r#"{"data":null,"message":"CT is locked (backup)\n"}"#),
        _ => error("501 Method 'GET /version' not implemented", "text"),
    });
    let client = server.client();
    let first = client.version().await.unwrap_err();
    let Error::Unauthorized(refusal) = &first else { panic!("{first}") };
    assert_eq!((refusal.answer.status, refusal.answer.reason.as_str()), (401, "Authentication failed!"));
    let overloaded = client.version().await.unwrap_err();
    assert!(matches!(overloaded, Error::Overloaded(_)) && overloaded.is_transient(), "{overloaded}");
    let invalid = client.version().await.unwrap_err();
    assert_eq!(invalid.refusal().unwrap().answer.errors["vmid"], "invalid");
    let locked = client.version().await.unwrap_err();
    assert!(matches!(&locked, Error::Locked { lock: Some(lock), .. } if lock == "backup"), "{locked}");
    let missing = client.version().await.unwrap_err();
    assert!(matches!(missing, Error::NotImplemented(_)), "{missing}");
}

#[tokio::test]
async fn a_cut_or_strange_answer_is_no_result() {
    let cut = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 99\r\n\r\n{\"data\":";
    let server = Server::start(move |n, _| match n {
        0 => Reply::Bytes(cut.to_owned()),
        1 => Reply::Bytes("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nnull".to_owned()),
        _ => error("200 OK", r#"{"data":{"version":[1]}}"#),
    });
    let client = server.client();
    let pool = "felhom".parse().unwrap();
    let first = client.create_pool(&pool, "x").await.unwrap_err();
    assert!(matches!(first, Error::NoAnswer { .. }), "{first}");
    for _ in 0..2 {
        let error = client.version().await;
        assert!(matches!(error, Ok(_) | Err(Error::Unreadable { .. })), "{error:?}");
    }
}

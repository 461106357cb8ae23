//! The way through a proxy, and what bad ones do.

use std::net::SocketAddr;
use std::slice::from_ref;
use std::sync::{Arc, Mutex};

use edgeio_client::Trust;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Authority, call, https, plain, secure};

/// A proxy that notes what it is asked, and answers so; with `HTTP/1.1 200` it opens the tunnel.
async fn proxy(answer: &'static str) -> (SocketAddr, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(String::new()));
    let note = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let note = Arc::clone(&note);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let server = head.split(' ').nth(1).unwrap().to_owned();
                *note.lock().unwrap() = head;
                if !answer.starts_with("HTTP/1.1 200") {
                    client.write_all(answer.as_bytes()).await.unwrap();
                    return;
                }
                // The server's first bytes come in one piece with the answer.
                let mut server = TcpStream::connect(server).await.unwrap();
                let mut first = vec![0; 1024];
                let early = tokio::time::timeout(
                    std::time::Duration::from_millis(50),
                    server.read(&mut first),
                )
                .await;
                let early = early.map_or(0, Result::unwrap);
                let mut bytes = answer.as_bytes().to_vec();
                bytes.extend(&first[..early]);
                client.write_all(&bytes).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (address, asked)
}

const OPEN: &str = "HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n";

#[tokio::test]
async fn a_call_goes_through_with_and_without_tls() {
    let (proxy, asked) = proxy(OPEN).await;
    let server = plain().await;
    call(
        Trust::default(),
        &format!("http://{proxy}"),
        &server.to_string(),
    )
    .await
    .unwrap();
    let head = asked.lock().unwrap().clone();
    assert_eq!(
        head,
        format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n\r\n")
    );

    let one = Authority::new("one");
    let server = secure(&one, from_ref(&one.own)).await;
    let trust = Trust::default().hash(Some(one.hash().parse().unwrap()));
    let with = format!("http://me:p%40ss@{proxy}");
    call(trust, &with, &https(server)).await.unwrap();
    let head = asked.lock().unwrap().clone();
    let credential = data_encoding::BASE64.encode(b"me:p@ss");
    assert!(
        head.starts_with(&format!("CONNECT localhost:{} ", server.port())),
        "{head}"
    );
    assert!(
        head.contains(&format!("\r\nProxy-Authorization: Basic {credential}\r\n")),
        "{head}"
    );
}

#[tokio::test]
async fn what_a_proxy_refuses_is_said() {
    for (answer, said) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            "wants a name and a password",
        ),
        ("HTTP/1.1 403 Filtered\r\n\r\n<html>", "(403 Filtered)"),
        ("HTTP/1.0 403 Forbidden\r\n\r\n", "must allow CONNECT"),
        (
            "HTTP/1.1 502 Bad Gateway\r\n\r\n",
            "does not reach `127.0.0.1:1`",
        ),
        (
            "SSH-2.0-OpenSSH_9.2\r\n\r\n",
            "does not answer as an HTTP proxy does",
        ),
        ("", "it hung up"),
    ] {
        let (proxy, _) = proxy(answer).await;
        let error = call(
            Trust::default(),
            &format!("http://me:secret@{proxy}"),
            "127.0.0.1:1",
        )
        .await;
        let error = error.unwrap_err();
        assert!(
            error.contains(said) && error.contains(&proxy.to_string()),
            "{answer}: {error}"
        );
        assert!(!error.contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = listener.local_addr().unwrap();
    drop(listener);
    let error = call(Trust::default(), &format!("http://{gone}"), "127.0.0.1:1")
        .await
        .unwrap_err();
    assert!(
        error.contains(&format!("the proxy `{gone}` is not reached")),
        "{error}"
    );
}

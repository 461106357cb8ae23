//! The way through a proxy: one CONNECT, and after its answer the connection is as if to the server itself.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{error::DialError, proxy::Via};
use crate::target::Target;

/// The most that a proxy may say before the tunnel stands: an error page is behind that, and not read.
const MOST: usize = 16 * 1024;

/// Asks the proxy for a tunnel to the server. The caller bounds how long that may take.
pub(super) async fn open(
    mut socket: TcpStream,
    via: &Via,
    target: &Target,
) -> Result<TcpStream, DialError> {
    let server = target.authority();
    let mut request = format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n");
    if let Some(credential) = &via.credential {
        request.push_str(&format!("Proxy-Authorization: {credential}\r\n"));
    }
    request.push_str("\r\n");
    let odd = |why: String| DialError::NoProxy {
        proxy: via.shown.clone(),
        why,
    };
    socket
        .write_all(request.as_bytes())
        .await
        .map_err(|error| odd(error.to_string()))?;
    let head = head(&mut socket).await.map_err(odd)?;
    let line = head.lines().next().unwrap_or_default();
    let mut words = line.splitn(3, ' ');
    let code = match (words.next(), words.next().map(str::parse::<u16>)) {
        (Some(version), Some(Ok(code))) if version.starts_with("HTTP/1.") => code,
        _ => {
            return Err(odd(format!(
                "it says `{}`",
                crate::explain::printable(&line.chars().take(80).collect::<String>())
            )));
        }
    };
    let said = crate::explain::printable(line.split_once(' ').map_or(line, |(_, said)| said));
    let (proxy, server) = (via.shown.clone(), target.clone());
    match code {
        200..=299 => Ok(socket),
        401 | 407 => Err(DialError::ProxyCredential { proxy }),
        400..=499 => Err(DialError::ProxyForbids {
            proxy,
            server,
            said,
        }),
        _ => Err(DialError::ProxyFails {
            proxy,
            server,
            said,
        }),
    }
}

/// The answer's head. Read byte by byte: what follows it is the server's already, and must stay where it is.
async fn head(socket: &mut TcpStream) -> Result<String, String> {
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MOST {
            return Err("its answer does not end".to_owned());
        }
        head.push(
            socket
                .read_u8()
                .await
                .map_err(|error| format!("it hung up ({error})"))?,
        );
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

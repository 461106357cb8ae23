//! The program of the demo's container image: answers every HTTP request with its host name and a count.
//!
//! One file without dependencies, linked statically, so that `make demo` can make an image of it with rustc alone. One
//! connection at a time is enough here; deliberately absent: all the rest of HTTP.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

fn main() -> std::io::Result<()> {
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let listener = TcpListener::bind("0.0.0.0:8080")?;
    println!("listening on port 8080");
    for (count, stream) in (1_u64..).zip(listener.incoming()) {
        // A client that went away is its own affair.
        if let Err(error) = stream.and_then(|stream| answer(stream, host.trim(), count)) {
            println!("request {count}: {error}");
        }
    }
    Ok(())
}

fn answer(mut stream: TcpStream, host: &str, count: u64) -> std::io::Result<()> {
    let head = BufReader::new(stream.try_clone()?).lines();
    for line in head {
        if line?.is_empty() {
            break;
        }
    }
    let body = format!("hello from container {host}, request {count}\n");
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

//! HTTP/2 by hand: frames that no library would send.

/// What every HTTP/2 connection begins with.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RESET: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const WINDOW: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Flags of HEADERS: the block ends here.
pub(crate) const END_HEADERS: u8 = 4;

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut out = length.get(1..).unwrap_or_default().to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(body);
    out
}

/// A header block in literals, as small as an honest one: `POST path`.
pub(crate) fn block(path: &str) -> Vec<u8> {
    let mut out = vec![0x83, 0x86];
    literal(":path", path.as_bytes(), &mut out);
    literal(":authority", b"edge.example", &mut out);
    literal("content-type", b"application/grpc", &mut out);
    literal("te", b"trailers", &mut out);
    out
}

/// A header that is not put into the table.
pub(crate) fn literal(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.push(0);
    for text in [name.as_bytes(), value] {
        let length = text.len().min(126);
        out.push(u8::try_from(length).unwrap_or_default());
        out.extend(text.iter().take(length));
    }
}

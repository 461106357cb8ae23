//! Several messages in one input, with pauses between them: three bytes of head (pause, length) and the message.

use std::time::Duration;

use super::Dice;

/// The most messages of one input: a target's time is in proportion to the input, and a machine's state to the messages.
const MOST: usize = 64;

/// The frames of an input. The last one may be shorter than it says.
pub(super) fn read(mut bytes: &[u8]) -> Vec<(Duration, &[u8])> {
    let mut frames = Vec::new();
    while let ([pause, low, high, rest @ ..], true) = (bytes, frames.len() < MOST) {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (body, after) = rest.split_at(length);
        let pause = match pause % 4 {
            0 => Duration::ZERO,
            1 => Duration::from_millis(1),
            2 => Duration::from_secs(3),
            _ => Duration::from_secs(3600),
        };
        frames.push((pause, body));
        bytes = after;
    }
    frames
}

/// Adds a frame to an input; a message that is too long for one is cut.
pub(super) fn write(dice: &mut Dice, body: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    out.push(u8::try_from(dice.below(256)).unwrap_or_default());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend(body.iter().take(usize::from(length)));
}

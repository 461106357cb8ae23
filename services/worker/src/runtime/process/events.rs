//! Hints of shims as a stream: one inotify watch on one directory, however many instances there are.

use std::{ffi::CStr, io, mem::MaybeUninit, os::fd::OwnedFd, path::Path};

use futures::{StreamExt, stream, stream::BoxStream};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use tokio::io::{Interest, unix::AsyncFd};

use crate::runtime::{EventKind, InstanceId, RuntimeEvent};

/// Watches the hints directory from now on.
pub(super) fn watch(hints: &Path) -> io::Result<BoxStream<'static, RuntimeEvent>> {
    let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    inotify::add_watch(&fd, hints, WatchFlags::CLOSE_WRITE)?;
    #[expect(
        unsafe_code,
        reason = "tokio cannot know that the descriptor stays open"
    )]
    // SAFETY: the descriptor is owned, so it is open and the same one until the `AsyncFd` drops it.
    let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
    let batches = stream::unfold(Some(fd), |fd| async move {
        let fd = fd?;
        match read(&fd).await {
            Ok(batch) => Some((batch, Some(fd))),
            Err(error) => {
                tracing::warn!(%error, "hints of shims are lost");
                Some((vec![RuntimeEvent::Gap], None))
            }
        }
    });
    Ok(batches.flat_map(stream::iter).boxed())
}

async fn read(fd: &AsyncFd<OwnedFd>) -> io::Result<Vec<RuntimeEvent>> {
    loop {
        let mut ready = fd.readable().await?;
        match drain(fd.get_ref()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
            other => return other,
        }
    }
}

fn drain(fd: &OwnedFd) -> io::Result<Vec<RuntimeEvent>> {
    // Room for some fifty events of our name length; more come with the next read.
    let mut buffer = [const { MaybeUninit::uninit() }; 4096];
    let mut reader = Reader::new(fd, &mut buffer);
    let mut batch = Vec::new();
    loop {
        let event = reader.next()?;
        if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
            batch.push(RuntimeEvent::Gap);
        } else {
            batch.extend(event.file_name().and_then(parse));
        }
        if reader.is_buffer_empty() {
            return Ok(batch);
        }
    }
}

/// `<instance>.<what>`
fn parse(name: &CStr) -> Option<RuntimeEvent> {
    let (instance, what) = name.to_str().ok()?.split_once('.')?;
    let kind = match what {
        "started" => EventKind::Started,
        "exited" => EventKind::Exited,
        "oom" => EventKind::Oom,
        "paused" => EventKind::Paused,
        "resumed" => EventKind::Resumed,
        "removed" => EventKind::Removed,
        _ => return None,
    };
    Some(RuntimeEvent::Changed {
        instance: InstanceId(instance.parse().ok()?),
        kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::files::hint;

    #[test]
    fn every_hint_a_shim_leaves_is_understood() {
        let id = uuid::Uuid::from_u128(7);
        for what in hint::KINDS {
            let name = std::ffi::CString::new(format!("{id}.{what}")).unwrap();
            assert!(parse(&name).is_some(), "{what}");
        }
        assert_eq!(parse(c"making.tmp"), None);
    }
}

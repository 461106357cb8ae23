//! What the parts complain of: they run in this process, so their warnings are heard here.

use std::{
    fmt::{self, Write as _},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Result, ensure};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// Complaints that chaos causes, each with the reason.
const EXPECTED: &[(&str, &str)] = &[];

/// Collects every WARN and ERROR.
#[derive(Clone, Default)]
pub(crate) struct Complaints(Arc<Mutex<Vec<String>>>);

/// Hears everything from now on.
pub(crate) fn listen() -> Result<Complaints> {
    let complaints = Complaints::default();
    tracing::subscriber::set_global_default(complaints.clone())?;
    Ok(complaints)
}

impl Complaints {
    /// Fails with what was not expected.
    pub(crate) fn none(&self) -> Result<()> {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let expected = |line: &&String| EXPECTED.iter().any(|(text, _)| line.contains(text));
        let unexpected: Vec<&String> = heard.iter().filter(|line| !expected(line)).collect();
        ensure!(unexpected.is_empty(), "unexpected: {unexpected:#?}");
        Ok(())
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Subscriber for Complaints {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN && metadata.target().starts_with("edgeio")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().target().to_owned());
        event.record(&mut line);
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

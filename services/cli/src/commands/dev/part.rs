//! One of the programs that run together: started, watched, and stopped by name.

use std::{error::Error, future::Future};

use edgeio_server::{
    shutdown::{Shutdown, Trigger},
    status::chain,
};
use tokio::task::JoinHandle;

use crate::error::CliError;

/// A part that runs.
pub(super) struct Part {
    name: String,
    trigger: Trigger,
    task: JoinHandle<Result<(), String>>,
    over: bool,
}

impl Part {
    /// Starts a part; `run` is given the token that tells it to stop.
    pub(super) fn start<F, E>(name: impl Into<String>, run: impl FnOnce(Shutdown) -> F) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Error + 'static,
    {
        let (trigger, stop) = Shutdown::new();
        let running = run(stop);
        let task = tokio::spawn(async move {
            let ended = running.await;
            ended.map_err(|error| chain(&error).to_string())
        });
        Self {
            name: name.into(),
            trigger,
            task,
            over: false,
        }
    }

    /// Waits for the end of a part that was not told to stop, and says how it ended.
    pub(super) async fn ended(&mut self) -> CliError {
        let ended = (&mut self.task).await;
        self.over = true;
        let how = match ended {
            Ok(Ok(())) => "without a reason".to_owned(),
            Ok(Err(error)) => error,
            Err(error) => error.to_string(),
        };
        CliError::Failed(format!("{} ended: {how}", self.name))
    }

    /// Tells the part to stop and waits until it has.
    pub(super) async fn stop(self) {
        self.trigger.fire();
        if self.over {
            return;
        }
        match self.task.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(part = self.name, error, "stopped with an error"),
            Err(error) => tracing::warn!(part = self.name, %error, "stopped with an error"),
        }
    }
}

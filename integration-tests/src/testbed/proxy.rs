//! A real HTTP proxy (tinyproxy) for machines that are let out by nothing else.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result};

use super::binaries::tool;

/// A proxy that runs until this is dropped.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    /// What it says of each connection.
    pub log: PathBuf,
}

impl Proxy {
    /// Starts one with its files in `dir`, for clients at `from`, who must show `user` (name and password) if there is one.
    ///
    /// # Errors
    /// Without tinyproxy, or if its configuration cannot be written.
    pub fn start(
        dir: &Path,
        listen: Ipv4Addr,
        from: Ipv4Addr,
        port: u16,
        user: Option<&str>,
    ) -> Result<Self> {
        let (file, log) = (dir.join("tinyproxy.conf"), dir.join("tinyproxy.log"));
        let auth = user.map(|user| format!("BasicAuth {user}\n"));
        let text = format!(
            "Port {port}\nListen {listen}\nTimeout 600\nAllow {from}\n{}LogLevel Connect\nLogFile \"{}\"\n",
            auth.unwrap_or_default(),
            log.display()
        );
        fs::write(&file, text).context("write the proxy's configuration")?;
        let child = Command::new(tool("tinyproxy")?)
            .args(["-d", "-c"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start tinyproxy")?;
        Ok(Self { child, log })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

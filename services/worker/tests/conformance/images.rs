//! Images and a registry of our own, so that nothing is fetched from the network.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
};

use bollard::{
    Docker,
    auth::DockerCredentials,
    query_parameters::{CreateImageOptionsBuilder, PushImageOptionsBuilder},
};
use futures::TryStreamExt;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::bed::eventually;

/// A file system of one static busybox and what is added, as a tar archive.
pub(crate) fn root_fs(added: &[(&str, &[u8])]) -> Vec<u8> {
    let busybox = fs::read("/bin/busybox").expect("busybox-static is installed");
    let mut tar = tar::Builder::new(Vec::new());
    let mut file = |path: &str, mode: u32, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(bytes.len()).unwrap());
        header.set_mode(mode);
        tar.append_data(&mut header, path, bytes).unwrap();
    };
    file("bin/busybox", 0o755, &busybox);
    for (path, bytes) in added {
        file(path, 0o644, bytes);
    }
    for applet in [
        "sh", "sleep", "setsid", "tail", "cat", "env", "httpd", "unshare", "mount",
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox")
            .unwrap();
    }
    tar.into_inner().unwrap()
}

/// Makes an image of a file system.
pub(crate) async fn import(docker: &Docker, repository: &str, tag: &str, root_fs: Vec<u8>) {
    let options = CreateImageOptionsBuilder::new()
        .from_src("-")
        .repo(repository)
        .tag(tag)
        .build();
    let body = bollard::body_full(root_fs.into());
    let made: Vec<_> = docker
        .create_image(Some(options), Some(body), None)
        .try_collect()
        .await
        .unwrap();
    assert!(!made.is_empty());
}

/// Who a private registry lets in.
pub(crate) const USER: &str = "edgeio";
pub(crate) const PASSWORD: &str = "let me in";
/// The password by bcrypt, the only form that the registry takes.
const HASH: &str = "$2b$04$6i03Vk/N2CB7S6KdmkvOpeUeL5IK1vUUsvAoKF5O0BsbUz0A5MN/y";

/// Debian's registry on a loopback port, with its own configuration and store.
pub(crate) struct Registry {
    process: Child,
    _store: TempDir,
    /// Host and port.
    pub(crate) address: String,
}

impl Registry {
    pub(crate) async fn start() -> Self {
        Self::serve("").await
    }

    /// One that lets in only [`USER`] with [`PASSWORD`].
    pub(crate) async fn private() -> Self {
        Self::serve(HASH).await
    }

    async fn serve(hash: &str) -> Self {
        let store = tempfile::tempdir().unwrap();
        let config = store.path().join("config.yml");
        if !hash.is_empty() {
            fs::write(store.path().join("htpasswd"), format!("{USER}:{hash}\n")).unwrap();
        }
        // Below the ephemeral ports, where no outgoing connection can take it meanwhile.
        let start = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
        let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        // One port is tried once in this process: a registry of another test may not listen on its port yet.
        static TRIED: AtomicU16 = AtomicU16::new(0);
        let port = std::iter::repeat_with(|| start + TRIED.fetch_add(1, Ordering::Relaxed))
            .take(2_000)
            .find(free)
            .expect("a free port");
        let address = format!("127.0.0.1:{port}");
        fs::write(&config, yaml(store.path(), &address, !hash.is_empty())).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed");
        eventually("the registry listens", async || {
            std::net::TcpStream::connect(&address)
                .map(|_| ())
                .map_err(|e| e.to_string())
        })
        .await;
        Self {
            process,
            _store: store,
            address,
        }
    }

    /// Pushes an image that is named after this registry.
    pub(crate) async fn push(docker: &Docker, repository: &str, tag: &str) {
        let options = PushImageOptionsBuilder::new().tag(tag).build();
        // One that lets in everybody does not look.
        let credentials = Some(DockerCredentials {
            username: Some(USER.to_owned()),
            password: Some(PASSWORD.to_owned()),
            ..DockerCredentials::default()
        });
        let pushed: Result<Vec<_>, _> = docker
            .push_image(repository, Some(options), credentials)
            .try_collect()
            .await;
        pushed.unwrap();
    }

    pub(crate) fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Stopped by the test already, or still to be.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A file of credentials as Docker's tools write it.
pub(crate) fn credentials(dir: &Path, registry: &str, password: &str) -> std::path::PathBuf {
    let file = dir.join("config.json");
    let auth = data_encoding::BASE64.encode(format!("{USER}:{password}").as_bytes());
    let text = serde_json::json!({"auths": {registry: {"auth": auth}}});
    fs::write(&file, text.to_string()).unwrap();
    file
}

fn yaml(store: &Path, address: &str, private: bool) -> String {
    let auth = if private {
        let file = store.join("htpasswd");
        format!(
            "auth:\n  htpasswd:\n    realm: edgeio\n    path: {}\n",
            file.display()
        )
    } else {
        String::new()
    };
    format!(
        "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
         http:\n  addr: {address}\n{auth}",
        store.join("data").display()
    )
}

/// An image in the form of `docker save`, which every engine imports.
pub(crate) fn archive(name: &str, root_fs: &[u8]) -> Vec<u8> {
    let diff_id = format!("sha256:{}", hex::encode(Sha256::digest(root_fs)));
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = serde_json::json!({
        "architecture": architecture, "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    });
    let manifest = serde_json::json!([
        {"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]},
    ]);
    let (config, manifest) = (config.to_string(), manifest.to_string());
    let mut tar = tar::Builder::new(Vec::new());
    let files = [
        ("config.json", config.as_bytes()),
        ("layer.tar", root_fs),
        ("manifest.json", manifest.as_bytes()),
    ];
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(bytes.len()).unwrap());
        header.set_mode(0o644);
        tar.append_data(&mut header, path, bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

//! A container's network, by the plugins of the Container Network Interface (<https://www.cni.dev/docs/spec/>, 0.4.0): a bridge
//! of ours with addresses of its own, and host ports mapped into it. containerd itself has no networks.
//!
//! The plugins are programs: each gets a configuration on standard input and answers with what it made, which the next one gets.
//! What was made is kept in the instance's directory until it is undone. Host ports are claimed in files of their own, since a
//! mapping in the kernel's tables refuses nobody.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, process::Command, time::timeout};

use super::{
    engine::Engine,
    home::{self, Home},
    observe,
};
use crate::runtime::{InstanceId, Port, Protocol};

/// Where distributions install the plugins.
const PLACES: [&str; 2] = ["/opt/cni/bin", "/usr/lib/cni"];
/// What we need of them.
const PLUGINS: [&str; 5] = ["bridge", "firewall", "host-local", "loopback", "portmap"];
/// Our bridge, and its addresses: a range that neither Docker (172.17.0.0/16) nor Podman (10.88.0.0/16) takes by default.
const BRIDGE: &str = "edgeio0";
const SUBNET: &str = "10.89.0.0/16";
/// Addresses and ports in use, until the next boot.
const STATE: &str = "/run/edgeio";
/// How long one plugin may take; the slowest writes firewall rules under a lock.
const PLUGIN_WITHIN: Duration = Duration::from_secs(30);

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub(super) enum NetworkError {
    /// A plugin could not be run.
    #[error("run the network plugin `{plugin}`")]
    Run {
        plugin: &'static str,
        #[source]
        source: io::Error,
    },
    /// A plugin refused.
    #[error("the network plugin `{plugin}` says: {why}")]
    Refused { plugin: &'static str, why: String },
    /// A plugin did not end.
    #[error("the network plugin `{plugin}` did not end within {PLUGIN_WITHIN:?}")]
    Slow { plugin: &'static str },
    /// Somebody has the port.
    #[error("{protocol} port {port} of this node is taken by {by}")]
    Taken {
        protocol: &'static str,
        port: u16,
        by: String,
    },
    /// A file of ours.
    #[error("keep what the network made")]
    File(#[from] io::Error),
}

/// What was made for an instance, as far as undoing needs it.
#[derive(Serialize, Deserialize)]
struct Made {
    ports: Vec<(u16, u16, bool)>,
    result: Value,
}

/// The network of this node's containers.
pub(super) struct Network {
    plugins: PathBuf,
}

impl Network {
    /// The network, or a sentence for the user who wonders why there is none.
    pub(super) fn find() -> Result<Self, String> {
        let has = |dir: &&&str| PLUGINS.iter().all(|p| Path::new(dir).join(p).exists());
        PLACES
            .iter()
            .find(has)
            .map(|dir| Self {
                plugins: PathBuf::from(dir),
            })
            .ok_or_else(|| {
                format!(
                    "the CNI plugins {} are neither in {} nor in {}: install containernetworking-plugins",
                    PLUGINS.join(", "),
                    PLACES[0],
                    PLACES[1]
                )
            })
    }

    /// Gives the namespace of process `pid` an address, and maps the ports.
    pub(super) async fn add(
        &self,
        engine: &Engine,
        home: &Home,
        instance: InstanceId,
        pid: u32,
        ports: &[Port],
    ) -> Result<(), NetworkError> {
        let mut mapped = Vec::new();
        for port in ports {
            let host = claim(engine, instance, *port).await?;
            mapped.push((host, port.container, port.protocol == Protocol::Tcp));
        }
        // Kept before the first plugin runs, so that half of it can be undone.
        let mut made = Made {
            ports: mapped,
            result: Value::Null,
        };
        home::write(&home.network_file(), &made)?;
        let netns = format!("/proc/{pid}/ns/net");
        let run = |plugin, interface, config| {
            self.run("ADD", plugin, interface, instance, &netns, config)
        };
        run("loopback", "lo", config("loopback", &made)).await?;
        for plugin in ["bridge", "portmap", "firewall"] {
            let config = config(plugin, &made);
            made.result = run(plugin, "eth0", config).await?;
        }
        home::write(&home.network_file(), &made)?;
        Ok(())
    }

    /// Undoes what was made for an instance. Nothing made is success.
    pub(super) async fn remove(
        &self,
        home: &Home,
        instance: InstanceId,
    ) -> Result<(), NetworkError> {
        let Some(made) = home::read::<Made>(&home.network_file())? else {
            return Ok(());
        };
        for plugin in ["firewall", "portmap", "bridge"] {
            // The namespace is gone with its processes; the plugins then undo what is outside of it.
            self.run("DEL", plugin, "eth0", instance, "", config(plugin, &made))
                .await?;
        }
        for (host, _, tcp) in &made.ports {
            let claim = claim_file(*host, if *tcp { Protocol::Tcp } else { Protocol::Udp });
            if fs::read_to_string(&claim).is_ok_and(|owner| owner == instance.to_string()) {
                fs::remove_file(&claim)?;
            }
        }
        fs::remove_file(home.network_file())?;
        Ok(())
    }

    async fn run(
        &self,
        command: &str,
        plugin: &'static str,
        interface: &str,
        instance: InstanceId,
        netns: &str,
        config: Value,
    ) -> Result<Value, NetworkError> {
        let failed = |source| NetworkError::Run { plugin, source };
        let mut child = Command::new(self.plugins.join(plugin))
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", instance.to_string())
            .env("CNI_NETNS", netns)
            .env("CNI_IFNAME", interface)
            .env("CNI_PATH", &self.plugins)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let talk = async {
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(config.to_string().as_bytes()).await?;
            }
            child.wait_with_output().await
        };
        let output = timeout(PLUGIN_WITHIN, talk)
            .await
            .map_err(|_| NetworkError::Slow { plugin })?
            .map_err(failed)?;
        let answer = serde_json::from_slice::<Value>(&output.stdout);
        if output.status.success() {
            return Ok(answer.unwrap_or(Value::Null));
        }
        let said = answer.ok().and_then(|a| {
            let part = |key: &str| a.get(key)?.as_str().map(str::to_owned);
            let parts: Vec<String> = ["msg", "details"].into_iter().filter_map(part).collect();
            Some(parts.join(": ")).filter(|s| !s.is_empty())
        });
        let why = said.unwrap_or_else(|| String::from_utf8_lossy(&output.stderr).trim().to_owned());
        Err(NetworkError::Refused { plugin, why })
    }
}

/// What a plugin is told.
fn config(plugin: &str, made: &Made) -> Value {
    let mut config = json!({"cniVersion": "0.4.0", "name": "edgeio", "type": plugin});
    match plugin {
        "bridge" => {
            config["bridge"] = json!(BRIDGE);
            config["isGateway"] = json!(true);
            config["ipMasq"] = json!(true);
            config["hairpinMode"] = json!(true);
            config["ipam"] = json!({
                "type": "host-local",
                "ranges": [[{"subnet": SUBNET}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": format!("{STATE}/addresses"),
            });
        }
        "portmap" => {
            let mapping = |(host, container, tcp): &(u16, u16, bool)| json!({"hostPort": host, "containerPort": container, "protocol": if *tcp { "tcp" } else { "udp" }});
            let mappings: Vec<Value> = made.ports.iter().map(mapping).collect();
            config["snat"] = json!(true);
            config["capabilities"] = json!({"portMappings": true});
            config["runtimeConfig"] = json!({"portMappings": mappings});
        }
        "firewall" => config["backend"] = json!("iptables"),
        _ => {}
    }
    if !made.result.is_null() {
        config["prevResult"] = made.result.clone();
    }
    config
}

fn claim_file(port: u16, protocol: Protocol) -> PathBuf {
    Path::new(STATE)
        .join("ports")
        .join(format!("{}-{port}", protocol.as_str()))
}

/// Whether nobody of this node listens there; without a port, one that is free.
fn free(port: Port) -> io::Result<u16> {
    let at = (Ipv4Addr::UNSPECIFIED, port.host.unwrap_or(0));
    match port.protocol {
        Protocol::Tcp => TcpListener::bind(at)?.local_addr(),
        Protocol::Udp => UdpSocket::bind(at)?.local_addr(),
    }
    .map(|bound| bound.port())
}

/// Whether the engine has the instance. One that does not answer has it still.
async fn lives(engine: &Engine, instance: InstanceId) -> bool {
    let found = observe::container(engine, instance).await;
    found.map_or(true, |found| found.is_some())
}

/// Claims a host port for an instance. The claim of one that the engine does not have any more is taken over.
async fn claim(engine: &Engine, instance: InstanceId, port: Port) -> Result<u16, NetworkError> {
    let protocol = port.protocol.as_str();
    let host = free(port).map_err(|error| NetworkError::Taken {
        protocol,
        port: port.host.unwrap_or(0),
        by: format!("another program ({error})"),
    })?;
    let file = claim_file(host, port.protocol);
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    if let Ok(owner) = fs::read_to_string(&file)
        && owner != instance.to_string()
    {
        let owner = owner.parse().map(InstanceId);
        if let Ok(owner) = owner
            && lives(engine, owner).await
        {
            let by = format!("instance {owner}");
            return Err(NetworkError::Taken {
                protocol,
                port: host,
                by,
            });
        }
    }
    fs::write(&file, instance.to_string())?;
    Ok(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_plugin_gets_what_the_one_before_it_made() {
        let made = Made {
            ports: vec![(8080, 80, true)],
            result: json!({"ips": []}),
        };
        let portmap = config("portmap", &made);
        assert_eq!(portmap["prevResult"], made.result);
        let mapping = &portmap["runtimeConfig"]["portMappings"][0];
        assert_eq!(
            (&mapping["hostPort"], &mapping["containerPort"]),
            (&json!(8080), &json!(80))
        );
        assert_eq!(config("bridge", &made)["ipam"]["type"], "host-local");
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_not_free() {
        let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = Port {
            container: 1,
            host: Some(taken.local_addr().unwrap().port()),
            protocol: Protocol::Tcp,
        };
        assert!(free(port).is_err());
        assert!(free(Port { host: None, ..port }).unwrap() > 0);
    }
}

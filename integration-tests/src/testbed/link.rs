//! A program behind a link of its own: a network namespace, joined to the machine by a pair of interfaces. What passes there
//! can be cut in either direction. Packets vanish and nobody is told, as on a broken path: no reset, no refusal.
//!
//! Rules are made inside the namespace only, so the machine's own network is left alone. Making namespaces takes rights;
//! where they are missing the bed does not start.

use std::{
    net::Ipv4Addr,
    process::{Command, Output},
    sync::Mutex,
};

use anyhow::{Context, Result, bail};
use rand::Rng as _;

/// Which packets are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Those that the program sends.
    Out,
    /// Those that it is sent.
    In,
    /// All.
    Both,
}

/// A link; removed with its bed.
#[derive(Debug)]
pub struct Link {
    name: String,
    net: u32,
}

/// Addresses for measurements between networks (RFC 2544): nobody's own.
const NET: u32 = u32::from_be_bytes([198, 18, 0, 0]);
/// A link has eight addresses.
const LINKS: u32 = 1 << 14;
const TRIES: usize = 20;

impl Link {
    /// Makes a namespace and joins it to the machine.
    pub(super) fn make() -> Result<Self> {
        // Two at once would look for free addresses at once.
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let name = format!("edgeio-{:08x}", rand::rng().random::<u32>());
        ip(&["netns", "add", &name]).context(
            "a network namespace could not be made. The tests of partitions need that right: run them as root, or in a \
             container with CAP_NET_ADMIN and CAP_SYS_ADMIN",
        )?;
        let link = Self {
            name,
            net: free_net()?,
        };
        let name = link.name.as_str();
        ip(&[
            "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name,
        ])?;
        let host = format!("{}/29", link.host());
        ip(&["address", "add", &host, "dev", name])?;
        ip(&["link", "set", name, "up"])?;
        ip(&["-netns", name, "link", "set", "lo", "up"])?;
        ip(&["-netns", name, "link", "set", "eth0", "up"])?;
        for inside in [link.inside(), link.back_door()] {
            let inside = format!("{inside}/29");
            ip(&["-netns", name, "address", "add", &inside, "dev", "eth0"])?;
        }
        let gate = link.host().to_string();
        ip(&["-netns", name, "route", "add", "default", "via", &gate])?;
        Ok(link)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// This machine, as the program sees it.
    #[must_use]
    pub fn host(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.net + 1)
    }

    /// The program's address.
    #[must_use]
    pub fn inside(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.net + 2)
    }

    /// An address of the program that cuts leave alone.
    #[must_use]
    pub fn back_door(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.net + 3)
    }

    /// Loses what goes one way from here on, or only what goes to and from one port of the machine.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn cut(&self, way: Way, port: Option<u16>) -> Result<()> {
        let inside = self.inside().to_string();
        let port = port.map(|port| port.to_string());
        let drop = |chain: &str, end: &str, port_end: &str| {
            let mut rule = vec!["-w", "-A", chain, end, &inside];
            if let Some(port) = &port {
                rule.extend(["-p", "tcp", port_end, port]);
            }
            rule.extend(["-j", "DROP"]);
            self.iptables(&rule)
        };
        if way != Way::In {
            drop("OUTPUT", "-s", "--dport")?;
        }
        if way != Way::Out {
            drop("INPUT", "-d", "--sport")?;
        }
        Ok(())
    }

    /// Lets everything pass again.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn heal(&self) -> Result<()> {
        self.iptables(&["-w", "-F"])
    }

    /// Takes the cable out: the program has only `lo`.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn unplug(&self) -> Result<()> {
        ip(&["-netns", &self.name, "link", "set", "eth0", "down"])
    }

    /// Puts the cable in again.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn plug(&self) -> Result<()> {
        let name = self.name.as_str();
        ip(&["-netns", name, "link", "set", "eth0", "up"])?;
        // Routes go with the interface.
        let gate = self.host().to_string();
        ip(&["-netns", name, "route", "replace", "default", "via", &gate])
    }

    fn iptables(&self, args: &[&str]) -> Result<()> {
        let net = format!("--net=/run/netns/{}", self.name);
        let done = Command::new("nsenter")
            .args([&net, "--", "iptables"])
            .args(args)
            .output();
        succeed(done, "iptables", args)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = ip(&["link", "delete", &self.name]);
        let _ = ip(&["netns", "delete", &self.name]);
    }
}

/// Eight addresses that no other link of this machine has.
fn free_net() -> Result<u32> {
    let taken = Command::new("ip").args(["-4", "-o", "address"]).output();
    let taken = taken.context("run ip")?.stdout;
    let taken = String::from_utf8_lossy(&taken);
    for _ in 0..TRIES {
        let net = NET + rand::rng().random_range(0..LINKS) * 8;
        if !taken.contains(&format!(" {}/", Ipv4Addr::from(net + 1))) {
            return Ok(net);
        }
    }
    bail!("no free addresses in {TRIES} tries")
}

fn ip(args: &[&str]) -> Result<()> {
    succeed(Command::new("ip").args(args).output(), "ip", args)
}

fn succeed(done: std::io::Result<Output>, program: &str, args: &[&str]) -> Result<()> {
    let done = done.with_context(|| format!("run {program}"))?;
    if !done.status.success() {
        bail!(
            "{program} {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&done.stderr).trim()
        );
    }
    Ok(())
}

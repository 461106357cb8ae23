//! The address under which the root tells people and itself to reach this cluster.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use edgeio_client::Target;
use tokio::net::{UdpSocket, lookup_host};
use tracing::debug;

/// How long the root's name may take to be looked up. The session goes on without an address then.
const LOOK_UP: Duration = Duration::from_secs(5);

/// What the root is told: `own`, or, where that names no machine (`0.0.0.0`, `[::]`), the address from which this machine
/// reaches the root, with the same port. Nothing where that cannot be found out: no address is better than a wrong one.
pub(super) async fn told(own: &str, root: &Target) -> String {
    let Ok(listens) = own.parse::<SocketAddr>() else {
        return own.to_owned();
    };
    if !listens.ip().is_unspecified() {
        return own.to_owned();
    }
    match tokio::time::timeout(LOOK_UP, reaches_from(root)).await {
        Ok(Ok(ip)) => SocketAddr::new(ip, listens.port()).to_string(),
        Ok(Err(error)) => {
            debug!(%error, %root, "the address to be reached under is not known");
            String::new()
        }
        Err(_) => String::new(),
    }
}

/// The address of this machine on the way to the root. Nothing is sent: connecting a datagram socket only picks the route.
async fn reaches_from(root: &Target) -> io::Result<IpAddr> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in lookup_host(root.authority()).await? {
        let any = if address.is_ipv4() {
            IpAddr::from(Ipv4Addr::UNSPECIFIED)
        } else {
            IpAddr::from(Ipv6Addr::UNSPECIFIED)
        };
        let picked = async {
            let socket = UdpSocket::bind((any, 0)).await?;
            socket.connect(address).await?;
            socket.local_addr()
        };
        match picked.await {
            Ok(local) => return Ok(local.ip()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_names_no_machine_is_not_told() {
        let root: Target = "127.0.0.1:10000".parse().unwrap();
        for (own, expected) in [
            ("0.0.0.0:10100", "127.0.0.1:10100"),
            ("[::]:10100", "127.0.0.1:10100"),
            ("127.0.0.1:10100", "127.0.0.1:10100"),
            ("10.1.2.3:10100", "10.1.2.3:10100"),
            ("site-7.example:443", "site-7.example:443"),
        ] {
            assert_eq!(told(own, &root).await, expected, "{own}");
        }
        let nowhere: Target = "root.invalid:10000".parse().unwrap();
        assert_eq!(told("0.0.0.0:10100", &nowhere).await, "");
    }
}

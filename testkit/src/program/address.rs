//! Addresses on the command line.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};

/// Where to listen.
pub(crate) fn listen(text: &str) -> Result<SocketAddr, &'static str> {
    let form = "it has to be an address and a port, such as 127.0.0.1:2181";
    text.parse().map_err(|_| form)
}

/// Where one server is, by name or by address.
pub(crate) fn server(text: &str) -> Result<String, &'static str> {
    let form = "it has to be a host and a port, such as localhost:2181";
    if text.contains(',') {
        return Err("it has to be one server, such as localhost:2181");
    }
    let (host, port) = text.rsplit_once(':').ok_or(form)?;
    let is_name = !host.is_empty() && !host.contains([':', '/', '[', ']']);
    if !is_name && text.parse::<SocketAddr>().is_err() {
        return Err(form);
    }
    match port.parse::<u16>() {
        Ok(0) => Err("nobody listens on port 0"),
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(form),
    }
}

/// The addresses of the server that `--upstream` names.
pub(crate) fn upstream(server: &str) -> Result<Vec<SocketAddr>, String> {
    match server.to_socket_addrs() {
        Ok(addresses) => Ok(addresses.collect()),
        Err(error) => Err(format!("cannot use --upstream {server}: {error}")),
    }
}

/// What to do where nobody can listen, behind what is wrong.
pub(crate) fn advice(listen: SocketAddr, error: &io::Error) -> &'static str {
    match (error.kind(), listen) {
        (ErrorKind::InvalidInput, SocketAddr::V6(address))
            if address.ip().is_unicast_link_local() && address.scope_id() == 0 =>
        {
            "; such an address takes the number of its interface too, as in [fe80::1%2]:2181"
        }
        (ErrorKind::AddrInUse | ErrorKind::InvalidInput, _) => {
            "; choose another port with --listen, or 0 for a free one"
        }
        (ErrorKind::PermissionDenied, _) => "; ports from 1024 on need no privilege",
        (ErrorKind::AddrNotAvailable, _) => "; the address has to be one of this machine's",
        _ => "",
    }
}

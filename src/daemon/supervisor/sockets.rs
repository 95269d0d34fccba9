//! Sockets that the service manager has opened for us, and keeps while we are replaced (sd_listen_fds(3)).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net;

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;
use tokio::net::TcpListener;

use crate::config::{self, Listen};

/// Sockets that anybody would hand over.
const MOST: usize = 256;

/// What sockets are called (`FileDescriptorName=`), and with that which service is behind them.
pub const NAMES: [(&str, Service); 7] = [
    ("smtp", Service::Smtp),
    ("dmtp", Service::Dmtp),
    ("submission", Service::Submission),
    ("submissions", Service::Submissions),
    ("http", Service::Http),
    ("operations", Service::Operations),
    ("acme", Service::Acme),
];

/// What connections come for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// `listen.smtp`.
    Smtp,
    /// `listen.dmtp`.
    Dmtp,
    /// `listen.submission`.
    Submission,
    /// `listen.submissions`.
    Submissions,
    /// `listen.http`.
    Http,
    /// `listen.operations`.
    Operations,
    /// Questions of an authority that issues certificates; without a socket `listen` of `tls.acme`, while it asks.
    Acme,
}

impl Service {
    /// Its addresses, if they are in `[listen]`.
    pub fn addresses(self, listen: &mut Listen) -> Option<&mut Vec<net::SocketAddr>> {
        match self {
            Self::Smtp => Some(&mut listen.smtp),
            Self::Dmtp => Some(&mut listen.dmtp),
            Self::Submission => Some(&mut listen.submission),
            Self::Submissions => Some(&mut listen.submissions),
            Self::Http => Some(&mut listen.http),
            Self::Operations => Some(&mut listen.operations),
            Self::Acme => None,
        }
    }

    fn named(name: &str) -> Result<Self, Error> {
        let known = NAMES.iter().find(|(known, _)| *known == name);
        known
            .map(|(_, service)| *service)
            .ok_or_else(|| Error::Unknown(name.to_owned()))
    }
}

/// Why sockets that were handed over cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// None of our services.
    #[error(
        "the service manager hands over a socket named `{0}`: FileDescriptorName= is one of smtp, dmtp, submission, submissions, \
         http, operations and acme"
    )]
    Unknown(String),
    /// Not as many names as sockets, or more than anybody needs.
    #[error(
        "the service manager hands over {sockets} sockets with {names} names (LISTEN_FDS, LISTEN_FDNAMES)"
    )]
    Count {
        /// `LISTEN_FDS`.
        sockets: usize,
        /// In `LISTEN_FDNAMES`.
        names: usize,
    },
    /// `LISTEN_FDS` is no number of sockets.
    #[error("the service manager hands over `{0}` sockets (LISTEN_FDS), which is no number of them")]
    Number(String),
    /// Not one that connections can be taken from.
    #[error("the socket `{0}` that the service manager hands over cannot be used")]
    Unusable(String, #[source] io::Error),
}

/// Those that were handed over, by service. A service with one is found there and nowhere else.
#[derive(Debug, Default)]
pub struct Sockets(BTreeMap<Service, Vec<net::TcpListener>>);

impl Sockets {
    /// Those of this process. To be asked for once, before there are other threads that look at the environment.
    ///
    /// Errors: those of [`Error`], if there are any that cannot be used.
    pub fn from_env() -> Result<Self, Error> {
        let names = handed_over(|name| std::env::var_os(name), std::process::id())?;
        let mut sockets = Self::default();
        if names.is_empty() {
            return Ok(sockets);
        }
        let mut descriptors = ListenFd::from_env();
        for (index, name) in names.into_iter().enumerate() {
            let service = Service::named(&name)?;
            let taken = descriptors.take_tcp_listener(index);
            match taken.and_then(usable) {
                Ok(socket) => sockets.0.entry(service).or_default().push(socket),
                Err(error) => return Err(Error::Unusable(name, error)),
            }
        }
        Ok(sockets)
    }

    /// Puts the addresses of the sockets where those in the configuration are that they replace.
    ///
    /// Errors: [`config::Error`] if addresses for proxies are among those that are replaced: whoever connects there would be
    /// taken for a client.
    pub fn tell(&self, listen: &mut Listen) -> Result<(), config::Error> {
        for (service, sockets) in &self.0 {
            // What has no address is none of ours; `usable` has seen to it.
            let found = sockets.iter().filter_map(|socket| socket.local_addr().ok());
            if let Some(addresses) = service.addresses(listen) {
                *addresses = found.collect();
            }
        }
        listen.check_proxied()
    }

    /// The sockets of a service, in the order in which [`tell`](Self::tell) names their addresses; `None` if it has none.
    pub fn take(&mut self, service: Service) -> Option<Vec<io::Result<TcpListener>>> {
        let sockets = self.0.remove(&service)?;
        Some(sockets.into_iter().map(TcpListener::from_std).collect())
    }
}

/// The names of the sockets that are for this process, in their order.
fn handed_over(variable: impl Fn(&str) -> Option<OsString>, process: u32) -> Result<Vec<String>, Error> {
    let text = |name: &str| variable(name).and_then(|value| value.into_string().ok());
    let is_ours = text("LISTEN_PID").and_then(|pid| pid.parse::<u32>().ok()) == Some(process);
    let Some(count) = text("LISTEN_FDS").filter(|_| is_ours) else {
        return Ok(Vec::new());
    };
    let sockets = match count.parse::<usize>() {
        Ok(0) => return Ok(Vec::new()),
        Ok(sockets) => sockets,
        Err(_) => return Err(Error::Number(count)),
    };
    let names: Vec<String> = text("LISTEN_FDNAMES")
        .map(|names| names.split(':').map(str::to_owned).collect())
        .unwrap_or_default();
    match names.len() == sockets && sockets <= MOST {
        true => Ok(names),
        false => Err(Error::Count {
            sockets,
            names: names.len(),
        }),
    }
}

/// One that listens, and does not make its threads wait.
fn usable(socket: Option<net::TcpListener>) -> io::Result<net::TcpListener> {
    let socket = socket.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    socket.local_addr()?;
    // Such as a connection (`Accept=yes`).
    if !socket_acceptconn(&socket)? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it does not listen"));
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::fd::OwnedFd;

    use super::*;

    fn names(variables: &[(&str, &str)]) -> Result<Vec<String>, Error> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        handed_over(variable, 7)
    }

    #[test]
    fn sockets_are_for_the_process_that_is_named_and_have_names() {
        let two = [
            ("LISTEN_PID", "7"),
            ("LISTEN_FDS", "2"),
            ("LISTEN_FDNAMES", "smtp:dmtp"),
        ];
        assert_eq!(names(&two).unwrap(), ["smtp", "dmtp"]);
        let of_another = [&[("LISTEN_PID", "8")], &two[1..]].concat();
        assert!(names(&of_another).unwrap().is_empty());
        assert!(names(&two[1..]).unwrap().is_empty());
        assert!(names(&[]).unwrap().is_empty());
        let unnamed = names(&two[..2]);
        assert!(
            matches!(unnamed, Err(Error::Count { sockets: 2, names: 0 })),
            "{unnamed:?}"
        );
        let more = [two[0], ("LISTEN_FDS", "3"), two[2]];
        assert!(matches!(names(&more), Err(Error::Count { sockets: 3, names: 2 })));
        for wrong in ["-1", "two", "", "18446744073709551616"] {
            let found = names(&[two[0], ("LISTEN_FDS", wrong), two[2]]);
            assert!(matches!(found, Err(Error::Number(_))), "{wrong}: {found:?}");
        }
        assert!(names(&[two[0], ("LISTEN_FDS", "0")]).unwrap().is_empty());
        let too_many = "smtp:".repeat(MOST) + "smtp";
        let many = [
            two[0],
            ("LISTEN_FDS", "257"),
            ("LISTEN_FDNAMES", too_many.as_str()),
        ];
        assert!(matches!(
            names(&many),
            Err(Error::Count {
                sockets: 257,
                names: 257
            })
        ));
        let unknown = Service::named("dimed.socket").unwrap_err().to_string();
        assert!(unknown.contains("`dimed.socket`"), "{unknown}");
    }

    #[test]
    fn a_socket_that_does_not_listen_is_refused() {
        use rustix::net::{AddressFamily, SocketType, bind, socket};

        let listening = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listening.local_addr().unwrap();
        let connection = net::TcpStream::connect(address).unwrap();
        let bound = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&bound, &"127.0.0.1:0".parse::<net::SocketAddr>().unwrap()).unwrap();
        assert!(usable(Some(listening)).is_ok());
        for other in [OwnedFd::from(connection), bound] {
            let refused = usable(Some(net::TcpListener::from(other))).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn addresses_of_sockets_replace_those_of_the_configuration() {
        let socket = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let sockets = Sockets(BTreeMap::from([(Service::Submission, vec![socket])]));
        let mut listen = Listen::default();
        sockets.tell(&mut listen).unwrap();
        assert_eq!(listen.submission, [address]);
        assert_eq!(listen.smtp, Listen::default().smtp);
        // Nobody would know that whoever connects there is a proxy.
        listen.proxied = Listen::default().submission;
        listen.proxies = vec!["192.0.2.0/24".parse().unwrap()];
        assert!(matches!(
            sockets.tell(&mut listen),
            Err(config::Error::ProxiedNowhere(_))
        ));
    }
}

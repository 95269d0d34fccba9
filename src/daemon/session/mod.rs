//! Sessions: a connection, its machine, and the owner that answers the machine's questions.

mod dmtp;
mod incoming;
pub(super) mod logins;
mod smtp;

pub(super) use smtp::addressees;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rand::RngExt;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::Services;
use crate::base::encoding::base64;
use crate::base::id::SessionId;
use crate::base::machine::Machine;
use crate::base::network::Network;
use crate::base::{metrics, observe};
use crate::config::Config;
use crate::dmtp as dmtp_protocol;
use crate::dmtp::command::Protocol;
use crate::mode::{self, Dual};
use crate::net::connection::{Connection, Error};
use crate::net::stream::Stream;
use crate::smtp as smtp_protocol;
use crate::smtp::server::{Params, Profile};

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Port 25: SMTP and DMTP from other hosts.
    Dual,
    /// Port 26: DMTP from other hosts, TLS from the first octet.
    Dmtp,
    /// Port 587: mail from our users, STARTTLS.
    Submission,
    /// Port 465: mail from our users, TLS from the first octet.
    Submissions,
}

impl Purpose {
    /// Whether a session starts in clear text, where anybody can be told anything.
    pub fn greets_in_clear(self) -> bool {
        matches!(self, Self::Dual | Self::Submission)
    }

    /// One word for logs.
    fn name(self) -> &'static str {
        match self {
            Self::Dual => "dual",
            Self::Dmtp => "dmtp",
            Self::Submission => "submission",
            Self::Submissions => "submissions",
        }
    }
}

/// One connection from its first octet to its last.
pub async fn serve(
    services: Arc<Services>,
    purpose: Purpose,
    tcp: TcpStream,
    peer: SocketAddr,
    shutdown: CancellationToken,
) {
    let id = SessionId::random(&mut rand::rng());
    // To see whether we are here, and as often as it likes; it is no host that sends mail.
    let is_of_proxy = is_of_proxy(&services.config, &tcp, peer);
    let trusted = smtp::trusted_network(&services.config, purpose, peer).filter(|_| !is_of_proxy);
    let is_stranger = purpose == Purpose::Dual && trusted.is_none() && !is_of_proxy;
    if is_stranger && !services.screening.may_connect(peer.ip(), Instant::now()) {
        return smtp::screening::dismiss(&services, &id, peer.ip(), tcp);
    }
    let session = Serving {
        services,
        purpose,
        peer,
        trusted,
        id,
        shutdown,
    };
    let _open = metrics::session(purpose.name());
    let ended = match purpose {
        Purpose::Dual | Purpose::Submission => session.dual(tcp).await,
        Purpose::Dmtp => session.dmtp(tcp).await,
        Purpose::Submissions => session.submissions(tcp).await,
    };
    match ended {
        Ok(messages) => tracing::info!(
            event = observe::SESSION_CLOSED,
            session.id = %id,
            peer.ip = %peer.ip(),
            service = purpose.name(),
            messages,
            "session closed"
        ),
        Err(error) => tracing::info!(
            event = observe::SESSION_BROKEN,
            session.id = %id,
            peer.ip = %peer.ip(),
            service = purpose.name(),
            %error,
            "session broken off"
        ),
    }
}

/// Whether a proxy has spoken for itself (PROXY protocol, LOCAL).
fn is_of_proxy(config: &Config, tcp: &TcpStream, peer: SocketAddr) -> bool {
    let is_proxied = tcp
        .local_addr()
        .is_ok_and(|local| config.listen.is_proxied(local));
    is_proxied && tcp.peer_addr().is_ok_and(|proxy| proxy == peer)
}

/// 24 random octets in base64, which has no comma: for SCRAM.
fn fresh_nonce() -> String {
    let octets: [u8; 24] = rand::rng().random();
    base64(&octets)
}

struct Serving {
    services: Arc<Services>,
    purpose: Purpose,
    peer: SocketAddr,
    /// The network by which the host may send without a login.
    trusted: Option<Network>,
    id: SessionId,
    shutdown: CancellationToken,
}

/// What is done for a command needs much room, for a moment. A session that waits for its peer has none of it: that is why such work
/// stands in boxes.
impl Serving {
    async fn dual(self, tcp: TcpStream) -> Result<u32, Error> {
        let machine = Dual::new(self.dual_params());
        let mut connection = Connection::new(Stream::new(tcp)?, machine);
        let mut smtp = self.smtp_owner();
        let mut dmtp = self.dmtp_owner();
        while let Some(event) = self
            .next(&mut connection, Dual::shut_down, Dual::give_up_message)
            .await?
        {
            match event {
                mode::Event::StartTls { protocol, .. } => {
                    Box::pin(self.start_tls(&mut connection, protocol)).await?;
                    // RFC 3207 §4.2: what was learned in clear text is forgotten.
                    smtp = self.smtp_owner();
                }
                mode::Event::Smtp(event) => {
                    if let Some(session) = connection.machine().smtp() {
                        Box::pin(smtp.handle(session, event)).await;
                    }
                }
                mode::Event::Dmtp(event) => {
                    if let Some(session) = connection.machine().dmtp() {
                        Box::pin(dmtp.handle(session, event)).await;
                    }
                }
            }
        }
        Ok(smtp.accepted() + dmtp.accepted())
    }

    async fn start_tls(&self, connection: &mut Connection<Dual>, protocol: Protocol) -> Result<(), Error> {
        // Our users' programs go by what public authorities say, peers by the management record.
        let acceptor = match (protocol, self.purpose) {
            (Protocol::Dmtp, Purpose::Dual | Purpose::Dmtp) => &self.services.dmtp_tls,
            (Protocol::Smtp, _) | (Protocol::Dmtp, Purpose::Submission | Purpose::Submissions) => {
                &self.services.smtp_tls
            }
        };
        let peer = connection.accept_tls(acceptor).await;
        if protocol == Protocol::Dmtp {
            metrics::shook_hands("in", peer.is_ok());
        }
        connection.machine().tls_started(peer?.info);
        Ok(())
    }

    async fn dmtp(self, tcp: TcpStream) -> Result<u32, Error> {
        let shaken = self.services.dmtp_tls.accept(tcp).await;
        metrics::shook_hands("in", shaken.is_ok());
        let (stream, peer) = shaken.map_err(Error::Handshake)?;
        let parameters = self.dmtp_params().within(&peer.info);
        let machine = dmtp_protocol::server::Session::new(parameters, dmtp_protocol::server::Entry::Single);
        let mut connection = Connection::new(stream, machine);
        let mut owner = self.dmtp_owner();
        while let Some(event) = self
            .next(
                &mut connection,
                dmtp_protocol::server::Session::shut_down,
                dmtp_protocol::server::Session::give_up_message,
            )
            .await?
        {
            Box::pin(owner.handle(connection.machine(), event)).await;
        }
        Ok(owner.accepted())
    }

    async fn submissions(self, tcp: TcpStream) -> Result<u32, Error> {
        let (stream, peer) = self
            .services
            .smtp_tls
            .accept(tcp)
            .await
            .map_err(Error::Handshake)?;
        let machine = smtp_protocol::server::Session::new(self.smtp_params(Vec::new()), Some(peer.info));
        let mut connection = Connection::new(stream, machine);
        let mut owner = self.smtp_owner();
        while let Some(event) = self
            .next(
                &mut connection,
                smtp_protocol::server::Session::shutdown,
                smtp_protocol::server::Session::give_up_message,
            )
            .await?
        {
            Box::pin(owner.handle(connection.machine(), event)).await;
        }
        Ok(owner.accepted())
    }

    /// The next event; when the daemon stops, the machine is told once and given the chance to finish. When it is drained, a message
    /// that takes too long is given up.
    async fn next<M: Machine>(
        &self,
        connection: &mut Connection<M>,
        tell: fn(&mut M),
        give_up: fn(&mut M),
    ) -> Result<Option<M::Event>, Error> {
        loop {
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => {
                    tell(connection.machine());
                    return connection.next_event().await;
                }
                event = connection.next_event() => return event,
                () = self.services.pause.given_up() => give_up(connection.machine()),
            }
        }
    }

    fn smtp_owner(&self) -> smtp::Owner {
        smtp::Owner::new(Arc::clone(&self.services), self.trusted, self.peer, self.id)
    }

    fn dmtp_owner(&self) -> dmtp::Owner {
        dmtp::Owner::new(Arc::clone(&self.services), self.purpose, self.peer, self.id)
    }

    fn dual_params(&self) -> mode::Params {
        mode::Params {
            smtp: self.smtp_params(vec!["DMTPv1".to_owned()]),
            dmtp: self.dmtp_params(),
            hosts: self.services.hosts.clone(),
        }
    }

    fn smtp_params(&self, banner_tokens: Vec<String>) -> Params {
        Params {
            host: self.services.config.server.hostname.clone(),
            profile: match self.purpose {
                Purpose::Submission | Purpose::Submissions => Profile::Submission,
                Purpose::Dual | Purpose::Dmtp => Profile::Transfer,
            },
            starttls: true,
            scram: self.services.accounts.offers_scram(),
            banner_tokens,
            dsn: match self.purpose {
                Purpose::Submission | Purpose::Submissions => true,
                Purpose::Dual | Purpose::Dmtp => {
                    self.services.config.server.dsn_for_other_hosts || self.trusted.is_some()
                }
            },
            origin: self.trusted.map(|_| self.services.host.origin.clone()),
            limits: (&self.services.config.limits).into(),
        }
    }

    fn dmtp_params(&self) -> dmtp_protocol::server::Parameters {
        dmtp_protocol::server::Parameters {
            host: self.services.config.server.hostname.clone(),
            limits: (&self.services.config.limits).into(),
            // Any random token will do for peers that name none.
            nonce: SessionId::random(&mut rand::rng()).into(),
        }
    }
}

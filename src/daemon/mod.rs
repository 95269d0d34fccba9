//! Listeners, sessions, another configuration while all goes on, and shutdown.
#![doc = include_str!("costs.md")]

mod alias_watch;
mod arrival;
mod callout;
mod certificate_renewal;
mod clock_watch;
mod dns_watch;
mod drain_watch;
mod filtering;
pub mod health;
mod http;
mod intake;
mod list_watch;
mod listener;
mod lock;
mod operations;
pub mod pickup;
pub mod reload;
mod renewal;
mod revocation_watch;
mod services;
mod session;
mod space_watch;
mod sts_refresh;
pub mod supervisor;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::clock_watch::ClockWatch;
use self::listener::{ConnectionLimits, Port};
use self::lock::Lock;
use self::operations::Operations;
use self::reload::{Attempts, Current, Reloader};
use self::session::Purpose;
use self::supervisor::{Service, Sockets, Supervisor, Watchdog};
use crate::base::causes::Causes;
use crate::base::descriptors;
use crate::base::network::Network;
use crate::base::observe;
use crate::base::time::Timestamp;
use crate::config::{self, Config};
use crate::net::acme::Door;
use crate::net::tls;
use crate::queue::observer::Observer;
use crate::queue::pulse::Pulse;
use crate::queue::runner::Runner;
use crate::queue::windows::Destinations;
use crate::store;

pub use drain_watch::HEARD_WITHIN;
pub use lock::is_running;
pub use services::{Services, dx_connector, planner};

/// The version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// A certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// Files that the configuration names cannot be read now.
    #[error("what the configuration names cannot be read within {} seconds", reload::READ_WITHIN.as_secs())]
    Unread,
    /// The store cannot be opened.
    #[error("the store cannot be opened: {0}")]
    Store(#[from] store::Error),
    /// Another daemon works with the data directory.
    #[error("another dimed is running from {0}")]
    Running(PathBuf),
    /// The data directory cannot be written.
    #[error("{0} cannot be written{hint}", hint = missing(.1))]
    DataDirectory(PathBuf, #[source] io::Error),
    /// Sockets that the service manager hands over cannot be used.
    #[error(transparent)]
    Sockets(#[from] supervisor::Error),
    /// An address cannot be listened on.
    #[error("cannot listen on {0}{hint}", hint = hint(.1))]
    Listen(SocketAddr, #[source] io::Error),
}

/// The first command of an installation makes the directory. Later it may be on a disk that is not there.
fn missing(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            " (mount its disk; on a new host, `dimed setup` or `dimed domain add` makes it)"
        }
        _ => "",
    }
}

/// What to do about it, where we know.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            " (ports below 1024 need sockets of systemd, as in deploy/dimed-smtp.socket, or CAP_NET_BIND_SERVICE)"
        }
        _ => "",
    }
}

/// A running daemon.
pub struct Daemon {
    _lock: Lock,
    current: Arc<Current>,
    reloader: Arc<Reloader>,
    limits: ConnectionLimits,
    pulse: Arc<Pulse>,
    stop: CancellationToken,
    listeners: TaskTracker,
    sessions: TaskTracker,
    runner: JoinHandle<()>,
}

impl Daemon {
    /// Opens the store, binds every address, and starts to serve.
    pub async fn start(config: Config, observer: Arc<dyn Observer>) -> Result<Self, Error> {
        Self::start_on(config, observer, Sockets::default()).await
    }

    /// The same, with sockets that somebody else has bound in the place of the addresses of their services.
    pub async fn start_on(
        mut config: Config,
        observer: Arc<dyn Observer>,
        mut sockets: Sockets,
    ) -> Result<Self, Error> {
        demand_database(&config)?;
        let lock = lock(&config)?;
        let read = config.clone();
        sockets.tell(&mut config.listen)?;
        let services = Services::open(config, observer).await?;
        let bound = bind(&services.config, &mut sockets).await?;
        let http = listen_on(&services.config.listen.http, Service::Http, &mut sockets).await?;
        let operations = listen_on(
            &services.config.listen.operations,
            Service::Operations,
            &mut sockets,
        )
        .await?;
        let door = door(&mut sockets)?;
        let freed = join(&services).await?;
        drain_watch::look(&services).await;
        let stop = CancellationToken::new();
        let (pulse, attempts) = (Arc::default(), Arc::new(Attempts::new(&services)));
        let runner = start_runner(&services, Arc::clone(&attempts), &pulse, &stop);
        let limits = ConnectionLimits::new(
            connections(&services.config),
            services.config.limits.connections_per_address.get(),
        );
        let current = Arc::new(Current::new(services));
        let reloader = Reloader::new(read, Arc::clone(&current), attempts, limits.clone());
        let daemon = Self {
            _lock: lock,
            current,
            reloader: Arc::new(reloader),
            limits,
            pulse,
            runner,
            stop,
            listeners: TaskTracker::new(),
            sessions: TaskTracker::new(),
        };
        daemon.listen(bound);
        daemon.listen_to_web(http, operations);
        daemon.watch(door);
        tracing::info!(
            event = observe::DAEMON_STARTED,
            leases_freed = freed,
            "ready to serve"
        );
        Ok(daemon)
    }

    /// What gives it another configuration.
    pub fn reloader(&self) -> &Reloader {
        &self.reloader
    }

    /// Gives a service manager signs of life, if it wants them.
    pub fn keep_alive(&self, supervisor: &Arc<Supervisor>) {
        let Some(whole) = supervisor.watchdog() else {
            return;
        };
        let watchdog = Watchdog {
            supervisor: Arc::clone(supervisor),
            pulse: Arc::clone(&self.pulse),
            store: Arc::clone(&self.current.get().store),
        };
        self.sessions.spawn(watchdog.run(whole, self.stop.clone()));
    }

    /// What is looked after for as long as it runs. What these have of the services no other configuration changes.
    fn watch(&self, door: Option<Door>) {
        let services = self.current.get();
        let stop = || self.stop.clone();
        self.sessions.spawn(renewal::run(renewal::of(&services), stop()));
        let dns_watch = Arc::clone(&services.dns_watch);
        self.sessions
            .spawn(dns_watch.run(Arc::clone(&services.resolver), stop()));
        self.sessions
            .spawn(sts_refresh::run(Arc::clone(&services.dx.sts), stop()));
        self.sessions
            .spawn(list_watch::run(self.current.subscribe(), stop()));
        self.sessions.spawn(Arc::clone(&self.reloader).watch(stop()));
        self.sessions
            .spawn(certificate_renewal::run(self.current.subscribe(), door, stop()));
        self.watch_revocation(&services);
        self.serve_host(&services);
        self.watch_clock_and_space(&services);
    }

    fn watch_clock_and_space(&self, services: &Arc<Services>) {
        let clock = ClockWatch::new(Arc::clone(&services.guarded_clock), Arc::clone(&services.store));
        self.sessions.spawn(clock.run(self.stop.clone()));
        self.sessions
            .spawn(space_watch::run(Arc::clone(services), self.stop.clone()));
        self.sessions
            .spawn(drain_watch::run(Arc::clone(services), self.stop.clone()));
    }

    fn watch_revocation(&self, services: &Services) {
        let roots = services.dx.roots.as_ref();
        if let Some(roots) = roots.filter(|roots| roots.revocation_lists().is_some()) {
            let current = Arc::clone(&self.current);
            self.sessions
                .spawn(revocation_watch::run(roots.clone(), current, self.stop.clone()));
        }
    }

    /// For programs of this host.
    fn serve_host(&self, services: &Services) {
        let (current, stop) = (Arc::clone(&self.current), self.stop.clone());
        self.sessions.spawn(pickup::run(current, stop));
        let (host, stop) = (Arc::clone(&services.host), self.stop.clone());
        self.sessions.spawn(alias_watch::run(host, stop));
    }

    fn listen(&self, bound: Vec<Bound>) {
        let services = self.current.get();
        // RFC 5321 §3.8: a 421 in place of the greeting.
        let host = &services.config.server.hostname;
        let farewell: Arc<str> =
            format!("421 {host} Too many connections from your address, try again later\r\n").into();
        let proxies: Arc<[Network]> = services.config.listen.proxies.clone().into();
        let port = |bound: Bound| Port {
            listener: bound.listener,
            purpose: bound.purpose,
            farewell: bound.purpose.greets_in_clear().then(|| Arc::clone(&farewell)),
            proxies: bound.is_proxied.then(|| Arc::clone(&proxies)),
        };
        let ports = bound.into_iter().map(port).collect();
        let (current, stop) = (Arc::clone(&self.current), self.stop.clone());
        let serve = move |purpose, tcp, peer| session::serve(current.get(), purpose, tcp, peer, stop.clone());
        let (limits, sessions, stop) = (self.limits.clone(), self.sessions.clone(), self.stop.clone());
        self.listeners
            .spawn(listener::run(ports, limits, sessions, stop, serve));
    }

    fn listen_to_web(&self, http: Vec<TcpListener>, operations: Vec<TcpListener>) {
        let current = Arc::clone(&self.current);
        let callers = || http::Callers::new(self.stop.clone());
        let web = callers();
        self.listen_alone(http, move |(), tcp, _| {
            http::own_policy::serve(current.get(), tcp, Arc::clone(&web))
        });
        let answers = Arc::new(Operations::new(Arc::clone(&self.current)));
        if !operations.is_empty() {
            let (answers, stop) = (Arc::clone(&answers), self.stop.clone());
            self.sessions.spawn(operations::history::run(answers, stop));
        }
        let callers = callers();
        self.listen_alone(operations, move |(), tcp, _| {
            Arc::clone(&answers).serve(tcp, Arc::clone(&callers))
        });
    }

    /// A service with connections of its own, which mail leaves nothing to and takes nothing from.
    fn listen_alone<S, F>(&self, bound: Vec<TcpListener>, serve: S)
    where
        S: Fn((), TcpStream, SocketAddr) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        if bound.is_empty() {
            return;
        }
        let port = |listener| Port {
            listener,
            purpose: (),
            farewell: None,
            proxies: None,
        };
        let ports = bound.into_iter().map(port).collect();
        let limits = ConnectionLimits::new(http::CONNECTIONS, http::CONNECTIONS);
        let (sessions, stop) = (self.sessions.clone(), self.stop.clone());
        self.listeners
            .spawn(listener::run(ports, limits, sessions, stop, serve));
    }

    /// Stops in stages: no new connections, sessions end after their transaction, attempts under way are finished.
    /// What takes longer than the configured grace is dropped; nothing acknowledged is lost by that.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.listeners.close();
        self.sessions.close();
        let grace = Duration::from_secs(self.current.get().config.server.shutdown_grace_secs);
        let abort = self.runner.abort_handle();
        let all = async {
            self.listeners.wait().await;
            self.sessions.wait().await;
            // A runner that panicked has nothing left to finish.
            let _ = self.runner.await;
            let services = self.current.get();
            drain_watch::say_stopped(&services).await;
            leave(&services).await;
        };
        if timeout(grace, all).await.is_err() {
            abort.abort();
            tracing::warn!(
                event = observe::DAEMON_GRACE_OVER,
                "stopped with work still under way"
            );
        }
        tracing::info!(event = observe::DAEMON_STOPPED, "stopped");
    }
}

/// Before there is a lock: where there is no database, a disk is to be mounted perhaps, and nothing may be left in its place.
fn demand_database(config: &Config) -> Result<(), Error> {
    match config.place()?.demand_there() {
        // Whoever may not look there is told so by the lock.
        Err(store::Error::File(_)) => Ok(()),
        there => Ok(there?),
    }
}

fn lock(config: &Config) -> Result<Lock, Error> {
    let data = &config.server.data_directory;
    let taken = Lock::take(data).map_err(|error| Error::DataDirectory(data.clone(), error))?;
    taken.ok_or_else(|| Error::Running(data.clone()))
}

/// As many as configured, if so many files and sockets may be open that the queue has some left.
fn connections(config: &Config) -> usize {
    let wanted = config.limits.connections.get();
    let Some(limit) = descriptors::raise() else {
        return wanted;
    };
    let each = config.descriptors_of_connection();
    let connections = descriptors::connections(wanted, each, limit, descriptors::open());
    if connections < wanted {
        tracing::warn!(
            event = observe::DAEMON_FEW_FILES,
            connections,
            wanted,
            limit,
            "fewer connections are taken at a time than limits.connections says: the limit of open files is too low"
        );
    }
    connections
}

/// Of how many recipients leases have ended that belonged to nobody.
async fn join(services: &Services) -> Result<u64, store::Error> {
    let config = &services.config;
    let silence = Duration::from_secs(config.queue.takeover_secs.get());
    let now = services.clock.now();
    let freed = services.store.join(&config.server.hostname, silence, now).await?;
    bring_forward(services, now).await;
    Ok(freed)
}

/// The last run may have had a clock that was ahead, and is right again. If that cannot be done now, the mail waits.
async fn bring_forward(services: &Services, now: Timestamp) {
    let longest = services.config.queue.schedules().longest_wait();
    match services.store.bring_forward(longest, now).await {
        Ok(0) => {}
        Ok(recipients) => tracing::warn!(
            event = observe::QUEUE_BROUGHT_FORWARD,
            recipients,
            "the clock was ahead in an earlier run: mail that it has put off for longer than any pause lasts is due now"
        ),
        Err(error) => {
            tracing::warn!(event = observe::QUEUE_STORE_FAILED, error = %Causes(&error), "mail that waits for too long cannot be looked for");
        }
    }
}

async fn leave(services: &Services) {
    if let Err(error) = services.store.leave().await {
        tracing::warn!(event = observe::QUEUE_STORE_FAILED, error = %Causes(&error),
            "the database is not left as it should be: what SQLite wrote last is in its log alone, and other nodes on PostgreSQL will take \
             this one for dead");
    }
}

fn start_runner(
    services: &Services,
    attempts: Arc<Attempts>,
    pulse: &Arc<Pulse>,
    stop: &CancellationToken,
) -> JoinHandle<()> {
    let hosts = Arc::clone(&services.smtp.hosts);
    let runner = Runner::new(
        Arc::clone(&services.store),
        Arc::clone(&services.clock),
        attempts,
        services.config.queue.runners.get(),
        Destinations::new(services.config.queue.per_destination.get(), hosts),
        Duration::from_secs(services.config.queue.lease_secs.get()),
    );
    let runner = runner
        .pausing(Arc::clone(&services.pause))
        .showing(Arc::clone(pulse));
    tokio::spawn(runner.run(stop.clone()))
}

/// An address with its service.
struct Bound {
    purpose: Purpose,
    listener: TcpListener,
    /// Every connection comes through a proxy.
    is_proxied: bool,
}

async fn bind(config: &Config, sockets: &mut Sockets) -> Result<Vec<Bound>, Error> {
    let listen = &config.listen;
    let wanted = [
        (Purpose::Dual, Service::Smtp, &listen.smtp),
        (Purpose::Dmtp, Service::Dmtp, &listen.dmtp),
        (Purpose::Submission, Service::Submission, &listen.submission),
        (Purpose::Submissions, Service::Submissions, &listen.submissions),
    ];
    let mut bound = Vec::new();
    for (purpose, service, addresses) in wanted {
        let listeners = listen_on(addresses, service, sockets).await?;
        bound.extend(addresses.iter().zip(listeners).map(|(address, listener)| Bound {
            purpose,
            listener,
            is_proxied: listen.proxied.contains(address),
        }));
    }
    Ok(bound)
}

/// One for each address: those that were handed over, or new ones.
async fn listen_on(
    addresses: &[SocketAddr],
    service: Service,
    sockets: &mut Sockets,
) -> Result<Vec<TcpListener>, Error> {
    let mut listeners = Vec::new();
    if let Some(taken) = sockets.take(service) {
        for (listener, address) in taken.into_iter().zip(addresses) {
            listeners.push(listener.map_err(|error| Error::Listen(*address, error))?);
        }
        return Ok(listeners);
    }
    for address in addresses {
        let listener = TcpListener::bind(address).await;
        listeners.push(listener.map_err(|error| Error::Listen(*address, error))?);
    }
    Ok(listeners)
}

/// Where an authority is answered that issues certificates, if sockets were handed over for that.
fn door(sockets: &mut Sockets) -> Result<Option<Door>, Error> {
    let Some(taken) = sockets.take(Service::Acme) else {
        return Ok(None);
    };
    let listeners = taken.into_iter().collect::<io::Result<Vec<_>>>();
    let listeners = listeners.map_err(|error| supervisor::Error::Unusable("acme".into(), error))?;
    Ok(Some(Door::at(listeners)))
}

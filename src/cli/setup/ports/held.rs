//! Ports that systemd holds for the daemon, also while that does not run.

use std::process::{Command, Stdio};

/// What starts when somebody connects.
const UNIT: &str = "dimed.service";

/// Those ports; none where no systemd runs.
pub fn ports() -> Vec<u16> {
    let shown = Command::new("systemctl")
        .args(["show", "*.socket", "--property=ActiveState,Listen,Triggers"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    // Without a `systemctl`, nobody holds any.
    shown.map_or_else(
        |_| Vec::new(),
        |shown| of(&String::from_utf8_lossy(&shown.stdout)),
    )
}

/// A paragraph for each socket, with a line for each property, and for each address.
fn of(shown: &str) -> Vec<u16> {
    let ours = shown.split("\n\n").filter(|socket| is_ours(socket));
    ours.flat_map(str::lines).filter_map(port).collect()
}

fn is_ours(socket: &str) -> bool {
    let triggers = |line: &str| {
        let units = line.strip_prefix("Triggers=");
        units.is_some_and(|units| units.split(' ').any(|unit| unit == UNIT))
    };
    socket.lines().any(|line| line == "ActiveState=active") && socket.lines().any(triggers)
}

/// The port of a line about an address.
pub(super) fn port(line: &str) -> Option<u16> {
    let address = line.strip_prefix("Listen=")?.strip_suffix(" (Stream)")?;
    address.rsplit_once(':')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As systemd 252 says it.
    const SHOWN: &str = "Listen=[::]:465 (Stream)\nListen=192.0.2.1:2465 (Stream)\nTriggers=dimed.service\nActiveState=active\n\n\
        Listen=/run/systemd/journal/dev-log (Datagram)\nTriggers=systemd-journald.service\nActiveState=active\n\n\
        Listen=[::]:587 (Stream)\nTriggers=dimed.service\nActiveState=inactive\n\n\
        Listen=[::]:22 (Stream)\nTriggers=ssh.service\nActiveState=active\n\n\
        Listen=/run/dimed.socket (Stream)\nTriggers=dimed.service\nActiveState=active\n";

    #[test]
    fn only_active_sockets_of_the_daemon_count() {
        assert_eq!(of(SHOWN), [465, 2465]);
        assert_eq!(of(""), [0; 0]);
    }
}

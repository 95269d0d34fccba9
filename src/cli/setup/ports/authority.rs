//! The ports on which an authority asks: systemd opens them for the daemon, if somebody wants that.

use std::process::{Command, Stdio};

use super::held;

/// The unit that has them opened, once it is enabled.
pub const UNIT: &str = "dimed-acme.socket";

/// Whether systemd opens those ports when the daemon starts. `None` where it cannot: none runs, or its unit is not there, or is for
/// other ports.
pub fn is_opened(ports: &[u16]) -> Option<bool> {
    let shown = Command::new("systemctl")
        .args(["show", UNIT, "--property=LoadState,UnitFileState,Listen"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    of(&String::from_utf8_lossy(&shown.ok()?.stdout), ports)
}

/// A line for each property, and for each address.
fn of(shown: &str, ports: &[u16]) -> Option<bool> {
    let has = |property: &str| shown.lines().any(|line| line == property);
    let opened: Vec<u16> = shown.lines().filter_map(held::port).collect();
    let can_open = has("LoadState=loaded") && ports.iter().all(|port| opened.contains(port));
    can_open.then(|| has("UnitFileState=enabled"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_opens_is_told_from_what_it_could_open() {
        let shown =
            |state: &str| format!("Listen=[::]:80 (Stream)\nLoadState=loaded\nUnitFileState={state}\n");
        assert_eq!(of(&shown("enabled"), &[80]), Some(true));
        assert_eq!(of(&shown("disabled"), &[80]), Some(false));
        assert_eq!(of(&shown("enabled"), &[443]), None);
        assert_eq!(of("LoadState=not-found\nUnitFileState=\n", &[80]), None);
        assert_eq!(of("", &[80]), None);
    }
}

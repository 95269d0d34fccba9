#!/bin/bash
# Run as root by a unit, once systemd has started everything else. Each line is what the test asks of a step: its name, and how it
# ended.
exec 3>/result >/said 2>&1
cd /
umask 077

tell() { echo "$1: $2" >&3; }
try() {
    local name=$1
    shift
    "$@"
    tell "$name" $?
}
greeting() {
    local line
    exec 5<>/dev/tcp/127.0.0.1/25 || return
    IFS= read -r -t 40 line <&5
    exec 5>&-
    echo "${line:0:3}"
}
# Whoever comes to the port of an authority while no certificate is due hears nothing, and does not wait for it.
sent_away() {
    local line ended
    exec 6<>"/dev/tcp/127.0.0.1/$1" || return
    IFS= read -r -t 10 line <&6
    ended=$?
    exec 6>&-
    ((ended == 1))
}
# So many messages, within ten seconds.
has_mail() {
    for ((i = 0; i < 100; i++)); do
        (($(find /var/lib/dimed/mail -path '*/new/*' -type f | wc -l) == $1)) && return
        sleep 0.1
    done
    return 1
}

try 'set up' dimed setup example.org --hostname mx.example.org --account alice@example.org --password-file - \
    --tls self-signed --yes --no-wait <<<'correct horse battery'
try 'enabled' systemctl enable --now dimed
tell 'active' "$(systemctl is-active dimed dimed-{smtp,dmtp,submission,submissions}.socket | sort | uniq -c | xargs)"
tell 'ready' "$(systemctl show dimed --property=StatusText --value)"
tell 'greeting' "$(greeting)"
sendmail alice@example.org <<<'hello'
try 'mail' has_mail 1

try 'reload' systemctl reload dimed
echo nonsense >>/etc/dimed/dimed.toml
try 'wrong reload' systemctl reload dimed
tell 'after it' "$(systemctl is-active dimed)"
sed -i '$d' /etc/dimed/dimed.toml

# The port of an authority is opened with the next start, and only if somebody wants that.
tell 'port of an authority' "$(systemctl is-enabled dimed-acme.socket) $(systemctl is-active dimed-acme.socket)"
try 'opened' systemctl enable dimed-acme.socket

# Nobody is turned away while it is restarted, or comes back from a crash.
for ((caller = 0; caller < 20; caller++)); do greeting; done >/greetings &
try 'restart' systemctl restart dimed
wait
tell 'greetings' "$(sort /greetings | uniq -c | xargs)"
tell 'port then' "$(systemctl is-active dimed-acme.socket)"
try 'sent away' sent_away 80
systemctl kill --signal=KILL dimed
tell 'after a crash' "$(greeting)"

# Set up again while systemd alone has the ports.
try 'stopped' systemctl stop dimed
try 'set up again' dimed setup example.org --no-wait
tell 'still' "$(systemctl is-active dimed)"

# The key where only root can read it.
install -D -o root -m 600 /etc/dimed/master.key /etc/credstore/dimed.master.key
mv /etc/dimed/master.key /master.key
try 'credential' systemctl start dimed
sendmail alice@example.org <<<'hello again'
try 'more mail' has_mail 2

# The backup, too, has only that key.
try 'timer' systemctl enable --now dimed-backup.timer
try 'backup' systemctl start dimed-backup.service
tell 'backups' "$(find /var/lib/dimed-backup -name '*.backup' | wc -l)"
mv /master.key /etc/dimed/master.key

before=$(systemctl show dimed --property=MainPID --value)
try 'upgrade' dpkg --install /again.deb
tell 'upgraded' "$(systemctl is-active dimed) $(($(systemctl show dimed --property=MainPID --value) != before))"

# Another port of an authority, while the one of before is open.
mkdir /etc/systemd/system/dimed-acme.socket.d
printf '[Socket]\nListenStream=\nListenStream=443\n' >/etc/systemd/system/dimed-acme.socket.d/override.conf
systemctl daemon-reload

# Stopped with its sockets, it is not started by whoever calls.
try 'stopped with its sockets' systemctl stop 'dimed*.socket' dimed
tell 'nobody there' "$(greeting || systemctl is-active dimed dimed-smtp.socket dimed-acme.socket | xargs)"
cp -p /etc/dimed/dimed.toml /dimed.toml
echo nonsense >>/etc/dimed/dimed.toml
try 'wrong start' systemctl start dimed
tell 'failed' "$(systemctl show dimed --property=NRestarts,ExecMainStatus --value | xargs)"
# Whoever calls has it tried again, but not for ever.
greeting
for ((i = 0; i < 200; i++)); do
    systemctl is-failed --quiet dimed-smtp.socket && break
    sleep 0.1
done
tell 'given up' "$(systemctl is-failed dimed dimed-{smtp,dmtp,submission,submissions,acme}.socket | sort | uniq -c | xargs)"
cp -p /dimed.toml /etc/dimed/dimed.toml
try 'forgotten' systemctl reset-failed 'dimed*'
try 'put right' systemctl start dimed
tell 'all active' "$(systemctl is-active dimed dimed-{smtp,dmtp,submission,submissions,acme}.socket | sort | uniq -c | xargs)"
tell 'greeting again' "$(greeting)"
try 'sent away from the other port' sent_away 443
try 'nobody at the one before' sent_away 80

tell 'errors' "$(journalctl --boot --unit=dimed --output=cat | grep ' ERROR ' | grep -o 'event=[^ ]*' | sort -u | xargs)"
try 'removed' dpkg --remove dimed
tell 'left' "$(systemctl list-units --all --plain --no-legend 'dimed*' | grep -c ' active ')"
# What is kept of it when it is purged.
try 'purged' dpkg --purge dimed
tell 'kept' "$(find /etc/dimed /var/log/dimed /var/lib/dimed /var/lib/dimed-backup -maxdepth 0 2>/dev/null | xargs)"
tell 'configuration' "$(find /etc/dimed -name '*.toml*' | wc -l)"
journalctl --boot --no-pager

//! Programs that send mail through `sendmail`, as they are.

use std::path::Path;
use std::process::Command;

use super::{Host, feed, told};

#[tokio::test(flavor = "multi_thread")]
async fn cron_reports_what_a_job_said() {
    let host = Host::new().await;
    let daemon = host.organization.start().await;
    // What Debian's cron runs, and writes.
    let header = "From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@host> /usr/local/bin/job\nMIME-Version: 1.0\n\
                  Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\nX-Cron-Env: <SHELL=/bin/sh>\n\n";
    let arguments = ["-FCronDaemon", "-i", "-B8BITMIME", "-oem", "root"];
    host.sent(&arguments, format!("{header}.\nüber\n"));
    let mail = host.organization.maildir("bob").only().await;
    assert!(
        mail.contains("\r\nFrom: root@mx.hismail.test (Cron Daemon)\r\nTo: root@mx.hismail.test\r\n"),
        "{mail}"
    );
    assert!(mail.ends_with("\r\n\r\n.\r\nüber\r\n"), "{mail}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn php_sends_with_its_default_command_through_a_shell() {
    let host = Host::new().await;
    let daemon = host.organization.start().await;
    let mut shell = host.as_other("sendmail");
    let line = format!("{} -t -i -f'web@shop.test'", host.path("sendmail").display());
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &line]).current_dir("/");
    for (name, value) in shell.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let sent = feed(
        &mut command,
        "To: bob@hismail.test\nSubject: order\nX-PHP-Originating-Script: 33:shop.php\nFrom: Shop <web@shop.test>\n\nThanks\n",
    );
    assert_eq!(told(&sent), (0, String::new()));
    let mail = host.organization.maildir("bob").only().await;
    assert!(mail.starts_with("Return-Path: <web@shop.test>\r\n"), "{mail}");
    std::mem::drop(feed(&mut shell, ""));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mailx_sends() {
    let host = Host::new().await;
    let daemon = host.organization.start().await;
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mailx = target.join("peers/bsd-mailx/usr/bin/bsd-mailx");
    assert!(
        mailx.exists(),
        "{} is missing; tests/run unpacks it",
        mailx.display()
    );
    let rc = host.path("mailrc");
    std::fs::write(&rc, format!("set sendmail={}\n", host.path("sendmail").display())).unwrap();
    let mut command = Command::new(mailx);
    command
        .args(["-s", "from mailx", "-c", "root", "bob@hismail.test"])
        .env("MAILRC", &rc)
        .env("DIMED_CONFIG", &host.organization.config)
        .env("HOME", host.home.path());
    let sent = feed(&mut command, "hello\n.\n");
    assert_eq!(told(&sent).0, 0, "{sent:?}");
    // Both are bob, who gets it once.
    let mail = host.organization.maildir("bob").only().await;
    assert!(mail.contains("\r\nSubject: from mailx\r\n"), "{mail}");
    assert!(mail.contains("\r\nCc: root@mx.hismail.test\r\n"), "{mail}");
    daemon.stop().await;
}

/// Python's own client, over a pair of sockets.
const SMTPLIB: &str = r#"
import os, smtplib, socket, subprocess, sys
class Local(smtplib.SMTP):
    def _get_socket(self, host, port, timeout):
        ours, theirs = socket.socketpair()
        self.child = subprocess.Popen([sys.argv[1], "-bs"], stdin=theirs, stdout=theirs)
        theirs.close()
        return ours
client = Local("local", 25, local_hostname="client.test")
try:
    client.sendmail("a@a.test", ["a..b@a.test"], "x")
    sys.exit("taken")
except smtplib.SMTPRecipientsRefused:
    pass
text = "Subject: one\r\n\r\n.\r\n..two\r\n"
client.sendmail("a@a.test", ["bob@hismail.test", "root@mx.hismail.test"], text)
client.sendmail("", ["bob@hismail.test"], "Subject: two\r\n\r\nx\r\n")
try:
    client.sendmail("a@a.test", ["bob@hismail.test"], "DIME-Required: perhaps\r\n\r\nx\r\n")
    sys.exit("taken")
except smtplib.SMTPDataError as error:
    assert error.smtp_code == 550, error
client.quit()
sys.exit(client.child.wait())
"#;

#[tokio::test(flavor = "multi_thread")]
async fn smtplib_speaks_with_sendmail_bs_while_no_daemon_runs() {
    let host = Host::new().await;
    let mut python = Command::new("python3");
    python.args(["-c", SMTPLIB]).arg(host.path("sendmail"));
    python.env("DIMED_CONFIG", &host.organization.config);
    let spoken = feed(&mut python, "");
    assert_eq!(told(&spoken), (0, String::new()));
    assert_eq!(host.dropped().len(), 2);
    let daemon = host.organization.start().await;
    let mut mails = host.organization.maildir("bob").expect(2).await;
    mails.sort_by_key(|mail| mail.contains("Subject: two"));
    assert!(
        mails[0].ends_with("\r\nSubject: one\r\n\r\n.\r\n..two\r\n"),
        "{}",
        mails[0]
    );
    assert!(mails[1].starts_with("Return-Path: <>\r\n"), "{}", mails[1]);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_knows_names_without_a_domain_and_says_if_it_broke_off() {
    let host = Host::new().await;
    let begun = "EHLO x\r\nMAIL FROM:<bob>\r\nRCPT TO:<root>\r\nDATA\r\nSubject: s\r\n\r\nRCPT TO:<a>\r\n";
    let (code, text) = told(&host.send(&["-bs"], begun));
    assert_eq!((code, text.as_str()), (75, "sendmail: the session broke off\n"));
    assert_eq!(host.dropped().len(), 0);
    host.sent(&["-bs"], format!("{begun}.\r\nQUIT\r\n"));
    let daemon = host.organization.start().await;
    let mail = host.organization.maildir("bob").only().await;
    assert!(
        mail.starts_with("Return-Path: <bob@mx.hismail.test>\r\n"),
        "{mail}"
    );
    assert!(mail.ends_with("\r\nSubject: s\r\n\r\nRCPT TO:<a>\r\n"), "{mail}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_takes_lines_that_end_in_lf() {
    let host = Host::new().await;
    let spoken = "EHLO x\nMAIL FROM:<bob>\nRCPT TO:<root>\nDATA\nSubject: s\n\n..a\nRSET\n.\nQUIT\n";
    host.sent(&["-bs"], spoken);
    assert_eq!(host.dropped().len(), 1);
    let daemon = host.organization.start().await;
    let mail = host.organization.maildir("bob").only().await;
    assert!(mail.ends_with("\r\nSubject: s\r\n\r\n.a\r\nRSET\r\n"), "{mail}");
    daemon.stop().await;
}

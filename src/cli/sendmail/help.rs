//! What the commands say of themselves.

use super::Command;

/// The text for `--help`.
pub fn text(command: Command) -> &'static str {
    match command {
        Command::Sendmail => SENDMAIL,
        Command::Mailq => {
            "Usage: mailq [-C FILE]\n\nLists what waits, as root or the user of dimed. `dimed queue` knows more.\n"
        }
        Command::Newaliases => {
            "Usage: newaliases [-C FILE]\n\nSays whether the file of aliases can be used, and what is wrong with it. The daemon \
             reads the\nfile by itself when it changes.\n"
        }
    }
}

const SENDMAIL: &str = "\
Usage: sendmail [OPTION]... [--] [RECIPIENT]...

Leaves the message on standard input for the daemon, which sends it; nobody need run for that.

  -t            recipients from To, Cc and Bcc of the header, too
  -i, -oi       a line with a dot alone does not end the message
  -f ADDRESS    the sender; <> for none, so that nothing comes back (-r is the same)
  -F NAME       the sender's full name
  -N LIST       reports that are wanted: never, or of success, failure, delay
  -R WHAT       how much comes back with them: hdrs or full
  -V ID         what they are to be known by
  -bs           speak SMTP on standard input and output
  -bp           list what waits (mailq)
  -bi, -I       say whether the file of aliases can be used (newaliases)
  -q            have everything that waits tried at once; -qIID one message, -qRDOMAIN what is for a domain
  -C FILE       the configuration file

Options come before recipients. Others that Sendmail and Postfix know are taken and change nothing.
";

//! The page for people: everything on it is made here, without a script, and nothing is fetched from anywhere. It names no person.

use std::fmt::{self, Write as _};
use std::sync::LazyLock;

use sha2::{Digest as _, Sha256};

use super::chart::charts;
use super::history::Moment;
use super::sample::{Domains, Queue};
use crate::base::encoding::base64;
use crate::base::metrics::{self, Ended};
use crate::base::time::Timestamp;
use crate::daemon::VERSION;
use crate::daemon::health::Finding;
use crate::mail::address::Domain;
use crate::mail::date::rfc5322;
use crate::net::tls::Period;
use crate::store::{Status, Way};

const STYLE: &str = include_str!("page.css");

/// Nothing but our own style, whatever might get into the page.
pub static POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = base64(&Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// What is shown.
pub struct Page<'a> {
    pub host: &'a Domain,
    pub now: Timestamp,
    pub started: Timestamp,
    pub unready: &'a [Finding],
    pub queue: Option<&'a Queue>,
    pub domains: &'a Domains,
    pub moments: &'a [Moment],
    pub ended: &'a [Ended],
    pub certificates: [(&'static str, Option<Period>); 2],
}

impl Page<'_> {
    /// The whole document.
    pub fn html(&self) -> String {
        let mut text = String::new();
        // Writing into a string never fails.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let host = escaped(self.host.as_str());
        write!(
            out,
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width, initial-scale=1\"><meta http-equiv=\"refresh\" content=\"60\"><title>{host}</title>\
             <style>{STYLE}</style></head><body><header><h1>{host}</h1><p class=\"faint\">dimed {VERSION}, running for {}; {}</p>",
            span(self.now.since(self.started).as_secs()),
            rfc5322(self.now),
        )?;
        self.readiness(out)?;
        out.push_str("</header><main>");
        out.push_str(&charts(self.moments));
        self.queue(out)?;
        routes(out)?;
        self.deliveries(out)?;
        self.dates(out)?;
        self.domains(out)?;
        out.push_str("</main></body></html>\n");
        Ok(())
    }

    fn readiness(&self, out: &mut String) -> fmt::Result {
        if self.unready.is_empty() {
            out.push_str("<p class=\"good\">Ready.</p>");
        }
        for Finding {
            what, why, advice, ..
        } in self.unready
        {
            let [what, why, advice] = [what, why, advice].map(|text| escaped(text));
            write!(
                out,
                "<p><strong class=\"bad\">Not ready: {what}.</strong> For this reason, {why}. To do: {advice}.</p>"
            )?;
        }
        Ok(())
    }

    fn queue(&self, out: &mut String) -> fmt::Result {
        let Some(queue) = self.queue else {
            return section(
                out,
                "Queue",
                &[],
                [["It cannot be read now.".to_owned()]].into_iter(),
            );
        };
        let rows = Way::ALL.into_iter().flat_map(|way| {
            let depths = queue.depths.iter().filter(move |depth| depth.way == way);
            let of_status = move |status: Status| {
                let depth = depths.clone().find(|depth| depth.status == status)?;
                let age = depth.oldest.map(|oldest| span(queue.at.since(oldest).as_secs()));
                let number = depth.recipients.to_string();
                Some([
                    way.name().to_owned(),
                    status.name().to_owned(),
                    number,
                    age.unwrap_or_default(),
                ])
            };
            Status::ALL.into_iter().filter_map(of_status).collect::<Vec<_>>()
        });
        section(out, "Queue", &["route", "status", "recipients", "oldest"], rows)
    }

    /// Ids of ours lead an operator to the rest (`dimed queue show`, the log); of sealed mail, only to the attempt.
    fn deliveries(&self, out: &mut String) -> fmt::Result {
        let rows = self.ended.iter().rev().map(|ended| {
            let ago = span(self.now.since(ended.at).as_secs());
            [
                format!("{ago} ago"),
                format!("<code>{}</code>", escaped(&ended.id)),
                ended.route.to_owned(),
                ended.result.to_owned(),
            ]
        });
        section(out, "Recent deliveries", &["", "id", "route", "result"], rows)
    }

    fn dates(&self, out: &mut String) -> fmt::Result {
        let rows = self.certificates.iter().map(|(service, period)| {
            let until = period.and_then(|period| Timestamp::from_unix_secs(period.until));
            let until = until.map_or_else(|| "cannot be read".to_owned(), |until| self.date(until));
            [format!("for {service}"), until]
        });
        section(out, "Certificates", &["", "until"], rows)
    }

    fn domains(&self, out: &mut String) -> fmt::Result {
        let rows = self.domains.rows.iter().map(|row| {
            let expires = row.key_set_expires.and_then(|secs| i64::try_from(secs).ok());
            let expires = expires.and_then(Timestamp::from_unix_secs);
            [
                escaped(row.name.as_str()),
                row.policy
                    .map_or_else(|| "no DIME".to_owned(), |policy| policy.to_string()),
                expires.map_or_else(String::new, |expires| self.date(expires)),
            ]
        });
        section(out, "Domains", &["", "policy", "keys until"], rows)?;
        if self.domains.has_more {
            out.push_str("<p class=\"faint\">And more: <code>dimed domain list</code> has them all.</p>");
        }
        let (users, more) = (self.domains.users, self.domains.has_more_users);
        let more = if more { " or more" } else { "" };
        section(
            out,
            "Signets",
            &[],
            [["of users".to_owned(), format!("{users}{more}")]].into_iter(),
        )
    }

    /// With how far it is.
    fn date(&self, at: Timestamp) -> String {
        let date = rfc5322(at);
        match at > self.now {
            true => format!("{date}, in {}", span(at.since(self.now).as_secs())),
            false => format!(
                "<span class=\"bad\">{date}, {} ago</span>",
                span(self.now.since(at).as_secs())
            ),
        }
    }
}

fn routes(out: &mut String) -> fmt::Result {
    let row = |(route, result, count): (&'static str, &'static str, u64)| {
        [route.to_owned(), result.to_owned(), count.to_string()]
    };
    let rows = metrics::deliveries()
        .into_iter()
        .filter(|(_, _, count)| *count > 0)
        .map(row);
    section(
        out,
        "Deliveries since the start",
        &["route", "result", "recipients"],
        rows,
    )
}

/// A table; its cells are HTML.
fn section<const N: usize>(
    out: &mut String,
    title: &str,
    head: &[&str],
    rows: impl Iterator<Item = [String; N]>,
) -> fmt::Result {
    write!(out, "<section><h2>{title}</h2>")?;
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        out.push_str("<p class=\"faint\">None.</p></section>");
        return Ok(());
    }
    out.push_str("<table>");
    if !head.is_empty() {
        let cells: String = head.iter().map(|cell| format!("<th>{cell}</th>")).collect();
        write!(out, "<thead><tr>{cells}</tr></thead>")?;
    }
    out.push_str("<tbody>");
    for row in rows {
        let cells: String = row.iter().map(|cell| format!("<td>{cell}</td>")).collect();
        write!(out, "<tr>{cells}</tr>")?;
    }
    out.push_str("</tbody></table></section>");
    Ok(())
}

/// Text, and nothing else.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A time in its two largest units.
fn span(secs: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let (mut rest, mut words) = (secs, Vec::new());
    for (unit, name) in UNITS {
        if rest >= unit && words.len() < 2 {
            words.push(format!("{} {name}", rest / unit));
        }
        rest %= unit;
    }
    match words.is_empty() {
        true => "0 s".to_owned(),
        false => words.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units_at_most() {
        for (secs, words) in [
            (0, "0 s"),
            (59, "59 s"),
            (61, "1 min 1 s"),
            (3600, "1 h"),
            (90_061, "1 d 1 h"),
        ] {
            assert_eq!(span(secs), words);
        }
    }

    #[test]
    fn text_stays_text() {
        assert_eq!(
            escaped("<a href='x'>\"&"),
            "&lt;a href=&#39;x&#39;&gt;&quot;&amp;"
        );
    }
}

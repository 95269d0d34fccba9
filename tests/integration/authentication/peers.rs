//! Another implementation, Python's dkim, checks what we sign and signs what we check.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use dimed::authentication::{Signer, SigningKey};
use dimed::base::encoding::base64;
use dimed::config::Incoming;
use serde_json::{Value, json};

use super::{Elsewhere, bring, hismail, results};
use crate::support::talk::Talk;
use crate::support::world::World;

/// Ends with lines of blanks, which relaxed form takes for empty ones (RFC 6376 §3.4.4).
const MESSAGE: &str = "From:  Carol \t <carol@plain.test>\r\nTo: bob@hismail.test\r\nSubject: long\r\n\tand folded\r\n\r\n a  b \r\n\r\nend\r\n \r\n\t\r\n\r\n";

const VERIFY: &str = "
import dkim, json, sys
job = json.load(sys.stdin)
def txt(name, timeout=5):
    return job['records'][name.decode().rstrip('.')].encode()
checker = dkim.DKIM(job['message'].encode())
def holds(index):
    try:
        return checker.verify(index, dnsfunc=txt)
    except dkim.ValidationError:
        return False
print(json.dumps([holds(index) for index in range(job['count'])]))
";

const SIGN: &str = "
import dkim, json, sys
job = json.load(sys.stdin)
form = tuple(half.encode() for half in job['form'].split('/'))
print(json.dumps(dkim.sign(job['message'].encode(), job['selector'].encode(), job['domain'].encode(), job['key'].encode(),
    canonicalize=form, signature_algorithm=job['algorithm'].encode()).decode()))
";

const SEAL: &str = "
import dkim, json, sys
job = json.load(sys.stdin)
fields = dkim.arc_sign(job['message'].encode(), b'r1', b'plain.test', job['key'].encode(), b'mx.plain.test')
print(json.dumps(''.join(field.decode() for field in fields)))
";

const UNSEAL: &str = "
import dkim, json, sys
job = json.load(sys.stdin)
def txt(name, timeout=5):
    return job['records'][name.decode().rstrip('.')].encode()
status, results, why = dkim.arc_verify(job['message'].encode(), dnsfunc=txt)
print(json.dumps([status.decode(), len(results), why]))
";

/// What a script answers. It is Debian's Python that has the library.
fn python(script: &str, job: &Value) -> Value {
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts; tests/run installs python3-dkim");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(job.to_string().as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "tests/run installs python3-dkim, python3-nacl and python3-authres"
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn another_implementation_takes_our_signatures() {
    let plain = Elsewhere::new("plain.test");
    let record = |signer: &Signer| {
        (
            format!("{}._domainkey.plain.test", signer.selector),
            signer.key.record(),
        )
    };
    let records: BTreeMap<String, String> = plain.signers.iter().map(record).collect();
    let verdicts = |message: &str| {
        python(
            VERIFY,
            &json!({ "message": message, "records": records, "count": 2 }),
        )
    };
    let signed = plain.signed(MESSAGE);
    assert_eq!(verdicts(&signed), json!([true, true]));
    assert_eq!(
        verdicts(&signed.replace("\r\nend", "\r\nEnd")),
        json!([false, false])
    );
    // What relaxed form does not count may change on the way.
    assert_eq!(verdicts(signed.trim_end()), json!([true, true]));
}

#[tokio::test(flavor = "multi_thread")]
async fn we_take_the_signatures_of_another_implementation() {
    let world = World::new().await;
    let plain = Elsewhere::new("plain.test");
    world.put("plain.test", &plain.zone("v=spf1 -all", "v=DMARC1; p=none"));
    let hismail = hismail(&world, Incoming::Mark).await;
    let served = hismail.start().await;
    let mut message = MESSAGE.to_owned();
    for (signer, form) in plain.signers.iter().flat_map(|signer| {
        let forms = [
            "simple/simple",
            "simple/relaxed",
            "relaxed/simple",
            "relaxed/relaxed",
        ];
        forms.map(|form| (signer, form))
    }) {
        let key = match &signer.key {
            SigningKey::Rsa(key) => format!(
                "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
                base64(&key.pkcs8())
            ),
            SigningKey::Ed25519(key) => base64(key.seed()),
        };
        let job = json!({
            "message": MESSAGE,
            "selector": signer.selector,
            "domain": "plain.test",
            "key": key,
            "form": form,
            "algorithm": signer.key.algorithm().name(),
        });
        message = python(SIGN, &job).as_str().unwrap().to_owned() + &message;
    }
    assert!(
        bring(&hismail, "carol@plain.test", &message)
            .await
            .starts_with("250 ")
    );
    let delivered = hismail.maildir("bob").only().await;
    let field = &results(&delivered)[0];
    assert_eq!(field.matches("dkim=pass").count(), 8, "{field}");
    assert!(
        field.ends_with("dmarc=pass (p=none) header.from=plain.test"),
        "{field}"
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_implementation_takes_our_seals_and_we_continue_its_chains() {
    let world = World::new().await;
    let plain = Elsewhere::new("plain.test");
    world.put("plain.test", &plain.zone("v=spf1 -all", "v=DMARC1; p=none"));
    let hismail = hismail(&world, Incoming::Off).await;
    let builder = world.organization("hermail.test").accounts(&["alice"]).plain();
    let hermail = builder
        .config(|config| config.authentication.arc = true)
        .build()
        .await;
    hermail.cli(&["dkim", "add", "hermail.test"]).await;
    hermail.publish_texts(&world).await;
    hermail.cli(&["dkim", "rotate", "hermail.test"]).await;
    hermail
        .cli(&["alias", "add", "friend@hermail.test", "bob@hismail.test"])
        .await;
    let (serving, receiving) = (hermail.start().await, hismail.start().await);

    let listed: Value =
        serde_json::from_str(&hermail.cli(&["dkim", "list", "hermail.test", "--json"]).await).unwrap();
    let mut records: BTreeMap<String, String> = BTreeMap::new();
    for key in listed["keys"].as_array().unwrap() {
        let name = format!("{}._domainkey.hermail.test", key["selector"].as_str().unwrap());
        records.insert(name, key["record"].as_str().unwrap().to_owned());
    }
    records.insert("r1._domainkey.plain.test".into(), plain.signers[0].key.record());
    let SigningKey::Rsa(key) = &plain.signers[0].key else {
        panic!("the first key is RSA");
    };
    let key = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        base64(&key.pkcs8())
    );
    let found =
        format!("Authentication-Results: mx.plain.test; spf=pass smtp.mailfrom=plain.test\r\n{MESSAGE}");
    let chained = python(SEAL, &json!({ "message": found, "key": key }))
        .as_str()
        .unwrap()
        .to_owned()
        + &found;
    let broken = chained.replace("\r\nend", "\r\nEnd");
    for (message, verdict, sets) in [(MESSAGE, "pass", 1), (&chained, "pass", 2), (&broken, "fail", 1)] {
        let before = hismail.maildir("bob").messages();
        let sent = Talk::smtp(hermail.ip)
            .await
            .transfer("carol@plain.test", &["friend@hermail.test"], message)
            .await;
        assert!(sent.starts_with("250 "), "{sent}");
        let after = hismail.maildir("bob").expect(before.len() + 1).await;
        let new = after
            .into_iter()
            .find(|message| !before.contains(message))
            .unwrap();
        assert_eq!(new.matches("ARC-Seal: i=").count(), sets, "{new}");
        let status = python(UNSEAL, &json!({ "message": new, "records": records }));
        assert_eq!(status[0], verdict, "{status}: {new}");
    }
    serving.stop().await;
    receiving.stop().await;
}

//! What the tools tell of a message that is refused.

use super::super::fault::{Fault, Flaw, Rule};
use super::super::open::EnvelopeView;
use super::super::origin::OriginView;
use super::*;

/// Puts another text into a plaintext, with the author's right signature on it.
fn resigned(cast: &Cast, plain: &mut [u8], change: impl FnOnce(&mut [u8])) {
    change(plain);
    let signature = cast.author.1.signing.sign(&plain[64..]);
    plain[..64].copy_from_slice(&signature.0);
}

/// Puts the octets `to` in the place of `from`, which are as many.
fn put(plain: &mut [u8], from: &[u8], to: &[u8]) {
    let place = plain.windows(from.len()).position(|octets| octets == from);
    plain[place.unwrap()..][..to.len()].copy_from_slice(to);
}

/// What the recipient's own tool says of what the author made.
fn told_to_recipient(cast: &Cast, sealed: Vec<u8>) -> Result<(), Fault> {
    let view = origin::open(&parse(sealed), &cast.origin.1).unwrap();
    let checked = view.check(&cast.at_origin()).unwrap();
    let signed = origin::sign(&checked, &cast.origin.1.signing, Default::default()).unwrap();
    let message = parse(signed);
    let view = EnvelopeView::open(&message, Actor::Recipient, &cast.recipient.1)?;
    let told = open::examine(&view, &cast.at_recipient()).map(drop);
    let silent = open::open(&view, &cast.at_recipient()).map(drop);
    assert_eq!(
        silent,
        told.map_err(|_| Refused),
        "nothing is let through that is told"
    );
    told
}

fn fault(rule: Rule, kind: ChunkType, chunk: usize, field: Option<&'static str>) -> Result<(), Fault> {
    let chunk = Some(chunk);
    Err(Fault {
        rule,
        kind,
        chunk,
        field,
    })
}

#[test]
fn tools_say_which_rule_is_broken_in_which_chunk_and_line() {
    use ChunkType::{CommonHeaders, Destination, Display};
    let cast = Cast::new();
    let of = |kind, change: &dyn Fn(&mut [u8])| {
        let changed = changed(&cast, kind, |plain| resigned(&cast, plain, |plain| change(plain)));
        told_to_recipient(&cast, changed)
    };
    assert_eq!(of(Display, &|_| {}), Ok(()));
    let last = |plain: &mut [u8]| *plain.last_mut().unwrap() ^= 1;
    assert_eq!(of(Display, &last), fault(Rule::V12, Display, 5, None));
    assert_eq!(
        of(Display, &|plain| plain[67] = 1),
        fault(Rule::V13, Display, 5, None)
    );
    assert_eq!(
        of(CommonHeaders, &|plain| put(plain, b"12 minutes", b"12\nminutes")),
        fault(Rule::V14, CommonHeaders, 3, Some("Date"))
    );
    assert_eq!(
        of(CommonHeaders, &|plain| put(plain, b"Subject: ", b"subject: ")),
        fault(Rule::V14, CommonHeaders, 3, None)
    );
    for (from, to, label) in [
        (&b"Recipient: "[..], &b"recipient: "[..], "Recipient"),
        (b"Recipient-Signet: [", b"Recipient-Signet: (", "Recipient-Signet"),
        (b"Origin: <dark", b"Origin: <d@rk", "Origin"),
        (b"]\r\n", b"]\n\r", "Recipient-Signet"),
    ] {
        assert_eq!(
            of(Destination, &|plain| put(plain, from, to)),
            fault(Rule::V14, Destination, 2, Some(label))
        );
    }
    let unsigned = |kind| told_to_recipient(&cast, changed(&cast, kind, |plain| plain[0] ^= 1));
    assert_eq!(unsigned(Destination), fault(Rule::V15, Destination, 2, None));
    assert_eq!(unsigned(Display), fault(Rule::V15, Display, 5, None));
    assert_eq!(
        of(Destination, &|plain| put(
            plain,
            b"Origin: <dark",
            b"Origin: <bark"
        )),
        fault(Rule::V16, Destination, 2, Some("Origin"))
    );
}

#[test]
fn tools_tell_one_of_several_chunks_and_one_of_several_signatures() {
    use ChunkType::{AuthorSignature, Display, Origin, OriginSignature, TreeSignature};
    let cast = Cast::new();
    let parts = [b"one", b"two"].map(|text| Bytes::from_static(text));
    let content = Content {
        display: parts.to_vec(),
        ..content()
    };
    let message = parse(cast.signed(&content));
    let at = |kind, number| {
        let chunks = message.chunks().iter().enumerate();
        chunks
            .filter(|(_, chunk)| chunk.kind == kind)
            .nth(number)
            .unwrap()
    };
    let (second, _) = at(Display, 1);
    let flaw = Flaw::new(Rule::V15, Display).number(1).of(&message);
    assert_eq!((flaw.chunk, second), (Some(6), 6));

    // One octet of what was sent: the first signature over it is told, which is the origin's.
    let told = |place: usize| {
        let mut octets = message.encode().to_vec();
        octets[place] ^= 1;
        let view = EnvelopeView::open(&parse(octets), Actor::Recipient, &cast.recipient.1)?;
        open::examine(&view, &cast.at_recipient()).map(drop)
    };
    let payload = |kind| at(kind, 0).1.payload_range().start;
    for kind in [OriginSignature, AuthorSignature, TreeSignature] {
        let found = told(payload(kind)).unwrap_err();
        let (rule, first) = (Rule::V15, found.kind);
        assert_eq!(found.rule, rule);
        assert!(first == kind || first == OriginSignature, "{kind:?}: {first:?}");
    }
    let stranger = user("eve@lavabit.com", &cast.destination, &mut Counter(9));
    let other = EnvelopeView::open(&message, Actor::Recipient, &stranger.1).map(drop);
    assert_eq!(other, fault(Rule::V12, Origin, 1, None));

    let submitted = |octets: Vec<u8>, expected: &origin::Expected<'_>| {
        OriginView::open(&parse(octets), &cast.origin.1)?
            .examine(expected)
            .map(drop)
    };
    let tree = changed(&cast, TreeSignature, |plain| plain[0] ^= 1);
    let count = parse(tree.clone()).chunks().len();
    assert_eq!(
        submitted(tree, &cast.at_origin()),
        fault(Rule::V15, TreeSignature, 6, None)
    );
    let mut signed = cast.sealed(&super::testing::content());
    rewrite(&mut signed, &cast, OriginSignature, |plain| plain[0] = 1);
    assert_eq!(
        submitted(signed, &cast.at_origin()),
        fault(Rule::V15, OriginSignature, count - 1, None)
    );
    let expected = origin::Expected {
        submitter: &stranger.0,
        ..cast.at_origin()
    };
    assert_eq!(
        submitted(cast.sealed(&super::testing::content()), &expected),
        fault(Rule::V16, Origin, 1, Some("Author"))
    );
}

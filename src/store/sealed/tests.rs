#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn master() -> MasterKey {
    MasterKey::new(Key::from_bytes([7; 32]))
}

fn message() -> QueueId {
    QueueId::parse("0123456789BCDFGHJKLMNPQRS").unwrap()
}

fn envelope(source: Source) -> Envelope {
    Envelope {
        reverse_path: ReversePath(Some("alice@hermail.test".parse().unwrap())),
        source,
        smtputf8: true,
        eight_bit: false,
        demand: Demand::default(),
        resealed: 0,
        received_in_ms: 0,
        request: MessageRequest::default(),
    }
}

#[test]
fn message_keys_open_for_their_message_under_their_master_only() {
    let key = MessageKey::generate(message());
    let wrapped = master().wrap(&key);
    let piece = key.seal_piece(0, b"text");
    let opened = master().unwrap(message(), &wrapped).unwrap();
    assert_eq!(opened.open_piece(0, &piece).unwrap(), b"text");
    assert!(opened.open_piece(1, &piece).is_err());

    let other = QueueId::random(&mut rand::rng());
    assert!(master().unwrap(other, &wrapped).is_err());
    let foreign = MasterKey::new(Key::from_bytes([8; 32]));
    assert!(matches!(
        foreign.unwrap(message(), &wrapped),
        Err(Error::Unreadable("message key"))
    ));
}

#[test]
fn an_envelope_does_not_open_beside_changed_columns() {
    let key = MessageKey::generate(message());
    let beside = ClearColumns {
        content: Content::Mime,
        size_bytes: 10,
        accepted_at: Timestamp(5),
    };
    let sealed = key.seal_envelope(&envelope(Source::Smtp), &beside);
    assert_eq!(
        key.open_envelope(&sealed, &beside).unwrap(),
        envelope(Source::Smtp)
    );
    for changed in [
        ClearColumns {
            content: Content::Dmime1,
            ..beside
        },
        ClearColumns {
            size_bytes: 9,
            ..beside
        },
        ClearColumns {
            accepted_at: Timestamp(6),
            ..beside
        },
    ] {
        assert!(key.open_envelope(&sealed, &changed).is_err(), "{changed:?}");
    }
}

#[test]
fn envelopes_of_every_source_survive() {
    let sources = [
        Source::Local,
        Source::Submission(r#""a \"b\\"@hermail.test"#.parse().unwrap()),
        Source::Smtp,
        Source::Dmtp(Domain::parse("hermail.test").unwrap()),
        Source::Domain(Domain::parse("hismail.test").unwrap()),
        Source::Trusted(None),
        Source::Trusted(Some(Domain::parse("hismail.test").unwrap())),
    ];
    for source in sources {
        let envelope = envelope(source);
        assert_eq!(decode_envelope(&encode_envelope(&envelope)), Some(envelope));
    }
    let bounce = Envelope {
        reverse_path: ReversePath::NULL,
        source: Source::Local,
        smtputf8: false,
        eight_bit: true,
        demand: Demand::default(),
        resealed: 0,
        received_in_ms: 0,
        request: MessageRequest::default(),
    };
    assert_eq!(encode_envelope(&bounce), [2, 0, 0, 0, 0, 0]);
    assert_eq!(decode_envelope(&[2, 0, 0, 0, 0, 0]), Some(bounce));
}

#[test]
fn demands_survive() {
    for (flags, dime, tls) in [
        (1, false, TlsDemand::Policy),
        (5, true, TlsDemand::Policy),
        (9, false, TlsDemand::Required),
        (21, true, TlsDemand::Waived),
        (101, true, TlsDemand::Policy),
    ] {
        let envelope = Envelope {
            demand: Demand { dime, tls },
            resealed: flags >> 5,
            received_in_ms: 0,
            ..envelope(Source::Smtp)
        };
        let encoded = encode_envelope(&envelope);
        assert_eq!(encoded[0], flags);
        assert_eq!(decode_envelope(&encoded), Some(envelope));
    }
}

#[test]
fn refuses_neighbours_of_an_envelope() {
    for bad in [
        &[0; 5][..],
        &[0; 7],
        &[24, 0, 0, 0, 0, 0],
        &[128, 0, 0, 0, 0, 0],
        &[0, 0, 0, 4, 0, 0],
    ] {
        assert_eq!(decode_envelope(bad), None, "{bad:?}");
    }
    // A source without a name that brings one.
    assert_eq!(decode_envelope(&[0, 0, 0, 2, 0, 1, b'x']), None);
    // A request that asks for nothing, that RET does not have, and that goes on.
    for bad in [
        &[0, 0, 0][..],
        &[3, 0, 0],
        &[1, 0],
        &[1, 0, 0, 0],
        &[0, 0, 1, b'='],
    ] {
        let octets = [&[0, 0, 0, 0, 0, 0], bad].concat();
        assert_eq!(decode_envelope(&octets), None, "{bad:?}");
    }
}

#[test]
fn what_a_sender_asks_for_survives() {
    let full = MessageRequest {
        ret: Some(Ret::Full),
        envelope_id: EnvelopeId::parse("QQ+20314"),
    };
    let headers = MessageRequest {
        ret: Some(Ret::Headers),
        envelope_id: None,
    };
    for request in [full, headers] {
        let envelope = Envelope {
            request,
            ..envelope(Source::Smtp)
        };
        assert_eq!(decode_envelope(&encode_envelope(&envelope)), Some(envelope));
    }
}

#[test]
fn the_time_that_it_took_to_come_in_survives() {
    let request = MessageRequest {
        ret: Some(Ret::Headers),
        envelope_id: None,
    };
    for request in [MessageRequest::default(), request] {
        let envelope = Envelope {
            request,
            received_in_ms: 70_000,
            ..envelope(Source::Smtp)
        };
        let encoded = encode_envelope(&envelope);
        assert_eq!(encoded[encoded.len() - 5..], [128, 0, 1, 17, 112]);
        assert_eq!(decode_envelope(&encoded), Some(envelope));
        assert_eq!(decode_envelope(&encoded[..encoded.len() - 1]), None);
        assert_eq!(
            decode_envelope(&[&encoded[..], &[128, 0, 0, 0, 1]].concat()),
            None,
            "twice"
        );
        assert_eq!(
            decode_envelope(&[&encoded[..], &[1, 0, 0]].concat()),
            None,
            "the other order"
        );
    }
    // No time, which is not written.
    assert_eq!(decode_envelope(&[2, 0, 0, 0, 0, 0, 128, 0, 0, 0, 0]), None);
}

fn asking(notify: &str, original: Option<&str>) -> Addressee {
    let request = RecipientRequest {
        notify: Notify::parse(notify).unwrap_or_default(),
        original: original.map(|text| OriginalRecipient::parse(text).unwrap()),
    };
    Addressee::new("zoë@hismail.test".parse::<Mailbox>().unwrap(), request)
}

#[test]
fn what_is_asked_of_a_recipient_survives() {
    let plain = asking("", None);
    assert_eq!(encode_addressee(&plain), "zoë@hismail.test".as_bytes(), "as ever");
    let sealed = Addressee {
        path: Recipient::parse("@hismail.test").unwrap(),
        ..asking("SUCCESS", None)
    };
    assert_eq!(encode_addressee(&sealed), b"@hismail.test\0\x06");
    let expanded = Addressee {
        expanded: true,
        ..asking("", None)
    };
    let original = Some("utf-8;zo\\x{EB}@hismail.test");
    let named = |addressee: Addressee| Addressee {
        named: Some("zoë+shop@hismail.test".parse().unwrap()),
        ..addressee
    };
    assert_eq!(
        encode_addressee(&named(asking("", None))),
        "zoë@hismail.test\0\x40\0zoë+shop@hismail.test".as_bytes()
    );
    for addressee in [
        named(asking("", None)),
        named(asking("NEVER", original)),
        plain,
        sealed,
        expanded,
        asking("NEVER", None),
        asking("", original),
        asking("SUCCESS,FAILURE,DELAY", original),
    ] {
        assert_eq!(decode_addressee(&encode_addressee(&addressee)), Some(addressee));
    }
    for bad in [
        "\0",
        "\0\0",
        "\0\x02",
        "\0\x03",
        "\0\x05",
        "\0\x41",
        "\0\x40\0",
        "\0\x40\0bob",
        "\0\u{80}",
        "\0\x01bob",
        "\0\x01\0",
    ] {
        let octets = format!("bob@hismail.test{bad}");
        assert_eq!(decode_addressee(octets.as_bytes()), None, "{bad:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_envelopes_never_panic(octets: Vec<u8>) {
        if let Some(envelope) = decode_envelope(&octets) {
            prop_assert_eq!(decode_envelope(&encode_envelope(&envelope)), Some(envelope));
        }
    }

    #[test]
    fn arbitrary_addressees_never_panic(octets: Vec<u8>) {
        for octets in [octets.clone(), [b"bob@hismail.test\0", &octets[..]].concat()] {
            if let Some(addressee) = decode_addressee(&octets) {
                prop_assert_eq!(decode_addressee(&encode_addressee(&addressee)), Some(addressee));
            }
        }
    }
}

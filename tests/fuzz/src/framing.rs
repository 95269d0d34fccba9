//! Where an object ends on a DMTP connection.

use dimed::dime::dmime1::{Limits, Message};
use dimed::dmtp::framing::Framing;

const LIMIT: u64 = 1 << 20;

/// The end does not depend on how the octets arrive, and is where the parser of the object sees it.
///
/// Octet 0 of the input says whether SIZE was announced and how octets arrive, 1 and 2 what was announced.
pub fn framing(input: &[u8]) {
    let Some((&[how, high, low], object)) = input.split_first_chunk() else {
        return;
    };
    let announced = (how & 1 == 1).then(|| u64::from(u16::from_be_bytes([high, low])));
    let whole = run(announced, object, usize::MAX);
    assert_eq!(run(announced, object, usize::from(how >> 1) + 1), whole);
    let Ok((taken, complete)) = whole else { return };
    assert!(taken <= object.len());
    if complete {
        assert!(announced.is_none_or(|size| size == taken as u64));
        assert!(announced.is_some() || taken as u64 <= LIMIT);
    } else {
        assert_eq!(
            taken,
            object.len(),
            "octets were left although the object goes on"
        );
    }
    if Message::parse(object.to_vec(), &Limits::default()).is_ok() && announced.is_none() {
        assert_eq!((taken, complete), (object.len(), true));
    }
}

/// How many octets of the object were taken in pieces of that size, and whether it is complete.
fn run(
    announced: Option<u64>,
    object: &[u8],
    piece: usize,
) -> Result<(usize, bool), dimed::dmtp::framing::Error> {
    let mut framing = Framing::new(announced, LIMIT);
    let mut taken = 0;
    for octets in object.chunks(piece) {
        if framing.is_complete() {
            break;
        }
        let used = framing.take(octets)?;
        taken += used;
        assert_eq!(framing.received(), taken as u64);
        assert!(used == octets.len() || framing.is_complete());
    }
    Ok((taken, framing.is_complete()))
}

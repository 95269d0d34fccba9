//! `text.json`: the data of chunks 4, 5, 33 and 34 judged by grammar alone.

use dimed::base::encoding::base64_decode;
use dimed::dime::dmime2::envelope::{DestinationEnvelope, OriginEnvelope};
use dimed::dime::dmime2::headers::{check_common, check_other};

use super::Set;

#[test]
fn every_text_is_judged_by_its_rule() {
    let set = Set::load().file("text.json");
    let cases = set["cases"].as_array().expect("cases");
    assert!(!cases.is_empty());
    for case in cases {
        let data = base64_decode(case["data"].as_str().expect("base64")).expect("base64");
        let judged = match case["chunk"].as_u64() {
            Some(4) => OriginEnvelope::decode(&data).map(|envelope| assert_eq!(envelope.encode(), data)),
            Some(5) => DestinationEnvelope::decode(&data).map(|envelope| assert_eq!(envelope.encode(), data)),
            Some(33) => check_common(&data),
            Some(34) => check_other(&data),
            other => panic!("chunk {other:?}"),
        };
        let rule = judged.err().map(|rule| rule.name());
        assert_eq!(case["rule"].as_str(), rule, "{}", case["case"]);
        assert_eq!(case["outcome"] == "reject", rule.is_some(), "{}", case["case"]);
    }
}

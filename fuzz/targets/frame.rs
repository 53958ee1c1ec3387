//! Frame headers: any bytes, against the definition.
#![no_main]

use alts_core::frame::{
    Find, FrameError, FrameHeader, HEADER_SIZE, MAX_LENGTH, MAX_PAYLOAD, MESSAGE_TYPE, MIN_LENGTH,
    OVERHEAD,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let field = |at: usize| u32::from_le_bytes(input[at..at + 4].try_into().unwrap());
    let found = FrameHeader::find(input);
    if input.len() < HEADER_SIZE {
        return assert_eq!(found, Ok(Find::Missing(HEADER_SIZE - input.len())));
    }
    let (length, kind) = (field(0), field(4));
    let header = match FrameHeader::parse(*input.first_chunk().unwrap()) {
        Ok(header) => header,
        Err(error) => {
            let legal = (MIN_LENGTH..=MAX_LENGTH).contains(&length);
            let expected =
                if legal { FrameError::MessageType(kind) } else { FrameError::Length(length) };
            assert!(!legal || kind != MESSAGE_TYPE);
            assert_eq!(error, expected);
            return assert_eq!(found, Err(error));
        }
    };
    assert!((20..=1 << 20).contains(&length) && kind == 6);
    assert_eq!(header.length(), length);
    assert_eq!(header.frame_len(), length as usize + 4);
    assert_eq!(header.payload_len() + OVERHEAD, header.frame_len());
    assert_eq!(header.emit(), input[..HEADER_SIZE]);
    assert_eq!(FrameHeader::for_payload(header.payload_len()), Some(header));
    assert_eq!(FrameHeader::for_payload(MAX_PAYLOAD + 1 + header.payload_len()), None);
    match found.unwrap() {
        Find::Whole(same) => assert!(same == header && input.len() >= header.frame_len()),
        Find::Missing(missing) => assert_eq!(input.len() + missing, header.frame_len()),
    }
});

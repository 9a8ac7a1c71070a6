//! Documents and requests drawn from the fuzzer's bytes, two bytes a choice: the program and the oracle agree.

use crate::oracle::Oracle;
use crate::oracle::cases::document_sets;
use crate::oracle::dice::Dice;
use crate::oracle::program::{decided, no_file};
use crate::oracle::requests::ask;
use graygate_rules::compile::{Memory, compile};

/// Requests through the documents of each moment.
const REQUESTS: usize = 10;

pub fn check(data: &[u8]) {
    let (words, _) = data.as_chunks::<2>();
    let told: Vec<u16> = words.iter().map(|word| u16::from_le_bytes(*word)).collect();
    // The first choice is the seed of all that the input does not say, too.
    let mut dice = Dice::told(told.first().copied().unwrap_or_default().into(), told);
    let (mut oracle, mut memory) = (Oracle::default(), Memory::default());
    for set in document_sets(&mut dice) {
        oracle.take(&set);
        let compiled = compile(&set, &memory, &no_file);
        for _ in 0..REQUESTS {
            let ask = ask(&mut dice);
            assert_eq!(oracle.judge(&ask), decided(&compiled, &ask), "{ask:?}\n{set:?}");
        }
        memory = compiled.memory;
    }
}
